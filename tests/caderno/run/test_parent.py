"""The parent of warm kernels: what it imports, what it leaves to them, and what becomes of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workshop import Workshop

from caderno.run import warm
from caderno.run.parent import ask_once
from caderno.run.preload import wanted
from caderno.run.warm import Parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="warm kernels are Linux's")
Make = Callable[..., Parent]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Start parents for modules that are written to a folder."""
    parents: list[Parent] = []

    def start(*names: str, **modules: str) -> Parent:
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
        parents.append(Parent(names, tmp_path, {**os.environ, "PYTHONPATH": str(tmp_path)}))
        return parents[-1]

    yield start
    for parent in parents:
        parent.close()


def test_it_imports_what_is_named_in_order(make: Make) -> None:
    log = "import pathlib; pathlib.Path(__file__).with_name('log').open('a').write(__name__ + ' ')"
    parent = make("second", "first", "json:decoder", first=log, second=log)
    assert parent.loaded == {"second": "", "first": "", "json:decoder": ""}


def test_what_fails_to_import_is_left_to_the_kernels(make: Make) -> None:
    parent = make("broken", "absent", "leaves", broken="1 / 0", leaves="import sys; sys.exit(3)")
    assert parent.loaded["broken"] == "ZeroDivisionError: division by zero"
    assert parent.loaded["absent"].startswith("ModuleNotFoundError")
    assert parent.loaded["leaves"] == "SystemExit: 3"


def test_a_module_that_starts_a_thread_is_left_to_the_kernels(make: Make) -> None:
    thread = "import threading, time; threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()"
    parent = make("plain", "threaded", "other", plain="", threaded=thread, other="")
    assert parent.loaded == {"plain": "", "threaded": "starts a thread", "other": ""}
    assert len(list(Path(f"/proc/{parent._process.pid}/task").iterdir())) == 1


def test_what_depends_on_nothing_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.store.db.utils as database

    real = database._get_latest_schema_revision()
    monkeypatch.setattr(database, "_get_latest_schema_revision", database._get_latest_schema_revision)
    ask_once(database, "_get_latest_schema_revision")
    monkeypatch.setattr(database, "ScriptDirectory", None)
    assert database._get_latest_schema_revision() == real
    ask_once(database, "of_another_version")
    assert not hasattr(database, "of_another_version")


def test_an_import_that_hangs_is_not_waited_for(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(warm, "_PATIENCE", 1.0)
    parent = make("hangs", hangs="import time; time.sleep(1000)")
    assert parent.loaded == {}
    with pytest.raises(OSError, match=r"Broken pipe|gone"), (tmp_path / "log").open("wb") as log:
        parent.fork([], str(tmp_path), {}, log.fileno())


def test_it_imports_what_notebooks_import_and_leaves_out_the_projects_own(shop: Workshop) -> None:
    shop.write("lib/tools/__init__.py", "import sklearn.tree\nfrom tools.more import x\n")
    shop.write("lib/tools/more.py", "from scipy import stats\nx = 1\n")
    shop.notebook("one.ipynb", None, "import numpy as np, os\nfrom pandas import DataFrame",
                  "import tools, mlflow\nmlflow.sklearn.log_model(np.linalg.norm(x))")  # fmt: skip
    shop.pipeline("one: {notebook: one.ipynb}")
    planner = shop.planner()
    task = planner.pipeline.tasks["one"]
    found = wanted([(task.notebook, planner.seen(task))])
    assert found[:3] == ["numpy", "pandas:DataFrame", "mlflow"]
    assert {"mlflow:sklearn", "numpy:linalg", "sklearn.tree", "scipy:stats"} <= set(found)
    assert not [name for name in found if name.startswith(("tools", "os"))]


@pytest.mark.kernel
def test_the_pipeline_may_say_what_is_imported(shop: Workshop) -> None:
    shop.notebook("one.ipynb", None, "import sys\nassert 'wave' in sys.modules, 'not preloaded'")
    shop.pipeline("one: {notebook: one.ipynb}", head="preload: [wave]\n")
    done = shop.caderno("run")
    assert done.code == 0, done.out
    assert shop.record("one").kernel == "warm"


@pytest.mark.kernel
def test_cold_is_one_switch_away(shop: Workshop) -> None:
    shop.notebook("one.ipynb", "n: int = 0", "1")
    shop.pipeline("one: {notebook: one.ipynb}\ncold: {notebook: one.ipynb, kernel: cold}")
    assert shop.caderno("run").code == 0
    assert (shop.record("one").kernel, shop.record("cold").kernel) == ("warm", "cold")
    assert shop.caderno("run", "--force", "--kernels", "cold").code == 0
    assert (shop.record("one").kernel, shop.record("cold").kernel) == ("cold", "cold")
