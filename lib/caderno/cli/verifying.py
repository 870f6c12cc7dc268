"""The command that builds a past result once more: verify."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caderno.cli import completing
from caderno.cli.common import chosen, cli, pipeline_options, planner_of
from caderno.errors import CadernoError
from caderno.plan.store import read_record

if TYPE_CHECKING:
    from datetime import date

    from caderno.plan.planner import Planner
    from caderno.plan.records import TaskRecord
    from caderno.spec import Task


@cli.command()
@click.argument("task", metavar="TASK|MODEL", shell_complete=completing.tasks)
@pipeline_options
@click.option("--result", metavar="PREFIX", help="Which: the first letters of its fingerprint or of its run's id.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, max=1),
    default=1e-6,
    show_default=True,
    help="How far apart floats may be, as a share of the larger; near zero a thousandth of it, absolute.",
)
def verify(
    task: str,
    pipeline: str | None,
    profile: str | None,
    parameters: tuple[str, ...],
    day: date | None,
    result: str | None,
    tolerance: float,
) -> None:
    """Build a past result of TASK once more from its record, and say whether it is the same.

    MODEL, a version such as v3, or champion, is the result that it came from.
    The same commit, parameters and inputs; versions are compared. Where it differs, it is built a second time: a
    notebook that is not deterministic is named. Nothing of it becomes a result.

    \b
    caderno verify compare
    caderno verify 'train[model=forest]' --result 3f9a0c12
    caderno verify champion
    """
    from caderno.run.console import QuietConsole
    from caderno.verify import verdict as verdicts
    from caderno.verify.closeness import Tolerance
    from caderno.verify.rebuild import rebuild

    planner = planner_of(pipeline, profile, parameters, day)
    model = _model(planner, task)
    record, place = model or _result(planner, planner.one(task), result)
    one = planner.one(record.task)
    status = QuietConsole(stderr=True).status(f"{one.id}: rebuilding")
    with planner.store.in_use(), status:
        found = rebuild(
            planner.project,
            record,
            place,
            tolerance=Tolerance(tolerance, tolerance / 1000),
            cpus=one.cpus,
            tell=lambda doing: status.update(f"{one.id}: {doing}"),
        )
    verdicts.show(found, record)
    raise SystemExit(0 if found.good else 1)


def _model(planner: Planner, word: str) -> tuple[TaskRecord, Path] | None:
    """Return the result that a version of the pipeline's model came from; None where the word names no version."""
    gate = planner.pipeline.gate
    if gate is None or not re.fullmatch(r"champion|challenger|v\d+", word) or word in planner.pipeline.tasks:
        return None
    from caderno.deliver.delivery import version_of

    facts = version_of(planner.project, planner.pipeline, word).released.entry.facts
    place = planner.project.root / facts["folder"]
    record = read_record(place)
    if record is None:
        raise CadernoError(f"the result that {word} came from is gone: {facts['folder']}", f"of {facts['task']}")
    return record, place


def _result(planner: Planner, task: Task, word: str | None) -> tuple[TaskRecord, Path]:
    """Return the newest result of a task, or the one that `word` names."""
    if word:
        return chosen(planner.store.all_of(task.folder), word, task.id)
    found = planner.store.latest(task.folder)
    if found is None:
        planner.newest(task)  # says where it has not been run
        raise CadernoError(
            f"{task.id} has never succeeded: there is no result to verify", f"run: caderno run {task.id}"
        )
    return found
