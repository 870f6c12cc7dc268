"""What people and machines do wrong, at the command line: each is told with its place, and nothing is left behind.

Mistakes inside single files have their tests beside the readers of those files; here is what meets the whole.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import psutil
import pytest
from workshop import Done, Workshop, ended, until

PLAIN = "seed: int = 1\nmade: str = ''"
TINY = "params/tiny.yaml"


@pytest.fixture
def one(shop: Workshop) -> Workshop:
    shop.notebook("one.ipynb", PLAIN, "open(made, 'w').write(str(seed))")
    shop.pipeline("one: {notebook: one.ipynb, outputs: {made: made.txt}}")
    return shop


def kernels_of(shop: Workshop) -> list[int]:
    """Return the kernels that stand in the project's folder."""
    return [
        process.pid
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "caderno-kernel" and str(shop.root) in (process.info["cwd"] or "")
    ]


def refused(shop: Workshop, done: Done, said: str) -> None:
    """Check that a command was refused as wrong input, before anything started."""
    assert done.code == 2, done.out
    assert said in done
    assert "Traceback" not in done
    assert not (shop.root / "data/tiny/one").exists()
    assert not (shop.root / "mlflow.db").exists()
    assert not kernels_of(shop)


def tasks(text: str) -> str:
    return f"name: tiny\ntasks:\n  one: {{notebook: one.ipynb, {text}}}\n"


PIPELINES: dict[str, tuple[str | bytes, str]] = {
    "tabs": ("name: tiny\n\ttasks: {}\n", f"{TINY}:2: not valid"),
    "a key twice": ("name: tiny\nname: tiny\ntasks: {}\n", f"{TINY}:2: key 'name' stands twice, first in line 1"),
    "10 MB": (b"name: tiny\ndescription: " + b"x" * 10_000_000, f"{TINY}: 10,000,024 bytes are more"),
    "an alias bomb": (
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefghi")),
        f"{TINY}:",
    ),
    "a list": ("- one\n", f"{TINY}:1: a pipeline file must be a mapping"),
    "empty": ("", f"{TINY}"),
    "no UTF-8": ("name: caf\xe9".encode("latin-1"), f"{TINY}: "),
    "a statement for a name": (tasks("params: {'seed = 1; print(1); b': 1}"), "a name has letters, digits"),
    "a misspelt parameter": (tasks("params: {sed: 1}"), "did you mean 'seed'?"),
    "a text for a number": (tasks("params: {seed: yes}"), "expected int"),
    "a number of YAML 1.1": (tasks("params: {seed: 1_000}"), "expected int"),
    "null for a number": (tasks("params: {seed: null}"), "expected int"),
    "a value that fits no folder": (tasks(f"matrix: {{made: [{'x' * 300}]}}"), "a value of made is too long"),
    "an unknown output": (tasks("inputs: {made: one.mad}"), "task one has no output 'mad'"),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_file_that_is_wrong(one: Workshop, name: str) -> None:
    content, said = PIPELINES[name]
    one.write(TINY, content)
    began = time.monotonic()
    refused(one, one.caderno("run"), said)
    assert time.monotonic() - began < 20


NOTEBOOKS: dict[str, tuple[Callable[[Workshop], object], str]] = {
    "no JSON": (lambda shop: shop.write("notebooks/one.ipynb", "{"), "notebooks/one.ipynb:1: not valid JSON"),
    "a JSON list": (lambda shop: shop.write("notebooks/one.ipynb", "[]"), "is JSON, but not a notebook"),
    "nbformat 3": (
        lambda shop: shop.write("notebooks/one.ipynb", '{"nbformat": 3, "worksheets": []}'),
        "has notebook format 3, not 4\n  run: jupyter nbconvert",
    ),
    "an unknown kernel": (
        lambda shop: shop.notebook("one.ipynb", PLAIN, "1", kernel="pyton3"),
        "asks for the kernel 'pyton3', which is not installed\n  did you mean 'python3'?",
    ),
    "no parameters cell": (lambda shop: shop.notebook("one.ipynb", None, "1"), "has no cell tagged `parameters`"),
    "two of them": (
        lambda shop: shop.notebook("one.ipynb", PLAIN, {**_tagged("x = 1")}),
        "cells 1 and 2 are both tagged `parameters`",
    ),
    "a use before it": (
        lambda shop: shop.notebook("one.ipynb", None, "print(seed)", _tagged(PLAIN)),
        "notebooks/one.ipynb, cell 1, line 1: uses 'seed' before it is defined",
    ),
    "a parameter that is an expression": (
        lambda shop: (
            shop.notebook("one.ipynb", "seed = int('1')\nmade: str = ''", "1"),
            shop.write(TINY, tasks("params: {seed: 1}")),
        ),
        "the default of 'seed' is an expression",
    ),
}


def _tagged(source: str) -> dict[str, object]:
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {"tags": ["parameters"]},
        "outputs": [],
        "execution_count": None,
    }


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_that_is_wrong(one: Workshop, name: str) -> None:
    breaks, said = NOTEBOOKS[name]
    breaks(one)
    refused(one, one.caderno("run"), said)


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("seed=true", "expected int"),
        ("seed=null", "expected int"),
        ("seed=(1, 2)", "expected int"),
        ("seed=2013-11-05", "expected int"),
        ("a = 1; print(1); b=1", "a name has letters"),
        ("one.a = 1; print(1); b=1", "a name has letters"),
        ("oen.seed=1", "did you mean 'one'?"),
    ],
)
def test_a_parameter_on_the_command_line_that_is_wrong(one: Workshop, parameter: str, said: str) -> None:
    refused(one, one.caderno("run", "-p", parameter), said)


