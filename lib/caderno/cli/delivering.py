"""Commands that deliver: verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from caderno.cli import completing
from caderno.cli.common import chosen, cli, pipeline_options, planner_of
from caderno.errors import CadernoError

if TYPE_CHECKING:
    from caderno.plan.planner import Planner
    from caderno.plan.records import TaskRecord
    from caderno.spec import Task


@cli.command()
@click.argument("task", shell_complete=completing.tasks)
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
    result: str | None,
    tolerance: float,
) -> None:
    """Build a past result of TASK once more from its record, and say whether it is the same.

    The same commit, parameters and inputs; versions are compared. Where it differs, it is built a second time: a
    notebook that is not deterministic is named. Nothing of it becomes a result.

    \b
    caderno verify compare
    caderno verify 'train[model=forest]' --result 3f9a0c12
    """
    from caderno.deliver import verdict as verdicts
    from caderno.deliver.closeness import Tolerance
    from caderno.deliver.rebuild import rebuild
    from caderno.run.console import QuietConsole

    planner = planner_of(pipeline, profile, parameters)
    one = planner.one(task)
    record, place = _result(planner, one, result)
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
