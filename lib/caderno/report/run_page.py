"""The page of one run: what came out, what went wrong, its picture, its tasks and their metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markupsafe import Markup

from caderno.plan.records import RunRecord, RunTask, TaskRecord
from caderno.report.dag import HEIGHT, SEVERITY, WIDTH, Node, draw, fold, layers, tally
from caderno.report.diff import Measured, measured
from caderno.report.frame import render, stamp
from caderno.report.safe import trusted
from caderno.report.text import file_name, number, numbers
from caderno.report.timeline import timeline

_KEY_METRICS = 3
_MANY = 20  # members of a matrix; more are folded
# Comments do not pass `safe_html` and text is escaped: what stands between the two is the page's own summary.
_SUMMARY = re.compile(r"<!-- summary -->(.*?)<!-- /summary -->", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One task of a run: its record where that can still be read, and its page, which need not exist."""

    task: RunTask
    record: TaskRecord | None
    page: Path | None = None

    @cached_property
    def href(self) -> str:
        """Where the run's page finds it; empty where it has none."""
        return f"../{self.page.name}" if self.page and self.page.exists() else ""

    @cached_property
    def summary(self) -> Markup:
        """What the task's own page has as its summary."""
        text = self.page.read_text(encoding="utf-8", errors="replace") if self.page and self.href else ""
        found = _SUMMARY.search(text)
        return trusted(found[1].strip() if found else "")

    @property
    def key_metrics(self) -> dict[str, str]:
        """The first metrics that it logged, as text."""
        metrics = list(measured(self.record.metrics if self.record else {}).items())[:_KEY_METRICS]
        return {name: number(one.value) for name, one in metrics}

    @property
    def is_gone(self) -> bool:
        """Whether its result stood in the store and does no longer."""
        return self.task.folder is not None and self.record is None


@dataclass(frozen=True)
class Fault:
    """One thing that went wrong, in one task or in several of a matrix."""

    rows: tuple[Row, ...]
    message: str


@dataclass(frozen=True)
class Number:
    """A metric of a task as text, with its interval where one was logged; empty where it has none."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Table:
    """The metrics of a matrix side by side: a line of numbers for each of its tasks."""

    node: Node
    columns: tuple[str, ...]
    lines: tuple[tuple[Row, tuple[Number, ...]], ...]


def run_page(run: RunRecord, rows: Mapping[str, Row]) -> str:
    """Return the run at a glance as one self-contained HTML document. `rows` are by task."""
    nodes = fold(run.tasks)
    return render(
        "run.html.j2",
        run=run,
        counts=tally(run.tasks),
        faults=_faults(rows.values()),
        stamp=run_stamp(run, rows),
        conclusions=conclusions(run, rows),
        nodes=nodes,
        members={node.name: _worst_first(node.tasks) for node in nodes},
        drawing=draw(nodes) if len(nodes) > 1 else None,
        timeline=timeline(run),
        width=WIDTH,
        height=HEIGHT,
        hrefs={node.name: _node_href(node, rows) for node in nodes},
        rows=rows,
        longest=max((task.seconds for task in run.tasks), default=0.0),
        many=_MANY,
        tables=[table for node in _last_first(nodes) if (table := _table(node, rows))],
    )


def _faults(rows: Iterable[Row]) -> list[Fault]:
    """Return what went wrong, members of a matrix that failed alike together, the rarest of each matrix first."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.task.state in ("failed", "killed"):
            failure = row.record.failure if row.record else None
            message = f"{failure.kind}: {failure.message}" if failure else row.task.why
            groups.setdefault((row.task.name, message), []).append(row)
    order = list(dict.fromkeys(name for name, _ in groups))
    ranked = sorted(groups.items(), key=lambda item: (order.index(item[0][0]), len(item[1])))
    return [Fault(tuple(members), message) for (_, message), members in ranked]


def _worst_first(tasks: Iterable[RunTask]) -> list[RunTask]:
    return sorted(tasks, key=lambda task: SEVERITY.index(task.state))


def run_stamp(run: RunRecord, rows: Mapping[str, Row]) -> str:
    """Return what marks the page that would be written now."""
    return stamp(run, *(f"{row.href} {row.is_gone}" for row in rows.values()))


def conclusions(run: RunRecord, rows: Mapping[str, Row]) -> list[Row]:
    """Return the tasks that nothing else uses, the end of the longest way through the pipeline first.

    A sweep is no conclusion: its members stand side by side in their tables.
    """
    nodes = fold(run.tasks)
    used = {up for node in nodes for up in node.upstream}
    ends = [node for node in _last_first(nodes) if node.name not in used and len(node.tasks) <= _MANY]
    return [rows[task.task] for node in ends for task in node.tasks]


def _last_first(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes by how far down the pipeline they stand: what a reader came for is at its end."""
    depth = layers({node.name: node.upstream for node in nodes})
    return sorted(nodes, key=lambda node: -depth[node.name])


def _node_href(node: Node, rows: Mapping[str, Row]) -> str:
    """A single task leads to its page, a matrix to its lines in the table of tasks."""
    if len(node.tasks) == 1 and (href := rows[node.tasks[0].task].href):
        return href
    return f"#tasks-{file_name(node.name)}"


def _table(node: Node, rows: Mapping[str, Row]) -> Table | None:
    members = [rows[task.task] for task in node.tasks]
    metrics = [measured(row.record.metrics) if row.record else {} for row in members]
    columns = tuple(dict.fromkeys(name for found in metrics for name in found))
    if len(members) < 2 or not columns:
        return None
    by_column = [_numbers([found.get(name) for found in metrics]) for name in columns]
    return Table(node, columns, tuple(zip(members, zip(*by_column, strict=True), strict=True)))


def _numbers(column: Sequence[Measured | None]) -> list[Number]:
    known = [one or Measured(math.nan) for one in column]
    texts = numbers([end for one in known for end in (one.value, one.low, one.high)])
    found = []
    for i, one in enumerate(column):
        value, low, high = texts[3 * i : 3 * i + 3]
        found.append(Number(value, f"{low} to {high}" if low else "") if one else Number(""))
    return found
