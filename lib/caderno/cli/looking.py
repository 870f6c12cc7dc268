"""Commands that show what runs left: status, show, log, open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from caderno.cli import completing
from caderno.cli.common import cli, pipeline_option, pipeline_options, planner_of, store_of
from caderno.errors import CadernoError

if TYPE_CHECKING:
    from datetime import date

    from caderno.plan.records import RunRecord


@cli.command()
@pipeline_option
@click.option("--all", "unfold", is_flag=True, help="A line for each task, however many went the same way.")
def status(pipeline: str | None, unfold: bool) -> None:
    """Show how the last run went."""
    from caderno.run import listing

    listing.show_run(_last_run(pipeline), unfold)


def _last_run(pipeline: str | None) -> RunRecord:
    _, store = store_of(pipeline)
    record = store.last_run()
    if record is None:
        raise CadernoError(f"the pipeline {store.pipeline} has not been run yet", "run: caderno run")
    return record


@cli.command()
@click.argument("task", shell_complete=completing.tasks)
@pipeline_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@click.option("--params", is_flag=True, help="Print the notebook's parameters: type, default, value, comment.")
@click.option("--papermill", is_flag=True, help="Print the plain papermill command that does the same.")
def show(
    task: str,
    pipeline: str | None,
    profile: str | None,
    parameters: tuple[str, ...],
    day: date | None,
    as_json: bool,
    params: bool,
    papermill: bool,
) -> None:
    """Show the record of TASK: parameters, inputs and outputs, code, times, metrics.

    \b
    caderno show compare
    caderno show 'train[model=forest]' --params
    caderno show 'train[model=forest]' --papermill
    """
    from caderno.run import listing

    planner = planner_of(pipeline, profile, parameters, day)
    one = planner.one(task)
    if params:
        listing.show_params(one)
        return
    if papermill:
        click.echo(listing.papermill_command(planner, one))
        return
    record, place = planner.newest(one)
    if as_json:
        click.echo(record.model_dump_json(indent=2))
    else:
        listing.show_record(record, planner.project.relative(place))


@cli.command()
@click.argument("task", shell_complete=completing.tasks)
@pipeline_options
@click.option("-f", "--follow", is_flag=True, help="Print what is added, until the task ends.")
def log(
    task: str, pipeline: str | None, profile: str | None, parameters: tuple[str, ...], day: date | None, follow: bool
) -> None:
    """Print what the cells of TASK print: of the attempt that is running, else of the last one.

    \b
    caderno log train
    caderno log -f 'train[model=forest]'
    """
    from caderno.plan.store import LOG
    from caderno.run import log as logs

    planner = planner_of(pipeline, profile, parameters, day)
    one = planner.one(task)
    store, folder = planner.store, one.folder
    running = store.running(folder)
    path = (running or planner.newest(one)[1]) / LOG
    try:
        if not follow:
            click.echo(path.read_text(encoding="utf-8"), nl=False)
            return
        for text in logs.follow(path, lambda: store.running(folder) is not None):
            click.echo(text, nl=False)
    except FileNotFoundError:
        hint = "it has not begun yet" if running else "it is from a time before there were logs; run it anew: --force"
        raise CadernoError(f"{one.id} has no {LOG}", hint) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@cli.command(name="open")
@click.argument("task", required=False, shell_complete=completing.tasks)
@pipeline_option
def open_(task: str | None, pipeline: str | None) -> None:
    """Open the last run's page, or TASK's, in the browser."""
    from caderno.project import Project

    project = Project.find(Path.cwd())
    if task is None:
        page = project.reports / "index.html"
    else:
        planner = planner_of(pipeline, None, ())
        page = planner.newest(planner.one(task))[1] / "report.html"
    if not page.exists():
        raise CadernoError(f"there is no {project.relative(page)} yet", "run: caderno run")
    click.echo(project.relative(page))
    click.launch(page.as_uri())
