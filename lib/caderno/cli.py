"""The command line: one thin function a verb, each handing over to one of the library."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caderno.errors import CadernoError, did_you_mean

if TYPE_CHECKING:
    from caderno.plan.planner import Planner
    from caderno.plan.records import RunRecord


class _Commands(click.Group):
    """Names the nearest command when one is misspelt."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx), "command")
            raise click.UsageError(f"there is no command {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="caderno")
def cli() -> None:
    """From a folder of Jupyter notebooks to a delivered model.

    Works from any folder of a project: one with pipelines in params/*.yaml, notebooks in notebooks/ and
    shared code in lib/.
    """


def _pipeline_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("-p", "parameters", multiple=True, metavar="[TASK.]NAME=VALUE", help="Set a parameter."),
        click.option("--profile", help="Lay params/profiles/NAME.yaml over the pipeline."),
        click.option("--pipeline", help="The pipeline; needed where params/ has several."),
    ):
        function = option(function)
    return function


def _selecting(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--changed", is_flag=True, help="The tasks that have a result, but none for what they are now."),
        click.option("--failed", is_flag=True, help="The tasks that failed, or were skipped, in the last run."),
    ):
        function = option(function)
    return function


def _targets(planner: Planner, tasks: tuple[str, ...], failed: bool, changed: bool) -> tuple[str, ...]:
    """Return the tasks named by words and by options; ends here where the options name none."""
    found = (*tasks, *(planner.failed() if failed else ()), *(planner.changed() if changed else ()))
    if (failed or changed) and not found:
        click.echo("nothing failed in the last run" if failed else "nothing has changed")
        raise SystemExit(0)
    return tuple(dict.fromkeys(found))


_verify_option = click.option(
    "--verify", is_flag=True, help="Read all files anew: finds damage that kept size and time."
)


def _planner(pipeline: str | None, profile: str | None, parameters: tuple[str, ...], verify: bool = False) -> Planner:
    from caderno import spec
    from caderno.plan.planner import Planner
    from caderno.project import Project

    project = Project.find(Path.cwd())
    overrides = []
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not [TASK.]NAME=VALUE", param_hint="-p")
        overrides.append((name, value))
    name = spec.choose(project, pipeline)
    return Planner(project, spec.load(project, name, profile, overrides), verify)


