"""What a rebuild reads: the files that a record names, by their digests, where the rebuilt notebook looks for them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from caderno.errors import MissingInput
from caderno.plan.cache import StatCache
from caderno.plan.digests import of_path
from caderno.plan.records import Input, TaskRecord
from caderno.project import Project
from caderno.run.tracking import link_or_copy

_OBSERVED = ".observed.json"  # what runs saw used: it counts among the code


def bring(record: TaskRecord, project: Project, tree: Project, read: StatCache, go_on: Callable[[], None]) -> list[str]:
    """Let the paths of a record's inputs in `tree` lead to files with the recorded digests, which `read` takes.

    `go_on` is called before each. Returns the files that the result read undeclared: they are taken as they are now.
    Raises MissingInput, naming all inputs that are gone or changed.
    """
    problems, makers = [], set()
    for name, items in record.inputs.items():
        for item in items:
            go_on()
            if "://" not in item.path and (problem := _bring(item, project, tree, read)):
                problems.append(f"input {name} of {record.task}, {item.path}, {problem}")
                makers |= {item.task} if item.task else set()
    if problems:
        hint = "bring it back, or verify a newer result: --result"
        if makers:
            hint = f"{', '.join(sorted(makers))} made it, whose result was removed or damaged; " + hint
        raise MissingInput("\n".join(problems), hint)
    with contextlib.suppress(FileNotFoundError):
        there = tree.data / record.pipeline
        there.mkdir(parents=True, exist_ok=True)
        shutil.copy2(project.data / record.pipeline / _OBSERVED, there / _OBSERVED)
    return [path for path in record.undeclared if _copied(project.root / path, tree.root / path)]


def _bring(item: Input, project: Project, tree: Project, read: StatCache) -> str:
    """Let one input be found; say why where it can't. A commit may hold the file as it was, the project a newer one."""
    there, here = Path(tree.file(item.path)), Path(project.file(item.path))
    known = [path for path in (there, here) if path.exists()]
    found = next((path for path in known if of_path(path, read)[0] == item.digest), None)
    if found is None:
        return "was changed since: its content has another digest" if known else "is gone"
    if found != there:
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        there.unlink(missing_ok=True)
        there.parent.mkdir(parents=True, exist_ok=True)
        _second_name(here, there)
    return ""


def _second_name(here: Path, there: Path) -> None:
    """Give files a second name, each its own: a symlink that leads out of its folder is what MLflow refuses to load."""
    if here.is_dir():
        shutil.copytree(here, there, copy_function=link_or_copy, ignore_dangling_symlinks=True)
    else:
        link_or_copy(str(here.resolve()), str(there))


def _copied(here: Path, there: Path) -> bool:
    if there.exists() or not here.is_file():
        return False
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(here, there)
    return True
