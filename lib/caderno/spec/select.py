"""Which tasks a word on the command line names.

train                   the task, or each of its matrix
train[model=forest]     one of the matrix; with several axes, each that has this value
etl/*                   a shell pattern: of a task's name, its id, or its notebook's path without .ipynb
+compare                a task and all upstream of it
dataset+                a task and all downstream of it
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from caderno.errors import UnknownName
from caderno.spec.matrix import UNKNOWN

if TYPE_CHECKING:
    from caderno.spec.pipeline import Task

_INSTANCE = re.compile(r"([^\[\]]*)\[(.*)\]")


def named(tasks: Mapping[str, Task], targets: Sequence[str]) -> set[str]:
    """Return the ids that `targets` name; `tasks` stand each after its upstream. Raises UnknownName."""
    found: set[str] = set()
    for target in targets:
        if target in tasks:
            found.add(target)
            continue
        body = target.removeprefix("+").removesuffix("+")
        ids = _matching(tasks, body)
        found |= ids
        if target.startswith("+"):
            found |= with_upstream(tasks, ids)
        if target.endswith("+"):
            found |= _with_downstream(tasks, ids)
    return found


def with_upstream(tasks: Mapping[str, Task], ids: set[str]) -> set[str]:
    """Return `ids` and all that they need."""
    wanted = set(ids)
    for task in reversed(list(tasks.values())):
        if task.id in wanted:
            wanted.update(task.upstream)
    return wanted


def _with_downstream(tasks: Mapping[str, Task], ids: set[str]) -> set[str]:
    wanted = set(ids)
    for task in tasks.values():
        if wanted.intersection(task.upstream):
            wanted.add(task.id)
    return wanted


def _matching(tasks: Mapping[str, Task], body: str) -> set[str]:
    if body in tasks:
        return {body}
    found = {task.id for task in tasks.values() if task.name == body}
    instance = _INSTANCE.fullmatch(body)
    if not found and instance:
        wanted = [part.partition("=")[::2] for part in instance[2].split(",")]
        found = {
            task.id
            for task in tasks.values()
            if fnmatchcase(task.name, instance[1])
            and all(
                axis in task.axes and (task.axes[axis] is UNKNOWN or fnmatchcase(str(task.axes[axis]), value))
                for axis, value in wanted
            )
        }
    if not found:
        found = {task.id for task in tasks.values() if any(fnmatchcase(text, body) for text in _texts(task))}
    if not found:
        base = body.partition("[")[0]
        instances = {task.id for task in tasks.values() if task.name == base}
        raise UnknownName("task", body, instances or {task.name for task in tasks.values()})
    return found


def _texts(task: Task) -> tuple[str, str, str]:
    return task.name, task.id, task.notebook.name.removeprefix("notebooks/").removesuffix(".ipynb")
