"""Commands that plan and run: run, plan, debug."""

from __future__ import annotations

import os
import shlex
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import click

from caderno.cli import completing
from caderno.cli.common import (
    cli,
    no_remote_option,
    pipeline_options,
    planner_and_remote,
    planner_of,
    selecting,
    targets_of,
    verify_option,
)
from caderno.cli.delivering import check_candidates, deliver

if TYPE_CHECKING:
    from datetime import date

    from caderno.plan.records import Cell, Failure
    from caderno.remote import Elsewhere


@cli.command()
@click.argument("tasks", nargs=-1, shell_complete=completing.tasks)
@pipeline_options
@click.option("--jobs", type=click.IntRange(min=1), help="Tasks at once; default: the machine's cores.")
@click.option("--force", is_flag=True, help="Run the named tasks (or all) even if their results are there.")
@click.option("--fail-fast", is_flag=True, help="Start nothing more after the first failure.")
@click.option("--no-retries", is_flag=True, help="Try no task again: whoever called does so.")
@click.option(
    "--deliver/--no-deliver",
    "delivers",
    default=None,
    help="Release the best candidate and promote it if the gate lets it, or do not; default: as delivery: says.",
)
@click.option(
    "--kernels",
    type=click.Choice(["warm", "cold"]),
    default="warm",
    show_default=True,
    envvar="CADERNO_KERNELS",
    help="Fork kernels from a process that has imported what notebooks import, or start each anew.",
)
@click.option("--quiet", is_flag=True, help="Print failures and the last line only.")
@selecting
@verify_option
@no_remote_option
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON; see reports/README.md.")
@click.option("--dry-run", is_flag=True, help="Show what would run, and why; run nothing.")
@click.pass_context
def run(
    ctx: click.Context,
    tasks: tuple[str, ...],
    pipeline: str | None,
    profile: str | None,
    parameters: tuple[str, ...],
    day: date | None,
    jobs: int | None,
    force: bool,
    fail_fast: bool,
    no_retries: bool,
    delivers: bool | None,
    kernels: str,
    quiet: bool,
    failed: bool,
    changed: bool,
    verify: bool,
    no_remote: bool,
    as_json: bool,
    dry_run: bool,
) -> None:
    """Run what is not there yet: TASKS with all they need, or the whole pipeline.

    \b
    caderno run                               all that is missing
    caderno run train                         each of the matrix, and its upstream
    caderno run 'train[model=forest]'         one of the matrix
    caderno run dataset+                      a task, and all downstream of it
    caderno run 'etl/*'                       all whose name or notebook matches
    caderno run --force +compare              anew, a task and all upstream of it
    caderno run --failed                      what failed, or was skipped, in the last run
    caderno run --profile smoke --jobs 4
    caderno run train -p train.seed=7
    """
    from caderno.run import listing, session
    from caderno.run.feed import Feed
    from caderno.run.progress import Progress

    if as_json and (quiet or dry_run):
        raise click.UsageError(
            f"--json tells every event of a run: it does not go with --{'quiet' if quiet else 'dry-run'}"
        )
    planner, remote = planner_and_remote(pipeline, profile, parameters, day, verify, no_remote)
    tasks = targets_of(planner, tasks, failed, changed)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options = session.Options(
        jobs=jobs or cores,
        cores=cores,
        fail_fast=fail_fast,
        warm=kernels == "warm",
        retry=not no_retries,
        kept=bool(delivers),
        command=_command(ctx, tasks),
        remote=remote,
    )
    with nullcontext() if dry_run else planner.store.in_use():
        plan = planner.plan(tasks, force)
        if delivers:
            check_candidates(plan)
        if verify:
            click.echo(planner.cache.said(), err=True)
        if dry_run:
            listing.show_plan(plan, tasks)
            _tell(remote)
            return
        with Feed() if as_json else Progress(planner.project.root, quiet=quiet) as watcher:
            record, signal = session.execute(planner, plan, options, [watcher])
    if signal is not None:
        raise SystemExit(128 + signal)
    if record.state == "succeeded" and (planner.pipeline.delivery == "automatic" if delivers is None else delivers):
        with Feed() if as_json else nullcontext() as watch:
            delivered = deliver(planner.project, planner.pipeline, record)
            if watch and delivered:
                watch(delivered)
    raise SystemExit(0 if record.state == "succeeded" else 1)


