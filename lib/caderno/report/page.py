"""The page of one task."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from caderno.errors import InvalidPipeline
from caderno.plan.environment import masked
from caderno.plan.records import TaskRecord
from caderno.report import text
from caderno.report.diff import Diff, Result, comparable, metric_changes
from caderno.report.frame import render, stamp
from caderno.report.notebook import declared, highlighted, read
from caderno.report.outputs import traceback_html
from caderno.spec import UNSET, yaml

_COMPARED = 4  # earlier results that a page tells the difference to
NOTICEABLE = 0.5  # seconds; what is faster is not worth a reader's eye


def task_page(record: TaskRecord, notebook: Mapping[str, Any], earlier: Sequence[tuple[TaskRecord, Path]] = ()) -> str:
    """Return the task's page: the bottom line first, then the notebook, what made it, and what changed.

    `earlier` are results of the same task from before with their directories, the newest first.
    """
    failure = record.failure
    new = Result(record, notebook)
    diffs = [Diff(Result.at(*old), new) for old in comparable(record, earlier)[:_COMPARED]]
    story = read(
        notebook,
        {cell.index: cell for cell in record.cells},
        failure.cell if failure else None,
    )
    return render(
        "task.html.j2",
        stamp=stamp(record),
        record=record,
        story=story,
        noticeable=NOTICEABLE,
        metrics=diffs[0].metrics if diffs else metric_changes({}, record.metrics),
        diffs=diffs,
        parameters=_parameters(record, notebook),
        earlier=[one for one, _ in earlier],
        failed_cell=story.at(failure.cell) if failure else None,
        failed_source=highlighted(failure.source, "ipython3") if failure and failure.source else "",
        traceback=traceback_html(failure.traceback) if failure and failure.traceback else "",
        run_again=shlex.join(_run(record)),
        command=command(record),
    )


@dataclass(frozen=True)
class Given:
    """A parameter of the task: `default` is what the notebook has, as text, where the task set another value."""

    name: str
    value: JsonValue
    set_here: bool
    default: str
    comment: str


def _parameters(record: TaskRecord, notebook: Mapping[str, Any]) -> list[Given]:
    known = declared(notebook)
    found = []
    for name, value in record.params.items():
        set_here, own = name in record.overridden, known.get(name)
        default = text.value(own.default) if set_here and own and own.default is not UNSET else ""
        found.append(Given(name, value, set_here, default, own.comment if own else ""))
    return found


def command(record: TaskRecord) -> str:
    """Return the shell command that executes the task anew with the parameters that it had.

    Values that the notebook does not set itself are spelled out, so that a later edit of the pipeline file or
    another profile changes nothing; those of the matrix stand in the task's name already.
    """
    name, _, member = record.task.partition("[")
    matrix = set(re.findall(r"(\w+)=", member))
    words = _run(record)
    for parameter in record.overridden:
        if parameter in record.params and parameter not in matrix:
            words += ["-p", f"{name}.{parameter}={masked(_spelled(record.params[parameter]))}"]
    return shlex.join(words)


def _run(record: TaskRecord) -> list[str]:
    """Return the words that run the task as its pipeline file has it by now."""
    words = ["caderno", "run", record.task, "--pipeline", record.pipeline]
    if record.profile:
        words += ["--profile", record.profile]
    if record.day:
        words += ["--day", str(record.day)]
    return words


def _spelled(value: Any) -> str:
    """Return `value` as YAML reads it back: a text that means itself as it is, all else as JSON."""
    with contextlib.suppress(InvalidPipeline):
        if isinstance(value, str) and yaml.scalar(value) == value:
            return value
    return json.dumps(value, ensure_ascii=False)


def failed_page(record: TaskRecord, error: Exception) -> str:
    """Return a page that says why there is no other; it bears no mark, so that `caderno report` tries again."""
    return render("unmade.html.j2", stamp="0" * 16, record=record, error=f"{type(error).__name__}: {error}")


def diff_page(diff: Diff) -> str:
    """Return the page of what changed between two results of a task."""
    old, new = diff.old.record, diff.new.record
    return render("diff.html.j2", stamp=stamp(old, new), diff=diff, old=old, new=new)
