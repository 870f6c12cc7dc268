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
    RunFinished,
    RunStarted,
    RunWarned,
    TaskCached,
    TaskFailed,
    TaskFinished,
    TaskSkipped,
    TaskStarted,
    TasksUnfolded,
)
from caderno.plan.records import Failure
from caderno.run.console import QuietConsole, clean

_SIGNS = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "succeeded": ("✓", "green"),
    "cached": ("=", "dim green"),
    "failed": ("✗", "bold red"),
    "killed": ("✗", "bold red"),
    "skipped": ("−", "yellow"),
}
_TRACE_LINES = 12
_OTHER_COLUMNS = 37  # characters that sign, cell, time and usual time take with their gaps


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
    note: str = ""


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
        self._warnings: list[str] = []
        self._pipeline = ""
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
                self._rows[event.task].state = "cached"
            case TaskStarted():
                self._rows[event.task] = _Row("running", 0, event.cells, time.monotonic(), note=event.why)
                self._line(event, f"started  {event.task} ({event.why})")
            case CellFinished():
                self._rows[event.task].cell = event.cell
            case TaskFinished():
                self._settle(event.task, "succeeded", event.seconds)
                self._line(event, f"finished {event.task} in {duration(event.seconds)}")
            case TaskFailed():
                self._settle(event.task, "killed" if event.killed else "failed", event.seconds)
                self._failures.append(event)
                self._line(event, f"FAILED   {event.task}: {_first_line(event.error)}")
            case TasksUnfolded():
                for task in event.instead_of:
                    del self._rows[task]
                self._rows.update((task, _Row()) for task in event.tasks)
                self._line(event, f"unfolded {len(event.tasks):,} tasks by the values of {event.task}")
            case TaskSkipped():
                self._rows[event.task].state = "skipped"
                self._rows[event.task].note = event.why
                self._line(event, f"skipped  {event.task}: {event.why}")
            case RunWarned():
                self._warnings.append(event.message)
            case RunFinished():
                self._finish(event)

    def _start(self, event: RunStarted) -> None:
        self._pipeline = event.pipeline
        self._expected = event.expected
        self._rows = {task: _Row() for task in event.tasks}
        if event.to_run and self._console.is_terminal and not self._quiet:
            self._live = Live(get_renderable=self._table, console=self._console, refresh_per_second=5, transient=True)
            self._live.start()
        elif event.to_run:
            self._line(event, f"run {event.run} of {event.pipeline}: {event.to_run} of {len(event.tasks)} tasks to run")

    def _settle(self, task: str, state: str, seconds: float) -> None:
        row = self._rows[task]
        row.state, row.seconds = state, seconds

    def _line(self, event: Event, text: str) -> None:
        if not self._live and not self._quiet:
            self._console.print(f"{event.time.astimezone():%H:%M:%S} {clean(text)}", markup=False, soft_wrap=True)

    def _table(self) -> RenderableType:
        counts = Counter(row.state for row in self._rows.values())
        done = sum(counts[state] for state in ("succeeded", "cached", "failed", "killed", "skipped"))
        head = Text.assemble(
            (self._pipeline, "bold"), f"  {done} of {len(self._rows)} tasks  ", duration(time.monotonic() - self._began)
        )
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for name, justify in (("", "left"), ("task", "left"), ("cell", "right"), ("time", "right"), ("usual", "right")):
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # a literal
        shown = self._shown()
        rest = self._console.size.width - max(len(task) for task, _ in shown) - _OTHER_COLUMNS
        table.add_column("why", overflow="ellipsis", no_wrap=True, max_width=max(rest, 8), style="dim")
        for task, row in shown:
            sign, style = _SIGNS[row.state]
            seconds = time.monotonic() - row.began if row.state == "running" else row.seconds
            table.add_row(
                Text(sign, style),
                Text(task, style if row.state != "waiting" else "dim"),
                f"{min(row.cell + (row.state == 'running'), row.cells)}/{row.cells}" if row.cells else "",
                duration(seconds) if row.state not in ("waiting", "cached", "skipped") else row.state,
                duration(self._expected[task]) if task in self._expected and row.state != "cached" else "",
                Text(clean(row.note)),
            )
        hidden = len(self._rows) - table.row_count
        tail = [Text(f"… and {hidden} more: {counted(counts)}", "dim")] if hidden else []
        return Group(head, table, *tail)

    def _shown(self) -> list[tuple[str, _Row]]:
        """Return all tasks if they fit on the screen, else those that run, failed or come next."""
        room = max(self._console.size.height - 5, 5)
        rows = list(self._rows.items())
        if len(rows) <= room:
            return rows
        order = {"failed": 0, "killed": 0, "running": 1, "waiting": 2, "skipped": 3, "succeeded": 4, "cached": 5}
        return sorted(rows, key=lambda item: order[item[1].state])[:room]

    def _stop_live(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def _finish(self, event: RunFinished) -> None:
        self._stop_live()
        for failure in self._failures:
            known = Failure(
                kind="",
                message=failure.error,
                number=failure.cell,
                source=failure.source,
                traceback=failure.traceback,
            )
            page = self._path(failure.report) if failure.report else ""
            show_failure(self._console, failure.task, failure.notebook, known, page)
        for warning in self._warnings:
            self._console.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
        style = {"succeeded": "green", "failed": "red", "killed": "red"}[event.state]
        counts = counted(event.counts)
        nothing = set(event.counts) == {"cached"}
        text = "nothing to run" if nothing else event.state
        self._console.print(
            f"[bold {style}]{text}[/]: {escape(self._pipeline)}, {counts}, in {duration(event.seconds)}", soft_wrap=True
        )
        if event.report:
            self._console.print(f"report: {escape(self._path(event.report))}", soft_wrap=True)

    def _path(self, path: str) -> str:
        return os.path.relpath(self._root / path)


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
    order = ("failed", "killed", "skipped", "running", "waiting", "succeeded", "cached")
    return ", ".join(f"{counts[state]:,} {state}" for state in order if counts.get(state)) or "no tasks"