LOOPS: dict[str, Callable[[Workshop], object]] = {
    "input": lambda shop: (
        (shop.root / "in").symlink_to("in"),
        shop.notebook("one.ipynb", "seed: int = 1\nmade: str = ''\ndata: str = ''", "1"),
        shop.write(TINY, tasks("inputs: {data: 'file:in'}")),
    ),
    "notebook": lambda shop: ((shop.root / "notebooks/one.ipynb").unlink(), _loop(shop, "notebooks/one.ipynb")),
    "pipeline": lambda shop: ((shop.root / TINY).unlink(), _loop(shop, TINY)),
    "data": lambda shop: _loop(shop, "data"),
}


def _loop(shop: Workshop, name: str) -> None:
    path = shop.root / name
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", LOOPS)
def test_a_link_that_leads_to_itself(one: Workshop, name: str) -> None:
    LOOPS[name](one)
    refused(one, one.caderno("run"), "error: ")


@pytest.mark.kernel
@pytest.mark.parametrize(
    "where", ["lib", pytest.param("notebooks", marks=pytest.mark.slow), pytest.param("folder", marks=pytest.mark.slow)]
)
def test_a_link_in_a_circle_of_folders_does_not_stop_a_run(one: Workshop, where: str) -> None:
    folder = one.root / where
    folder.mkdir(exist_ok=True)
    (folder / "again").symlink_to("..")
    (folder / "self").symlink_to("self")
    if where == "folder":
        (folder / "again").unlink()
        one.notebook("one.ipynb", f"{PLAIN}\ndata: str = ''", "open(made, 'w').write('x')")
        one.write(TINY, tasks("inputs: {data: 'file:folder'}, outputs: {made: made.txt}"))
    done = one.caderno("run")
    assert "Traceback" not in done
    assert done.code == 0, done.out


@pytest.fixture
def read_only(one: Workshop) -> list[str]:
    """The words before a command by which it finds data/ on a disk that can only be read."""
    (one.root / "data").mkdir()
    words = ["unshare", "--mount", "sh", "-c", 'mount --bind data data && mount -o remount,ro,bind data && exec "$@"']
    if not shutil.which("unshare") or subprocess.run([*words, "sh", "true"], cwd=one.root, check=False).returncode:
        pytest.skip("no right to mount (unshare, as root)")
    return [*words, "sh"]


