"""A run's tasks over time: a bar for each, in as many lanes as tasks ran at once."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

from caderno.plan.records import RunRecord, RunTask
from caderno.report.text import duration

WIDTH = 1080  # pixels
THICK, GAP, FOOT = 22, 5, 20
_LETTER = 6.6  # pixels, about, of a label
_TICKS = 6


@dataclass(frozen=True)
class Bar:
    """One task: its lane from 0, seconds `after` the run began, and its place in pixels."""

    task: RunTask
    lane: int
    after: float
    x: float
    y: float
    width: float
    label: str
    said: str


@dataclass(frozen=True)
class Timeline:
    """The whole picture; `ticks` are (x, what stands there)."""

    lanes: int
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    width: int
    height: int
    thick: int = THICK


def timeline(run: RunRecord) -> Timeline | None:
    """Lay out the tasks that ran, or return None where fewer than two did."""
    ran = [(task, (task.started - run.started).total_seconds()) for task in run.tasks if task.started and task.seconds]
    ran.sort(key=lambda one: one[1])
    if len(ran) < 2:
        return None
    first = min(0.0, ran[0][1])  # a clock that was set back
    span = max(after + task.seconds for task, after in ran) - first or 1.0
    bars = []
    free: list[tuple[float, int]] = []  # (when a lane's task ended, the lane)
    for task, after in ran:
        lane = heapq.heappop(free)[1] if free and free[0][0] <= after else len(free)
        heapq.heappush(free, (after + task.seconds, lane))
        bars.append(_bar(task, lane, after, first, WIDTH / span))
    lanes = len(free)
    height = lanes * (THICK + GAP) + FOOT
    return Timeline(lanes, tuple(bars), tuple(_ticks(span)), WIDTH, height)


def _bar(task: RunTask, lane: int, after: float, first: float, scale: float) -> Bar:
    width = max(task.seconds * scale, 2.0)
    room = int((width - 8) / _LETTER)
    label = task.task if len(task.task) <= room else task.task[: room - 1] + "…" if room > 3 else ""
    return Bar(
        task=task,
        lane=lane,
        after=after,
        x=round((after - first) * scale, 1),
        y=lane * (THICK + GAP),
        width=round(width, 1),
        label=label,
        said=f"{task.task}: {task.state}, {duration(task.seconds)}, from {duration(after)} on",
    )


def _ticks(span: float) -> Iterator[tuple[float, str]]:
    """Yield round moments: 1, 2 or 5 of a power of ten seconds apart, or of minutes and hours."""
    steps = [*(m * 10.0**e for e in range(-2, 2) for m in (1, 2, 5)), 60, 120, 300, 600, 1800]
    steps += [3600.0 * hours for hours in (1, 2, 5, 12, 24)]
    step = next((one for one in steps if span / one <= _TICKS), 24 * 3600.0 * math.ceil(span / (24 * 3600 * _TICKS)))
    for i in range(int(span / step) + 1):
        yield round(i * step * WIDTH / span, 1), duration(i * step)
