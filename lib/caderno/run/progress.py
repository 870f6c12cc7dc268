"""A run on the terminal: a live table where there is one, plain lines where there is none."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from caderno.events import (
    CellFinished,
    Event,
    FetchStarted,
    RunFinished,
    RunStarted,
    RunWarned,
    TaskCached,
    TaskFailed,
    TaskFetched,
    TaskFinished,
    TaskPushed,
    TaskSkipped,
    TaskStarted,
    TasksUnfolded,
)
from caderno.plan.records import Failure
from caderno.report.text import size
from caderno.run.console import QuietConsole, clean
from caderno.run.folds import FEW, alike, base, examples

_SIGNS = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "succeeded": ("✓", "green"),
    "fetched": ("↓", "green"),
    "cached": ("=", "dim green"),
    "failed": ("✗", "bold red"),
    "killed": ("✗", "bold red"),
    "skipped": ("−", "yellow"),
}
_TRACE_LINES = 12
_LAST_FAILED = 5  # of a matrix's failures, so many stand in the live table
_KINDS = 8  # so many kinds of failure are printed at the end
_MANY = 20  # tasks of a matrix; of more, a log tells how far they are, each
_EVERY = 5.0  # seconds
_OTHER_COLUMNS = 37  # characters that sign, cell, time and usual time take with their gaps
_WIDE = 110  # columns from which on memory is shown, too


def duration(seconds: float) -> str:
    """Return seconds as people read them: 0.4 s, 12 s, 3 min 05 s, 1 h 02 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass
class _Row:
    state: str = "waiting"
    cell: int = 0
    cells: int = 0
    began: float = 0.0
    seconds: float = 0.0
    peak: int = 0
    note: str = ""


@dataclass(frozen=True)
class _Line:
    """A line of the live table: a task with its row, or a whole matrix in words; `stands_for` counts tasks."""

    label: str
    row: _Row | None
    text: str = ""
    stands_for: int = 1

    @property
    def state(self) -> str:
        """The task's state, "" of a matrix."""
        return self.row.state if self.row else ""