@pytest.mark.parametrize("command", ["run", "gc"])
def test_a_folder_of_results_that_can_only_be_read(one: Workshop, read_only: list[str], command: str) -> None:
    process = subprocess.Popen(
        [*read_only, sys.executable, "-m", "caderno.cli", command], cwd=one.root, env=one.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    done = ended(process)
    assert done.code == 2
    assert "Traceback" not in done
    assert "data/" in done
    assert "Read-only file system" in done
    assert not list((one.root / "data").iterdir())
    assert not kernels_of(one)


@pytest.mark.kernel
def test_long_paths_in_portuguese_are_paths_like_others(one: Workshop) -> None:
    root = one.root.parent / "previsão de atrasos à partida" / ("coração " * 12 + "fim") / "açúcar e pão"
    shutil.copytree(one.root, root)
    shop = Workshop(root, one.variables)
    assert len(str(root)) > 200
    shutil.move(root / "notebooks/one.ipynb", root / "notebooks/Análise do verão.ipynb")
    shop.write(
        TINY, "name: tiny\ntasks:\n  one:\n    notebook: Análise do verão.ipynb\n    outputs: {made: saída.txt}\n"
    )
    done = shop.caderno("run")
    assert done.code == 0, done.out
    assert (shop.result("one") / "saída.txt").read_text() == "1"
    assert "Análise do verão" in (shop.result("one") / "report.html").read_text(encoding="utf-8")
    assert "nothing to run" in shop.caderno("run")


@pytest.mark.kernel
@pytest.mark.slow
def test_results_that_were_damaged_by_hand_are_named_and_made_again(one: Workshop) -> None:
    assert one.caderno("run").code == 0
    place = one.result("one")
    for name, said in (("made.txt", "output made is damaged"), ("task.json", "its record is damaged")):
        (place / name).write_text("{")
        assert said in one.caderno("plan")
        done = one.caderno("run")
        assert done.code == 0
        assert said in done
        assert (place / "made.txt").read_text() == "1"
    (place / "made.txt").unlink()
    assert "output made is missing" in one.caderno("run")


@pytest.mark.kernel
def test_a_notebook_that_ends_itself_has_not_succeeded(one: Workshop) -> None:
    one.notebook("one.ipynb", PLAIN, "open(made, 'w').write('x')\nimport sys; sys.exit(0)", "1")
    done = one.caderno("run")
    assert done.code == 1
    assert "the notebook ended itself before its last cell" in done
    assert not kernels_of(one)


@pytest.mark.kernel
def test_an_mlflow_server_that_is_away_is_told_and_stops_nothing(one: Workshop) -> None:
    done = one.caderno("run", env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert done.code == 0
    assert "MLflow at http://127.0.0.1:9 does not answer (Connection refused)" in done
    assert "Traceback" not in done
    assert done.seconds < 60
    assert not kernels_of(one)


@pytest.mark.kernel
def test_ctrl_c_ends_all_and_loses_nothing(one: Workshop) -> None:
    one.notebook("slow.ipynb", "made: str = ''", "open('../begun', 'w')\nimport time; time.sleep(100)")
    one.pipeline("""
        one: {notebook: one.ipynb, outputs: {made: made.txt}}
        slow: {notebook: slow.ipynb, inputs: {made: one.made}}
    """)
    process = one.start("run")
    until(lambda: (one.root / "begun").exists())
    process.send_signal(2)
    done = ended(process)
    assert done.code == 130
    assert "Traceback (most recent call last):\n  File" not in done
    assert one.run_states() == {"one": "succeeded", "slow": "killed"}
    assert not kernels_of(one)
    assert one.states() == {"one": "cached", "slow": "run"}
