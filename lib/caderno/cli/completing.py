"""What a shell completes: tasks, parameters, profiles and pipelines of the project one stands in."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from caderno.errors import CadernoError

if TYPE_CHECKING:
    from caderno.project import Project
    from caderno.spec import Pipeline


def tasks(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of tasks; those of a matrix's members once the name is there with its bracket."""
    pipeline = _pipeline(ctx)
    if not pipeline:
        return []
    plus = "+" if incomplete.startswith("+") else ""
    names = {task.name: task.notebook.name for task in pipeline.tasks.values()}
    if "[" in incomplete or incomplete in names:
        names |= {task.id: task.notebook.name for task in pipeline.tasks.values()}
    found = ((f"{plus}{name}", notebook) for name, notebook in names.items())
    return [CompletionItem(name, help=notebook) for name, notebook in found if name.startswith(incomplete)]


def parameters(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return NAME= and TASK.NAME= of each parameter that a task's notebook declares, with its comment."""
    pipeline = _pipeline(ctx)
    found: dict[str, str] = {}
    for task in pipeline.tasks.values() if pipeline else ():
        for name in task.params:
            declared = task.notebook.parameters.get(name)
            comment = declared.comment if declared else ""
            found.setdefault(f"{name}=", comment)
            found.setdefault(f"{task.name}.{name}=", comment)
    return [CompletionItem(name, help=comment) for name, comment in found.items() if name.startswith(incomplete)]


def versions(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the aliases, and the versions that the ledger knows of the pipeline's model."""
    from caderno.deliver.ledger import ledger_of
    from caderno.deliver.place import has_ledger

    project, pipeline = _project(), _pipeline(ctx)
    known = ["champion", "challenger"]
    if project and pipeline and pipeline.gate and has_ledger(project):
        known += dict.fromkeys(row.entry.version for row in ledger_of(project).rows(pipeline.model))
    return _items(known, incomplete)


def profiles(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names in params/profiles/."""
    project = _project()
    return _items(sorted(path.stem for path in project.profiles.glob("*.yaml")) if project else (), incomplete)


def pipelines(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of the pipelines in params/."""
    project = _project()
    return _items(project.pipelines() if project else (), incomplete)


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _project() -> Project | None:
    from caderno.project import Project

    try:
        return Project.find(Path.cwd())
    except CadernoError:
        return None


def _pipeline(ctx: click.Context) -> Pipeline | None:
    """Return the pipeline that the line so far means; None where it can't be loaded: a Tab tells no errors."""
    from caderno import spec

    project = _project()
    try:
        name = spec.choose(project, ctx.params.get("pipeline")) if project else None
        return spec.load(project, name, ctx.params.get("profile")) if project and name else None
    except (CadernoError, OSError):
        return None


class _Bash(BashComplete):
    """Bash takes `=` and `:` for ends of words: here words are those of the line, and only its last part is given."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' line
    COMPREPLY=()
    while read -r line; do
        COMPREPLY+=("$line")
    done < <(COMP_WORDS="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete $1)
    [[ ${COMPREPLY-} == *[=.] ]] && compopt -o nospace
}
complete -o nosort -o default -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return (the words before the one to complete, that one)."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        if not words or line[-1:].isspace():
            return words, ""
        self._given = words[-1]
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """Return what bash puts in the place of what it takes for the last word."""
        given = getattr(self, "_given", "")
        kept = max(given.rfind("="), given.rfind(":")) + 1
        return str(item.value)[kept:]

    @staticmethod
    def _check_version() -> None:
        """Start no bash to ask for its version, as click does."""


def script(shell: str) -> str:
    """Return the lines that make `shell` complete the command."""
    from caderno.cli.common import cli

    kind: type[ShellComplete] | None = get_completion_class(shell)
    assert kind
    return kind(cli, {}, "caderno", "_CADERNO_COMPLETE").source()


add_completion_class(_Bash)
