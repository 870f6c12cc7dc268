"""What commands share: the group, the options that name a pipeline and its tasks, and what they lead to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caderno.cli import completing
from caderno.errors import CadernoError, did_you_mean

if TYPE_CHECKING:
    from datetime import date

    from caderno.plan.planner import Planner
    from caderno.plan.records import TaskRecord
    from caderno.plan.store import Store
    from caderno.project import Project
    from caderno.remote import Elsewhere
    from caderno.spec import Pipeline


class _Commands(click.Group):
    """Names the nearest command when one is misspelt."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx), "command")
            raise click.UsageError(f"there is no command {args[0]!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)


class Checked(click.ParamType[Any]):
    """A value that pipeline files know too, such as 64M or 7d; `words` say what it should be."""

    def __init__(self, kind: Any, words: str) -> None:
        self.name = words.partition(" ")[0]
        self._kind, self._words = kind, words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what it means; fails with the words."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(self._kind).validate_python(value)
        except ValidationError:
            self.fail(f"{value!r} is no {self._words}", param, ctx)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="caderno")
def cli() -> None:
    """From a folder of Jupyter notebooks to a delivered model.

    Works from any folder of a project: one with pipelines in params/*.yaml, notebooks in notebooks/ and
    shared code in lib/.
    """


pipeline_option = click.option(
    "--pipeline", shell_complete=completing.pipelines, help="The pipeline; needed where params/ has several."
)


def pipeline_options(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which pipeline, with which parameters."""
    for option in (
        click.option(
            *("-p", "parameters"),
            multiple=True,
            metavar="[TASK.]NAME=VALUE",
            shell_complete=completing.parameters,
            help="Set a parameter.",
        ),
        click.option(
            "--profile", shell_complete=completing.profiles, help="Lay params/profiles/NAME.yaml over the pipeline."
        ),
        click.option(
            "--day",
            type=click.DateTime(["%Y-%m-%d"]),
            callback=lambda ctx, param, value: value and value.date(),
            metavar="YYYY-MM-DD",
            help="The day that {{ ds }} stands for in the pipeline file.",
        ),
        pipeline_option,
    ):
        function = option(function)
    return function


def selecting(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name tasks by what became of them."""
    for option in (
        click.option("--changed", is_flag=True, help="The tasks that have a result, but none for what they are now."),
        click.option("--failed", is_flag=True, help="The tasks that failed, or were skipped, in the last run."),
    ):
        function = option(function)
    return function


def targets_of(planner: Planner, tasks: tuple[str, ...], failed: bool, changed: bool) -> tuple[str, ...]:
    """Return the tasks named by words and by options; ends here where the options name none."""
    found = (*tasks, *(planner.failed() if failed else ()), *(planner.changed() if changed else ()))
    if (failed or changed) and not found:
        click.echo("nothing failed in the last run" if failed else "nothing has changed")
        raise SystemExit(0)
    return tuple(dict.fromkeys(found))


verify_option = click.option(
    "--verify", is_flag=True, help="Read all files anew: finds damage that kept size and time."
)


no_remote_option = click.option(
    "--no-remote", is_flag=True, help="Neither fetch results of other machines nor send them; as CADERNO_REMOTE= does."
)


def planner_of(
    pipeline: str | None,
    profile: str | None,
    parameters: tuple[str, ...],
    day: date | None = None,
    verify: bool = False,
) -> Planner:
    """Return the planner of the pipeline that options name. Raises CadernoError."""
    return planner_and_remote(pipeline, profile, parameters, day, verify, no_remote=True)[0]


def planner_and_remote(
    pipeline: str | None,
    profile: str | None,
    parameters: tuple[str, ...],
    day: date | None = None,
    verify: bool = False,
    no_remote: bool = False,
) -> tuple[Planner, Elsewhere | None]:
    """Return the same with what has results of other machines, if one is named and wanted. Raises CadernoError."""
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
    loaded = spec.load(project, spec.choose(project, pipeline), profile, overrides, day)
    remote = None if no_remote else _elsewhere(project, loaded)
    return Planner(project, loaded, verify, remote), remote


def _elsewhere(project: Project, pipeline: Pipeline) -> Elsewhere | None:
    """Return what CADERNO_REMOTE names, else the pipeline's `remote`; None where that is nothing."""
    named = os.environ.get("CADERNO_REMOTE", pipeline.remote or "").strip()
    if not named:
        return None
    from caderno.plan.environment import masked
    from caderno.remote import Elsewhere, Files, Place

    def place() -> Place:
        if named != "mlflow":
            return Files(named, pipeline.name, project.root)
        from caderno.run.artifacts import Artifacts

        return Artifacts(project, pipeline.name)

    return Elsewhere(pipeline.name, masked(named), place, _patience())


def _patience() -> float:
    """Return for how many seconds CADERNO_REMOTE_WAIT lets a remote be waited for."""
    from pydantic import TypeAdapter, ValidationError

    from caderno.spec.file import Duration

    text = os.environ.get("CADERNO_REMOTE_WAIT", "").strip()
    try:
        return TypeAdapter(Duration).validate_python(text) if text else 0.0
    except ValidationError:
        raise CadernoError(f"CADERNO_REMOTE_WAIT={text!r} is no duration", "write it with a unit: 90s, 15m") from None


def store_of(pipeline: str | None) -> tuple[Project, Store]:
    """Return the project one stands in and the results of the pipeline named. Raises CadernoError."""
    from caderno import spec
    from caderno.plan.store import Store
    from caderno.project import Project

    project = Project.find(Path.cwd())
    return project, Store(project, spec.choose(project, pipeline))


def chosen(found: list[tuple[TaskRecord, Path]], word: str, task: str) -> tuple[TaskRecord, Path]:
    """Return the result that `word` names. Raises CadernoError where that is none, or several."""
    named = [one for one in found if one[0].fingerprint.startswith(word) or one[0].run.startswith(word)]
    if len(named) == 1:
        return named[0]
    known = "\n  ".join(f"{one.fingerprint[:8]}  run {one.run}  {one.state}" for one, _ in (named or found)[:8])
    if named:
        raise CadernoError(f"{word!r} names {len(named)} results of {task}", f"more letters help:\n  {known}")
    raise CadernoError(f"{task} has no result {word!r}", f"it has:\n  {known}")