def _command(ctx: click.Context, tasks: tuple[str, ...]) -> str:
    """Return the command as it was given, without what does not change the results."""
    words = ["caderno", "run", *tasks]
    for option in ("pipeline", "profile"):
        if ctx.params[option]:
            words += [f"--{option}", ctx.params[option]]
    if ctx.params["day"]:
        words += ["--day", str(ctx.params["day"])]
    for parameter in ctx.params["parameters"]:
        words += ["-p", parameter]
    return shlex.join(words)


@cli.command()
@click.argument("tasks", nargs=-1, shell_complete=completing.tasks)
@pipeline_options
@click.option("--force", is_flag=True, help="Plan as `run --force` would.")
@selecting
@verify_option
@no_remote_option
@click.option("--all", "unfold", is_flag=True, help="A line for each task, however many share state and reason.")
@click.option("--why", "every_reason", is_flag=True, help="Every reason: how code is reached, how cells differ.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan with every reason as JSON.")
def plan(
    tasks: tuple[str, ...],
    pipeline: str | None,
    profile: str | None,
    parameters: tuple[str, ...],
    day: date | None,
    force: bool,
    failed: bool,
    changed: bool,
    verify: bool,
    no_remote: bool,
    unfold: bool,
    every_reason: bool,
    as_json: bool,
) -> None:
    """Show what would run, and why; run nothing.

    \b
    caderno plan                    a line a task
    caderno plan --why train        every reason, compared with the nearest earlier result
    caderno plan --json             the same for programs
    """
    from caderno.run import listing

    planner, remote = planner_and_remote(pipeline, profile, parameters, day, verify, no_remote)
    tasks = targets_of(planner, tasks, failed, changed)
    planned = planner.plan(tasks, force, detail=every_reason or as_json)
    if as_json:
        click.echo(listing.plan_as_json(planned))
    else:
        listing.show_plan(planned, tasks, unfold, every_reason)
    _tell(remote)
    if verify:
        click.echo(planner.cache.said(), err=True)


def _tell(remote: Elsewhere | None) -> None:
    """Print what went wrong with results of other machines while a plan was made."""
    if remote:
        remote.listen(lambda message: click.echo(f"warning: {message}", err=True))


@cli.command()
@click.argument("task", shell_complete=completing.tasks)
@pipeline_options
def debug(task: str, pipeline: str | None, profile: str | None, parameters: tuple[str, ...], day: date | None) -> None:
    """Run TASK once more and keep its kernel at the cell that fails, for a console to look around in.

    Nothing of it becomes a result. Ctrl-C ends it.

    \b
    caderno debug 'train[model=forest]'
    caderno debug train -p train.seed=7
    """
    from caderno.run import debug as debugging
    from caderno.run.console import QuietConsole
    from caderno.run.kernels import KILLED
    from caderno.run.progress import show_failure

    planner = planner_of(pipeline, profile, parameters, day)
    one = planner.one(task)
    console = QuietConsole(highlight=False)
    cells = sum(bool(cell.source.strip()) for cell in one.notebook.cells)
    status = console.status(f"{one.id}: cell 1 of {cells}")

    def on_cell(count: int, _cell: Cell) -> None:
        status.update(f"{one.id}: cell {min(count + 1, cells)} of {cells}")

    def show(failure: Failure, command: str) -> None:
        status.stop()
        show_failure(console, one.id, one.notebook.name, failure)
        click.echo("the kernel is kept as it was at that cell; in another terminal:\n")
        click.echo(f"  {command}\n")
        click.echo("there %debug looks into the traceback. Ctrl-C here ends it")

    with planner.store.in_use(), status:
        failure = debugging.debug(planner, one, show, on_cell, warn=partial(click.echo, err=True))
    if failure is None:
        click.echo(f"{one.id} ran to its end: nothing to look at. As a result: caderno run {shlex.quote(one.id)}")
    elif failure.cell is None or failure.kind != KILLED:
        click.echo(f"{failure.kind}: {failure.message}", err=True)
    raise SystemExit(0 if failure is None else 1)
