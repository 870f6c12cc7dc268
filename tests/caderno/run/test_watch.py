from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from workshop import Workshop, record

from caderno.run import watch
from caderno.run.outcomes import _warnings

PLUG = """
class Base:
    def go(self):
        return "base"

class Hidden(Base):
    '''Found by asking Base for its subclasses.'''

    def go(self):
        '''Go.'''
        return "hidden"

def idle():
    return 1

def busy():
    return 2
"""


def pythons() -> list[str]:
    """Return this interpreter and all others that the machine has and that Caderno runs on."""
    others = [shutil.which(f"python3.{minor}") for minor in (11, 12, 13, 14)]
    works = [p for p in others if p and not subprocess.run([p, "-c", ""], capture_output=True).returncode]
    return [sys.executable, *works]


@pytest.mark.parametrize("python", pythons())
def test_what_runs_though_unused_in_the_picture_is_told_on_each_python(tmp_path: Path, python: str) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/plug.py").write_text(PLUG)
    (tmp_path / "lib/other.py").write_text("x = 1")
    task = {
        "project": str(tmp_path),
        "roots": [str(tmp_path / "lib")],
        "modules": ["plug"],
        "unused": {"plug": ["Hidden", "idle"]},
        "known": [],
        "report": str(tmp_path / "seen.jsonl"),
    }
    (tmp_path / "watch.json").write_text(json.dumps(task))
    script = (
        "import runpy, sys\n"
        f"runpy.run_path({watch.__file__!r})['start']({str(tmp_path / 'watch.json')!r})\n"
        f"sys.path.insert(0, {str(tmp_path / 'lib')!r})\n"
        "import plug, other\n"
        "plug.busy()\n"
        "assert [kind().go() for kind in plug.Base.__subclasses__() * 2] == ['hidden', 'hidden']\n"
        "assert plug.Hidden.go.__doc__ == 'Go.'\n"
    )
    subprocess.run([python, "-c", script], check=True)
    lines = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    assert sorted(what for kind, what in lines if kind == "ran") == ["other", "plug:Hidden"]


@pytest.mark.parametrize("place", ["/var/tmp", None])
def test_a_file_of_the_project_is_told_wherever_the_project_stands(place: str | None) -> None:
    told: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory(dir=place) as folder:
        path = Path(folder).resolve() / "data.csv"
        path.write_text("1")
        os.utime(path, (0, 0))
        look = watch._Files(folder, [], lambda *found: told.append(found))
        look("open", (str(path), "r", os.O_RDONLY))
        look("open", ("/etc/hostname", "r", os.O_RDONLY))
        outside = watch._Files("/nowhere", [], lambda *found: told.append(found))
        outside("open", (str(path), "r", os.O_RDONLY))
    assert told == [("read", str(path))] * (1 if place else 2)


@pytest.mark.kernel
class TestInAKernel:
    def test_what_ran_unseen_counts_from_then_on(self, shop: Workshop) -> None:
        shop.write("lib/tools/__init__.py", "")
        shop.write("lib/tools/plug.py", PLUG)
        cell = "from tools.plug import Base\nprint([kind().go() for kind in Base.__subclasses__()])"
        shop.notebook("one.ipynb", None, cell)
        shop.pipeline("one: {notebook: one.ipynb}")
        before = shop.fingerprint("one")
        done = shop.caderno("run")
        assert done.code == 0, done.out
        assert "one used tools.plug:Hidden without being seen to" in done
        one = shop.record("one")
        assert one.unseen == ["tools.plug:Hidden"]
        assert "tools.plug:*" in one.code.units
        assert one.fingerprint != before
        assert shop.result("one").name == one.fingerprint[:16]
        assert shop.mlflow_runs()[-1].data.tags["caderno.fingerprint"] == one.fingerprint
        assert shop.states() == {"one": "cached"}
        shop.write("lib/tools/plug.py", PLUG.replace('"hidden"', '"changed"'))
        assert shop.states() == {"one": "run"}
        (shop.root / "data/tiny/.observed.json").unlink()
        shop.write("lib/tools/plug.py", PLUG)
        assert shop.states() == {"one": "run"}, "forgetting costs a run"

    def test_a_file_that_is_read_undeclared_is_told_and_one_that_is_declared_or_made_here_is_not(
        self, shop: Workshop
    ) -> None:
        for name in ("declared", "secret", "folder/inner"):
            shop.write(f"data/{name}.csv", "1")
        shop.notebook(
            "one.ipynb",
            'declared: str = "../data/declared.csv"\nout: str = "out.txt"',
            "import json, mlflow, pandas\nfrom pathlib import Path\nPath(out).write_text(Path(declared).read_text())",
            "Path(out).read_text()\nwith mlflow.start_run():\n    mlflow.log_metric('a', 1)",
            "Path('../data/secret.csv').read_text()\nopen('../data/folder/inner.csv').close()",
        )
        shop.pipeline(
            "one: {notebook: one.ipynb, inputs: {declared: 'file:data/declared.csv'}, outputs: {out: out.txt}}"
        )
        done = shop.caderno("run")
        assert done.code == 0, done.out
        assert shop.record("one").undeclared == ["data/folder/inner.csv", "data/secret.csv"]
        assert "one read data/folder/inner.csv, data/secret.csv undeclared: a change of it would go unnoticed" in done

    def test_an_undeclared_read_fails_a_strict_task(self, shop: Workshop) -> None:
        shop.write("data/secret.csv", "1")
        shop.notebook("one.ipynb", None, "open('../data/secret.csv').close()")
        shop.pipeline("one: {notebook: one.ipynb}", head="strict: true\n")
        done = shop.caderno("run")
        assert done.code == 1, done.out
        assert shop.outcome("one").kind == "undeclared read"
        assert 'declare it under inputs: "file:data/secret.csv"' in done
        assert shop.planner().failed() == ["one"]


def test_warnings_name_what_to_declare() -> None:
    found = _warnings(record(undeclared=["a.csv", "b.csv", "c.csv", "d.csv"]))
    assert found == [
        "read a.csv, b.csv, c.csv and 1 more undeclared: a change of it would go unnoticed; "
        'declare it under inputs: "file:a.csv"'
    ]
    assert _warnings(record()) == []