@cli.command()
@click.argument("tasks", nargs=-1)
@_pipeline_options
@click.option("--jobs", type=click.IntRange(min=1), help="Tasks at once; default: the machine's cores.")
@click.option("--force", is_flag=True, help="Run the named tasks (or all) even if their results are there.")
@click.option("--fail-fast", is_flag=True, help="Start nothing more after the first failure.")
@click.option("--quiet", is_flag=True, help="Print failures and the last line only.")
@_selecting
@_verify_option
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON; see reports/README.md.")
@click.option("--dry-run", is_flag=True, help="Show what would run, and why; run nothing.")
@click.pass_context
def run(
    ctx: click.Context,
    tasks: tuple[str, ...],
    pipeline: str | None,
    profile: str | None,
    parameters: tuple[str, ...],
    jobs: int | None,
    force: bool,
    fail_fast: bool,
    quiet: bool,
    failed: bool,
    changed: bool,
    verify: bool,
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
    planner = _planner(pipeline, profile, parameters, verify)
    tasks = _targets(planner, tasks, failed, changed)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options = session.Options(jobs=jobs or cores, cores=cores, fail_fast=fail_fast, command=_command(ctx, tasks))
    plan = planner.plan(tasks, force)
    if verify:
        click.echo(planner.cache.said(), err=True)
    if dry_run:
        listing.show_plan(plan, tasks)
        return
    with Feed() if as_json else Progress(planner.project.root, quiet=quiet) as watcher:
        record, signal = session.execute(planner, plan, options, [watcher])
    if signal is not None:
        raise SystemExit(128 + signal)
    raise SystemExit(0 if record.state == "succeeded" else 1)


def _command(ctx: click.Context, tasks: tuple[str, ...]) -> str:
    """Return the command as it was given, without what does not change the results."""
    words = ["caderno", "run", *tasks]
    for option in ("pipeline", "profile"):
        if ctx.params[option]:
            words += [f"--{option}", ctx.params[option]]
    for parameter in ctx.params["parameters"]:
        words += ["-p", parameter]
    return shlex.join(words)


@cli.command()
@click.argument("tasks", nargs=-1)
@_pipeline_options
@click.option("--force", is_flag=True, help="Plan as `run --force` would.")
@_selecting
@_verify_option
@click.option("--all", "unfold", is_flag=True, help="A line for each task, however many share state and reason.")
@click.option("--why", "every_reason", is_flag=True, help="Every reason: how code is reached, how cells differ.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan with every reason as JSON.")
def plan(
    tasks: tuple[str, ...],
    pipeline: str | None,
    profile: str | None,
    parameters: tuple[str, ...],
    force: bool,
    failed: bool,
    changed: bool,
    verify: bool,
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

    planner = _planner(pipeline, profile, parameters, verify)
    tasks = _targets(planner, tasks, failed, changed)
    planned = planner.plan(tasks, force, detail=every_reason or as_json)
    if as_json:
        click.echo(listing.plan_as_json(planned))
    else:
        listing.show_plan(planned, tasks, unfold, every_reason)
    if verify:
        click.echo(planner.cache.said(), err=True)


@cli.command()
@click.option("--pipeline", help="The pipeline; needed where params/ has several.")
@click.option("--all", "unfold", is_flag=True, help="A line for each task, however many went the same way.")
def status(pipeline: str | None, unfold: bool) -> None:
    """Show how the last run went."""
    from caderno.run import listing

    listing.show_run(_last_run(pipeline), unfold)


def _last_run(pipeline: str | None) -> RunRecord:
    from caderno import spec
    from caderno.plan.store import Store
    from caderno.project import Project

    project = Project.find(Path.cwd())
    name = spec.choose(project, pipeline)
    record = Store(project, name).last_run()
    if record is None:
        raise CadernoError(f"the pipeline {name} has not been run yet", "run: caderno run")
    return record


@cli.command()
@click.argument("task")
@_pipeline_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
@click.option("--params", is_flag=True, help="Print the notebook's parameters: type, default, value, comment.")
@click.option("--papermill", is_flag=True, help="Print the plain papermill command that does the same.")
def show(
    task: str,
    pipeline: str | None,
    profile: str | None,
    parameters: tuple[str, ...],
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

    planner = _planner(pipeline, profile, parameters)
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
def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors.

    \b
    caderno schema > params/pipeline.schema.json
    """
    from caderno.spec.schema import pipeline_schema

    click.echo(pipeline_schema(), nl=False)


@cli.command(name="open")
@click.argument("task", required=False)
@click.option("--pipeline", help="The pipeline; needed where params/ has several.")
def open_(task: str | None, pipeline: str | None) -> None:
    """Open the last run's page, or TASK's, in the browser."""
    from caderno.project import Project

    project = Project.find(Path.cwd())
    if task is None:
        page = project.reports / "index.html"
    else:
        planner = _planner(pipeline, None, ())
        page = planner.newest(planner.one(task))[1] / "report.html"
    if not page.exists():
        raise CadernoError(f"there is no {project.relative(page)} yet", "run: caderno run")
    click.echo(project.relative(page))
    click.launch(page.as_uri())


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def new(folder: Path) -> None:
    """Make a project that runs at once in FOLDER, to be made one's own.

    \b
    caderno new shop && cd shop && caderno run && caderno open
    """
    from caderno.start import new as starting

    made = starting.new(folder)
    click.echo(f"made {folder}: the pipeline {made.name}, two notebooks, helpers in lib/{made.name}, their test\n")
    if made.root != Path.cwd():
        click.echo(f"  cd {shlex.quote(str(folder))}")
    click.echo("  caderno run           # prepare, then train")
    click.echo("  caderno open          # the report\n")
    click.echo("later: python -m pytest (needs pytest), git init, and README.md for the rest")


@cli.command()
@click.argument("notebooks", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--pipeline", help="The pipeline to write to; default: the project's, or one named like the folder.")
@click.option("--tag", is_flag=True, help="Tag the first cell of literals `parameters` where no cell is.")
@click.option("--copy", is_flag=True, help="Copy notebooks from elsewhere to notebooks/.")
@click.option("--dry-run", is_flag=True, help="Print what would be written; write nothing.")
def adopt(notebooks: tuple[Path, ...], pipeline: str | None, tag: bool, copy: bool, dry_run: bool) -> None:
    """Write the pipeline entry of NOTEBOOKS that exist; what is guessed says so in the YAML.

    \b
    caderno adopt notebooks/*.ipynb --dry-run
    caderno adopt ~/Downloads/tutorial.ipynb --copy --tag
    """
    from caderno.start import adopt as adopting

    adopted = adopting.adopt(Path.cwd(), notebooks, adopting.Options(pipeline, tag, copy, dry_run))
    click.echo(f"{'would write to' if dry_run else 'in'} {adopted.file}:\n\n{adopted.text}")
    for note in adopted.notes:
        click.echo(f"note: {note}")
    if not dry_run:
        click.echo("next: look at what is marked as a guess, then: caderno plan")


@cli.command()
@click.argument("files", nargs=-1)
def check(files: tuple[str, ...]) -> None:  # noqa: ARG001  # taken and ignored, as the help says
    """Find what is wrong in all pipelines, with each profile, and all notebooks; run nothing.

    FILES, which pre-commit hands over, are ignored: a change of one file can break another.

    \b
    caderno check
    """
    from caderno.project import Project
    from caderno.spec import checking

    checked = checking.check(Project.find(Path.cwd()))
    if checked.problems:
        raise CadernoError("\n".join(map(str, checked.problems)))
    click.echo(f"nothing wrong in {checked.pipelines} pipelines and {checked.notebooks} notebooks")


def main() -> None:
    """Run the command line; every problem that a user can mend ends here, without a traceback."""
    try:
        cli.main(prog_name="caderno", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except click.Abort:
        raise SystemExit(130) from None
    except CadernoError as error:
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        raise SystemExit(error.exit_code) from None
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None


if __name__ == "__main__":
    main()
