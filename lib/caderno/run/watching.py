"""The engine's side of watching a kernel: what it is told to look for, and what it saw."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from caderno.plan.picture import Picture
from caderno.project import Project
from caderno.run.watch import WATCH
from caderno.spec import Task

_MOST = 50  # files that a record names


@dataclass(frozen=True)
class Watch:
    """What a kernel looks for: `roots` of project code, its `modules` and what of them is `unused`, `known` files.

    `project` is the project's root.
    """

    project: str
    roots: Sequence[str]
    modules: Sequence[str]
    unused: Mapping[str, Sequence[str]]
    known: Sequence[str]

    def environment(self, folder: Path) -> dict[str, str]:
        """Write this to a file in the private `folder` and return the variable that names it to the kernel."""
        file = folder / "watch.json"
        found = asdict(self) | {"report": str(folder / "seen.jsonl")}
        file.write_text(json.dumps(found), encoding="utf-8")
        return {WATCH: str(file)}


@dataclass
class Sight:
    """What a kernel saw: names of code that `ran` though unused in the picture, files that it `read` undeclared."""

    ran: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)


def sight(folder: Path) -> Sight:
    """Return what the kernel wrote down in `folder`; nothing where it did not watch."""
    found = Sight()
    with contextlib.suppress(OSError):
        for line in (folder / "seen.jsonl").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # a torn last line
                kind, what = json.loads(line)
                (found.ran if kind == "ran" else found.read).append(what)
    return found


def watch_for(project: Project, task: Task, picture: Picture, known: Sequence[Path]) -> Watch:
    """Return what the kernel of `task` looks for; `known` are its inputs and outputs and MLflow's files."""
    return Watch(
        project=str(project.root),
        roots=[str(task.notebook.path.parent.resolve()), str(project.lib.resolve())],
        modules=sorted(picture.modules),
        unused=picture.unused,
        known=[str(path.resolve()) for path in (*known, project.state)],
    )


def undeclared(project: Project, read: Sequence[str]) -> list[str]:
    """Return the files that were read undeclared, relative to the project's root where they are in it."""
    return sorted({project.relative(Path(path)) for path in read})[:_MOST]
