"""Projects to measure on: notebooks of a few lines, and large ones whose tasks have all finished.

No kernel runs here. Records and outputs of finished tasks are put where a run would have left them, made by the
planner's own resolution, so that they are as large as real ones and a run finds nothing to do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from caderno import spec
from caderno.plan import digests
from caderno.plan.planner import Planner
from caderno.plan.records import Cell, Git, Input, Output, TaskRecord, TrackingRun
from caderno.plan.store import NOTEBOOK, PAGE, RECORD
from caderno.project import Project
from caderno.spec import Task

NAME = "bench"
MODULES, FUNCTIONS = 20, 5  # of the helper package
PACKAGES = ("click", "jinja2", "mlflow", "nbclient", "nbformat", "nh3", "papermill", "psutil", "pydantic", "rich")
_OLD = 1_380_000_000  # a time long ago: what was changed just now is not kept in caches


def notebook(*cells: str) -> nbformat.NotebookNode:
    """Return a notebook whose first code cell is tagged `parameters`."""
    code = [new_code_cell(cell) for cell in cells]
    code[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return new_notebook(cells=[new_markdown_cell("# A small task"), *code], metadata={"kernelspec": kernel})


def single(folder: Path, axis: str, count: int, output: str, content: nbformat.NotebookNode) -> None:
    """Make a project of one notebook with a matrix of `count` values."""
    _write(folder / "notebooks/task.ipynb", nbformat.writes(content))
    values = ", ".join(str(value) for value in range(1, count + 1))
    _write(
        folder / f"params/{NAME}.yaml",
        f"name: {NAME}\ntasks:\n  task:\n    notebook: task.ipynb\n    matrix: {{{axis}: [{values}]}}\n"
        f"    outputs: {{{output}: {output}.txt}}\n",
    )


def finished(folder: Path, count: int) -> None:
    """Make a project with `count` finished tasks: one source, a matrix of `count` - 2, and one that collects."""
    parts = range(1, count - 1)
    _helpers(folder / "lib/tools")
    for n in parts:
        _write(folder / f"data/parts/{n}.csv", f"n,value\n{n},{n * n}\n", _OLD)
    _write(folder / "data/source.csv", "a,b\n1,2\n", _OLD)
    imports = "\n".join([*(f"import {name}" for name in PACKAGES), f"from tools.m{MODULES - 1} import f0"])
    for name, parameters in {
        "source": "source: str = ''\ntable: str = 'table.csv'",
        "task": "n: int = 1\nseed: int = 1\nrate: float = 0.5\ntable: str = ''\npart: str = ''\nout: str = 'out.txt'",
        "collect": "outs: list[str] = []\nall: str = 'all.txt'",
    }.items():
        _write(folder / f"notebooks/{name}.ipynb", nbformat.writes(notebook(parameters, imports, "f0()", "x = 1")))
    _write(
        folder / f"params/{NAME}.yaml",
        f"""\
name: {NAME}
params: {{seed: 42}}
tasks:
  source:
    notebook: source.ipynb
    inputs: {{source: "file:data/source.csv"}}
    outputs: {{table: table.csv}}
  task:
    notebook: task.ipynb
    matrix: {{n: {list(parts)}}}
    inputs: {{table: source.table, part: "file:data/parts/{{n}}.csv"}}
    outputs: {{out: out.txt}}
  collect:
    notebook: collect.ipynb
    inputs: {{outs: task.out}}
    outputs: {{all: all.txt}}
""",
    )
    settle(folder)


def settle(folder: Path) -> None:
    """Give every task of a project a result, as a run would leave it."""
    project = Project(folder)
    planner = Planner(project, spec.load(project, NAME))
    records: dict[str, TaskRecord] = {}
    for task in planner.pipeline.tasks.values():
        resolved = planner.resolve(task, records)
        place = planner.store.place(task.folder, resolved.fingerprint)
        records[task.id] = _left(place, task, resolved.fingerprint, resolved.code, resolved.inputs)
        planner.store.point_latest(task.folder, resolved.fingerprint)


def _left(place: Path, task: Task, fingerprint: str, code: Any, inputs: Mapping[str, list[Input]]) -> TaskRecord:
    """Leave a result in `place` and return its record."""
    outputs = {}
    for name, path in task.outputs.items():
        _write(place / path, f"{task.id}\n" * 20, _OLD)
        digest, size = digests.of_path(place / path)
        outputs[name] = Output(path=path, digest=digest, size=size)
    record = TaskRecord(
        pipeline=NAME,
        profile=None,
        task=task.id,
        state="succeeded",
        fingerprint=fingerprint,
        notebook=task.notebook.name,
        run="20131105-073000-3f9a",
        started=datetime(2013, 11, 5, 7, 30, tzinfo=UTC),
        seconds=12.5,
        user="Ada",
        host="here",
        params=dict(task.params),
        overridden=task.overridden,
        inputs=dict(inputs),
        outputs=outputs,
        code=code,
        git=Git(commit="3f" * 20, branch="main", dirty=False),
        tracking=TrackingRun(tracking_uri="sqlite:///mlflow.db", experiment_id="1", run_id="5e" * 16),
        metrics={f"metric_{n}": n / 7 for n in range(8)},
        cells=[Cell(index=index, seconds=index / 3) for index in range(20)],
    )
    _write(place / RECORD, record.model_dump_json(indent=1), _OLD)
    _write(place / NOTEBOOK, "{}")
    _write(place / PAGE, "<!doctype html><title>A task</title>")
    return record


def _helpers(folder: Path) -> None:
    """Write a package in which each module uses every function of the one before."""
    _write(folder / "__init__.py", "")
    for module in range(MODULES):
        names = [f"f{function}" for function in range(FUNCTIONS)]
        lines = [f"from tools.m{module - 1} import {', '.join(names)}" if module else ""]
        for name in names:
            before = f"\n        value += {name}_before(value)" if module else ""
            loop = f"    for step in range(3):\n        value += step{before}\n"
            lines.append(f"def {name}(value=1):\n{loop}    return value\n")
        text = "\n\n".join(lines)
        if module:
            text = text.replace(", ".join(names), ", ".join(f"{name} as {name}_before" for name in names), 1)
        calls = "\n\ndef all_of_them():\n    return [" + ", ".join(f"{name}()" for name in names) + "]\n"
        _write(folder / f"m{module}.py", text + calls, _OLD)


def _write(path: Path, text: str, modified: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if modified is not None:
        os.utime(path, (modified, modified))
