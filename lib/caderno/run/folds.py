"""Many tasks in few lines: instances of one matrix that share their state and reason stand together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

FEW = 4  # so many alike stay lines of their own
_LOUD = 12  # so many of what a reader looks for: what failed, or is about to run for a reason of its own
_BAD = ("failed", "killed")
_VALUES = re.compile(r"\[[^\[\]]*\]")
_EXAMPLES_WIDTH = 48


@dataclass(frozen=True)
class Line:
    """Tasks of one matrix (or one task) that share state and reason; `tasks` are their ids, in order.

    `seconds` is the time that they took together, where they ran.
    """

    state: str
    why: str
    tasks: tuple[str, ...]
    seconds: float = 0.0

    @property
    def label(self) -> str:
        """The id of one task; of many, their name, their number and a few of their values."""
        if len(self.tasks) == 1:
            return self.tasks[0]
        return f"{base(self.tasks[0])} ×{len(self.tasks):,}  {examples(self.tasks)}".rstrip()


def base(task: str) -> str:
    """Return a task's name in the pipeline file: `train[model=forest]` is one of `train`."""
    return task.partition("[")[0]


def alike(why: str) -> str:
    """Return a reason without the values of matrices: each of a sweep may wait for an upstream of its own."""
    return _VALUES.sub("[…]", why)


def examples(tasks: Sequence[str], width: int = _EXAMPLES_WIDTH) -> str:
    """Return the values of the first two tasks and the last, as far as they fit."""
    values = [task[len(base(task)) :] for task in tasks]
    shown = [values[0], values[1], "…", values[-1]] if len(values) > 3 else values
    text = " ".join(shown)
    if len(text) <= width:
        return text
    text = f"{values[0]} …"
    return text if len(text) <= width else text[: width - 2] + " …"


def fold(lines: Iterable[Line], named: Collection[str] = (), order: Sequence[str] = ()) -> list[Line]:
    """Return the lines with those alike folded, task by task of the pipeline, in its order.

    `lines` are of one task each. Those in `named` always stay alone. Where a task of the pipeline file is folded,
    its states follow `order`, and within a state the rarer reasons come first. What failed comes before all else.
    """
    by_name: dict[str, list[Line]] = {}
    for line in lines:
        by_name.setdefault(base(line.tasks[0]), []).append(line)
    folded = [line for members in by_name.values() for line in _fold_one(members, named, order)]
    return sorted(folded, key=lambda line: line.state not in _BAD)


def _fold_one(members: list[Line], named: Collection[str], order: Sequence[str]) -> list[Line]:
    """Fold the instances of one task of the pipeline file."""
    if len(members) <= FEW:
        return members
    groups: dict[tuple[str, str], list[Line]] = {}
    alone = []
    for line in members:
        if line.tasks[0] in named:
            alone.append(line)
        else:
            groups.setdefault((line.state, alike(line.why)), []).append(line)
    rank = {state: place for place, state in enumerate(order)}
    shown: list[Line] = []
    rest: dict[str, list[Line]] = {}
    for (state, why), group in sorted(groups.items(), key=lambda item: (rank.get(item[0][0], 99), len(item[1]))):
        room = _LOUD - sum(line.state == state for line in shown)
        if len(group) <= (_LOUD if state in _BAD else FEW) and len(group) <= room:
            shown += group
        elif room > 0:
            same = {line.why for line in group}
            shown.append(_joined(group, next(iter(same)) if len(same) == 1 else why))
        else:
            rest.setdefault(state, []).extend(group)
    for group in rest.values():
        several = len({alike(line.why) for line in group})
        why = group[0].why if several == 1 else f"{several:,} reasons more, such as: {group[0].why}"
        shown.append(_joined(group, why))
    return alone + sorted(shown, key=lambda line: rank.get(line.state, 99))


def _joined(group: Sequence[Line], why: str) -> Line:
    tasks = tuple(line.tasks[0] for line in group)
    return replace(group[0], why=why, tasks=tasks, seconds=sum(line.seconds for line in group))