class Progress:
    """Watches the events of one run and shows them. Use as a context manager around the run.

    `root` is the project's; pages are named relative to where the person stands.
    """

    def __init__(self, root: Path, console: Console | None = None, quiet: bool = False) -> None:
        self._root = root
        self._console = console or QuietConsole(highlight=False)
        self._quiet = quiet
        self._live: Live | None = None
        self._rows: dict[str, _Row] = {}
        self._expected: dict[str, float] = {}
        self._failures: list[TaskFailed] = []
        self._warnings: dict[str, tuple[str, int]] = {}  # of those alike the first, and how many
        self._pipeline = ""
        self._members: dict[str, list[str]] = {}
        self._settled: Counter[str] = Counter()
        self._told: dict[str, float] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop_live()

    def __call__(self, event: Event) -> None:
        """Show what has happened; called for every event of the run."""
        match event:
            case RunStarted():
                self._start(event)
            case TaskCached():
                self._settle(event.task, "cached", 0.0)
            case FetchStarted():
                note = f"{event.why}, {size(event.size)}"
                self._rows[event.task] = _Row("running", began=time.monotonic(), note=note)
            case TaskFetched():
                self._settle(event.task, "fetched", event.seconds)
                note = self._rows[event.task].note
                self._line(event, f"fetched  {event.task} in {duration(event.seconds)} ({note})", event.task)
            case TaskPushed():
                self._line(event, f"sent     {event.task}, {size(event.size)}", event.task)
            case TaskStarted():
                self._rows[event.task] = _Row("running", 0, event.cells, time.monotonic(), note=event.why)
                self._line(event, f"started  {event.task} ({event.why})", event.task)
            case CellFinished():
                row = self._rows[event.task]
                row.cell, row.peak = event.cell, max(row.peak, event.peak or 0)
            case TaskFinished():
                self._settle(event.task, "succeeded", event.seconds)
                self._rows[event.task].peak = event.peak or 0
                text = f"finished {event.task} in {duration(event.seconds)}{_took(event)}"
                self._line(event, text, event.task)
            case TaskFailed():
                self._settle(event.task, "killed" if event.killed else "failed", event.seconds)
                self._failures.append(event)
                self._line(event, f"FAILED   {event.task}: {_first_line(event.error)}")
            case TasksUnfolded():
                for task in event.instead_of:
                    del self._rows[task]
                self._rows.update((task, _Row()) for task in event.tasks)
                self._group()
                self._line(event, f"unfolded {len(event.tasks):,} tasks by the values of {event.task}")
            case TaskSkipped():
                self._settle(event.task, "skipped", 0.0)
                self._rows[event.task].note = event.why
                self._line(event, f"skipped  {event.task}: {event.why}", event.task)
            case RunWarned():
                first, number = self._warnings.get(alike(event.message), (event.message, 0))
                self._warnings[alike(event.message)] = first, number + 1
            case RunFinished():
                self._finish(event)

    def _start(self, event: RunStarted) -> None:
        self._pipeline = event.pipeline
        self._expected = event.expected
        self._rows = {task: _Row() for task in event.tasks}
        self._group()
        if event.to_run and self._console.is_terminal and not self._quiet:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=5, transient=True)
            self._live.start()
        elif event.to_run:
            self._line(event, f"run {event.run} of {event.pipeline}: {event.to_run} of {len(event.tasks)} tasks to run")

    def _group(self) -> None:
        self._members = {}
        for task in self._rows:
            self._members.setdefault(base(task), []).append(task)

    def _settle(self, task: str, state: str, seconds: float) -> None:
        row = self._rows[task]
        row.state, row.seconds = state, seconds
        self._settled[base(task)] += 1

    def _line(self, event: Event, text: str, task: str = "") -> None:
        """Print a line of the log; of a large matrix, how far it is, now and then, in the place of its tasks."""
        if self._live or self._quiet:
            return
        name = base(task)
        members = self._members.get(name, [])
        if len(members) > _MANY:
            if time.monotonic() - self._told.get(name, -_EVERY) < _EVERY and self._settled[name] < len(members):
                return
            self._told[name] = time.monotonic()
            counts = Counter(self._rows[one].state for one in members)
            text = f"{name} ×{len(members):,}: {counted(counts)}"
        self._console.print(f"{event.time.astimezone():%H:%M:%S} {clean(text)}", markup=False, soft_wrap=True)

    def _table(self) -> RenderableType:
        counts = Counter(row.state for row in self._rows.values())
        done = sum(counts[state] for state in ("succeeded", "fetched", "cached", "failed", "killed", "skipped"))
        head = Text.assemble(
            (self._pipeline, "bold"), f"  {done} of {len(self._rows)} tasks  ", duration(time.monotonic() - self._began)
        )
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        wide = self._console.size.width >= _WIDE
        for name in ("", "task", "cell", "time", "usual", *(["memory"] if wide else [])):
            table.add_column(name, justify="left" if name in ("", "task") else "right", no_wrap=True)
        lines = self._lines()
        rest = self._console.size.width - max(len(line.label) for line in lines) - _OTHER_COLUMNS - 8 * wide
        table.add_column("why", overflow="ellipsis", no_wrap=True, max_width=max(rest, 8), style="dim")
        for line in lines:
            *cells, memory, why = self._cells(line)
            table.add_row(*cells, *([memory] if wide else []), why)
        hidden = len(self._rows) - sum(line.stands_for for line in lines)
        tail = [Text(f"… and {hidden:,} more", "dim")] if hidden else []
        return Group(head, table, *tail)

    def _cells(self, line: _Line) -> tuple[Text | str, ...]:
        """Return a line's cells: sign, task, cell, time, usual time, memory at its peak, why."""
        row = line.row
        if row is None:
            return "", Text(line.label, "bold"), "", "", "", "", Text(line.text)
        sign, style = _SIGNS[row.state]
        seconds = time.monotonic() - row.began if row.state == "running" else row.seconds
        return (
            Text(sign, style),
            Text(line.label, style if row.state != "waiting" else "dim"),
            f"{min(row.cell + (row.state == 'running'), row.cells)}/{row.cells}" if row.cells else "",
            duration(seconds) if row.state not in ("waiting", "cached", "skipped") else row.state,
            duration(self._expected[line.label]) if line.label in self._expected and row.state != "cached" else "",
            size(row.peak) if row.peak else "",
            Text(clean(row.note)),
        )

    def _lines(self) -> list[_Line]:
        """Return a line for each task if they fit on the screen; else a matrix is one, with what runs or failed.

        Of what does not fit even so, those that run or failed are shown first, then those that come next.
        """
        room = max(self._console.size.height - 5, 5)
        alone = [_Line(task, row) for task, row in self._rows.items()]
        if len(alone) <= room:
            return alone
        groups: dict[str, list[_Line]] = {}
        for line in alone:
            groups.setdefault(base(line.label), []).append(line)
        lines: list[_Line] = []
        for name, members in groups.items():
            if len(members) <= FEW:
                lines += members
                continue
            loud = [line for line in members if line.state in ("failed", "killed")][-_LAST_FAILED:]
            loud += [line for line in members if line.state == "running"]
            text = counted(Counter(line.state for line in members))
            lines.append(_Line(f"{name} ×{len(members):,}", None, text, len(members) - len(loud)))
            lines += loud
        if len(lines) > room:
            order = {
                "failed": 0,
                "killed": 0,
                "running": 0,
                "": 1,
                "waiting": 2,
                "skipped": 3,
                "succeeded": 4,
                "fetched": 4,
            }
            kept = set(map(id, sorted(lines, key=lambda line: order.get(line.state, 5))[:room]))
            lines = [line for line in lines if id(line) in kept]
        return lines

    def _stop_live(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def _finish(self, event: RunFinished) -> None:
        self._stop_live()
        kinds = self._kinds()
        for failure, others in kinds[:_KINDS]:
            known = Failure(
                kind="",
                message=failure.error,
                number=failure.cell,
                source=failure.source,
                traceback=failure.traceback,
            )
            page = self._path(failure.report) if failure.report else ""
            show_failure(self._console, failure.task, failure.notebook, known, page)
            if others:
                text = f"  and {len(others):,} more like it: {examples(others)}\n"
                self._console.print(text, markup=False, soft_wrap=True)
        if len(kinds) > _KINDS:
            self._console.print(f"and {len(kinds) - _KINDS:,} more kinds of failure: caderno status\n")
        for first, number in self._warnings.values():
            more = f" ({number:,} times)" if number > 1 else ""
            self._console.print(f"[yellow]warning:[/] {escape(first)}{more}", soft_wrap=True)
        style = {"succeeded": "green", "failed": "red", "killed": "red"}[event.state]
        counts = counted(event.counts)
        nothing = set(event.counts) == {"cached"}
        text = "nothing to run" if nothing else event.state
        self._console.print(
            f"[bold {style}]{text}[/]: {escape(self._pipeline)}, {counts}, in {duration(event.seconds)}", soft_wrap=True
        )
        if event.report:
            self._console.print(f"report: {escape(self._path(event.report))}", soft_wrap=True)

    def _kinds(self) -> list[tuple[TaskFailed, list[str]]]:
        """Return the failures, of a matrix's members that failed alike the first, with the ids of the others."""
        kinds: dict[tuple[str, str], tuple[TaskFailed, list[str]]] = {}
        for failure in self._failures:
            kind = base(failure.task), _first_line(failure.error)
            if kind in kinds:
                kinds[kind][1].append(failure.task)
            else:
                kinds[kind] = failure, []
        return list(kinds.values())

    def _path(self, path: str) -> str:
        return os.path.relpath(self._root / path)


def _took(event: TaskFinished) -> str:
    """Return what a task took beside its time: ", 11 s of processor, 1.2 GB", if that is known."""
    cpu = f", {duration(event.cpu)} of processor" if event.cpu is not None else ""
    return cpu + (f", {size(event.peak)} of memory" if event.peak else "")


def show_failure(console: Console, task: str, notebook: str, failure: Failure, page: str = "") -> None:
    """Print a failure: where, the cell's source, the end of the traceback, and `page`, which shows all of it."""
    place = f"{notebook}, cell {failure.number}" if failure.number is not None else notebook
    console.print()
    console.print(f"[bold red]✗ {escape(task)}[/] failed in {escape(place)}", soft_wrap=True)
    for line in clean(failure.source).splitlines()[:15]:
        console.print(f"  [dim]│[/] {escape(line)}", soft_wrap=True)
    trace = clean(failure.traceback).strip().splitlines()[-_TRACE_LINES:]
    for line in trace:
        console.print(f"  {escape(line)}", soft_wrap=True)
    error = f"{failure.kind}: {failure.message}" if failure.kind else failure.message
    if not trace or _first_line(error) not in trace[-1]:
        console.print(f"  [red]{escape(clean(error))}[/]", soft_wrap=True)
    if page:
        console.print(f"  page: {escape(page)}", soft_wrap=True)
    console.print()


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def counted(counts: Counter[str] | dict[str, int]) -> str:
    """Return how many tasks are in which state, in words, the worst first."""
    order = ("failed", "killed", "skipped", "running", "waiting", "succeeded", "fetched", "cached")
    return ", ".join(f"{counts[state]:,} {state}" for state in order if counts.get(state)) or "no tasks"
