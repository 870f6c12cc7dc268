from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

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
)
from caderno.run.progress import Progress, duration

Shown = Callable[..., str]


def started(*tasks: str, to_run: int = 1, **expected: float) -> RunStarted:
    return RunStarted(run="r", pipeline="tiny", tasks=tasks, to_run=to_run, expected=expected)


def begun(task: str, cells: int = 3, why: str = "new") -> TaskStarted:
    return TaskStarted(run="r", task=task, fingerprint="f", why=why, cells=cells)


def failed(task: str, **fields: Any) -> TaskFailed:
    common: dict[str, Any] = {
        "run": "r",
        "task": task,
        "fingerprint": "f",
        "seconds": 2.0,
        "error": "ValueError: no",
        "notebook": "notebooks/one.ipynb",
        "cell": 4,
        "source": "x = 1\nraise ValueError('no')",
        "traceback": "\x1b[31mValueError\x1b[39m: no",
        "report": "data/page.html",
    }
    return TaskFailed(**common | fields)


def ended(state: str = "succeeded", **counts: int) -> RunFinished:
    return RunFinished(run="r", state=state, seconds=65.0, counts=counts, report="reports/index.html")


@pytest.fixture
def shown(make_progress: Callable[..., Any]) -> Shown:
    """Show events as where there is no terminal; returns the text."""

    def show(*events: Event, quiet: bool = False) -> str:
        file = io.StringIO()
        with make_progress(Console(file=file, width=60, highlight=False), quiet) as progress:
            for event in events:
                progress(event)
        return file.getvalue()

    return show


def test_without_a_terminal_each_event_is_a_plain_line(shown: Shown) -> None:
    text = shown(
        started("a", "b", "c", to_run=2),
        TaskCached(run="r", task="c", fingerprint="f"),
        begun("a", why="parameter seed 1 → 2"),
        CellFinished(run="r", task="a", cell=1, cells=3, seconds=0.1),
        TaskFinished(run="r", task="a", fingerprint="f", seconds=12.0, report="p"),
        TaskSkipped(run="r", task="b", why="upstream x failed"),
        ended(succeeded=1, skipped=1, cached=1),
    )
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in text.splitlines()]
    assert lines == [
        "run r of tiny: 2 of 3 tasks to run",
        "started  a (parameter seed 1 → 2)",
        "finished a in 12 s",
        "skipped  b: upstream x failed",
        "succeeded: tiny, 1 skipped, 1 succeeded, 1 cached, in 1 min 05 s",
        lines[-1],
    ]
    assert lines[-1].startswith("report: ")
    assert lines[-1].endswith("reports/index.html")


def test_a_run_with_nothing_to_do_is_two_lines(shown: Shown) -> None:
    text = shown(started("a", to_run=0), TaskCached(run="r", task="a", fingerprint="f"), ended(cached=1))
    assert len(text.splitlines()) == 2
    assert text.startswith("nothing to run: tiny, 1 cached")


def test_a_failure_is_shown_at_the_end_with_all_that_helps(shown: Shown) -> None:
    text = shown(started("a"), begun("a"), failed("a"), ended("failed", failed=1))
    shape = text[text.index("✗ a") :]
    assert "✗ a failed in notebooks/one.ipynb, cell 4" in shape
    assert "│ raise ValueError('no')" in shape
    assert "ValueError: no" in shape
    assert "data/page.html" in shape
    assert "\x1b" not in text


def test_quiet_still_shows_failures(shown: Shown) -> None:
    text = shown(started("a"), begun("a"), failed("a"), ended("failed", failed=1), quiet=True)
    assert "started" not in text
    assert "✗ a failed" in text


@pytest.mark.parametrize("odd", ["[bold]x[/]", "[/]", "a[month=2013-01]", "x" * 300, "[link=http://x]y"])
def test_text_that_looks_like_markup_is_shown_as_it_is(shown: Shown, odd: str) -> None:
    event = failed(odd, source=odd, error=odd, traceback=odd, report=odd, notebook=odd)
    text = shown(
        started(odd), begun(odd, why=odd), event, TaskSkipped(run="r", task=odd, why=odd), ended("failed", failed=1)
    )
    assert text.count(odd) >= 6


def test_a_lone_escape_sequence_in_a_source_does_not_reach_the_terminal(shown: Shown) -> None:
    text = shown(
        started("a"), begun("a"), failed("a", source="print('\x1b[2J')", error="\x1b[2J"), ended("failed", failed=1)
    )
    assert "\x1b[2J" not in text


def test_on_a_terminal_a_table_shows_cells_and_expected_times(make_progress: Callable[..., Any]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30, color_system=None)
    with make_progress(console, False) as progress:
        progress(started("train[model=forest]", "b", to_run=2, **{"train[model=forest]": 75.0}))
        progress(begun("train[model=forest]", cells=5))
        progress(CellFinished(run="r", task="train[model=forest]", cell=2, cells=5, seconds=0.1))
        table = Console(file=io.StringIO(), width=100)
        table.print(progress._table())
        assert isinstance(table.file, io.StringIO)
        (row,) = [line for line in table.file.getvalue().splitlines() if "train[model=forest]" in line]
        assert "3/5" in row
        assert "1 min 15 s" in row
        assert "0 of 2 tasks" in table.file.getvalue()


def test_a_table_of_many_tasks_fits_the_screen(make_progress: Callable[..., Any]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=20, color_system=None)
    with make_progress(console, False) as progress:
        progress(started(*(f"task{i}" for i in range(500)), to_run=500))
        progress(begun("task499"))
        table = Console(file=io.StringIO(), width=100)
        table.print(progress._table())
        assert isinstance(table.file, io.StringIO)
        lines = table.file.getvalue().splitlines()
        assert len(lines) <= 20
        assert any("task499" in line for line in lines)
        assert re.search(r"… and \d+ more", lines[-1])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (59.4, "59 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3720, "1 h 02 min"),
    ],
)
def test_a_duration_is_written_as_people_read_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("seconds", [9.96, 59.7, 3599.6])
def test_a_duration_never_shows_sixty_of_anything(seconds: float) -> None:
    assert not re.search(r"\b(60 s|60 min|10\.0 s)", duration(seconds))


@pytest.fixture
def make_progress(tmp_path: Any) -> Callable[..., Progress]:
    return lambda console, quiet: Progress(tmp_path, console, quiet=quiet)


SWEEP = [f"train[i={i}]" for i in range(1000)]


def test_a_log_tells_of_a_large_sweep_how_far_it_is(shown: Shown) -> None:
    events: list[Event] = [started("data", *SWEEP, to_run=1001), begun("data")]
    events.append(TaskFinished(run="r", task="data", fingerprint="f", seconds=1.0, report="p"))
    for task in SWEEP:
        events += [begun(task), TaskFinished(run="r", task=task, fingerprint="f", seconds=1.0, report="p")]
    lines = shown(*events, ended(succeeded=1001)).splitlines()
    assert "finished data in 1.0 s" in lines[2]
    told = [line for line in lines if "train ×1,000" in line]
    assert "1 running, 999 waiting" in told[0]
    assert told[-1].endswith("train ×1,000: 1,000 succeeded")
    assert len(lines) < 15


def test_failures_that_are_alike_are_shown_once(shown: Shown) -> None:
    events: list[Event] = [started(*SWEEP)]
    for task in SWEEP:
        events += [begun(task), failed(task) if task != SWEEP[7] else failed(task, error="OSError: other")]
    text = shown(*events, ended("failed", failed=1000))
    shape = text[text.index("✗ train") :]
    assert [line.split()[1] for line in shape.splitlines() if line.startswith("✗")] == [SWEEP[0], SWEEP[7]]
    assert "and 998 more like it: [i=1] [i=2] … [i=999]" in shape


def test_warnings_that_are_alike_are_shown_once(shown: Shown) -> None:
    warnings = [RunWarned(run="r", message=f"{task} read x.csv undeclared") for task in SWEEP]
    text = shown(started("a"), *warnings, RunWarned(run="r", message="another"), ended(succeeded=1))
    assert "warning: train[i=0] read x.csv undeclared (1,000 times)" in text
    assert "warning: another" in text
    assert text.count("warning:") == 2


def test_on_a_terminal_a_sweep_is_a_line_with_what_runs_or_failed(make_progress: Callable[..., Any]) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=24, color_system=None)
    with make_progress(console, False) as progress:
        progress(started("data", *SWEEP, "join", to_run=1002))
        for task in SWEEP[:300]:
            progress(begun(task))
            progress(
                failed(task)
                if task in SWEEP[:40]
                else TaskFinished(run="r", task=task, fingerprint="f", seconds=1.0, report="p")
            )
        progress(begun(SWEEP[300]))
        progress(begun(SWEEP[301]))
        table = io.StringIO()
        Console(file=table, width=100, height=24).print(progress._table())
    lines = table.getvalue().splitlines()
    assert len(lines) < 24
    assert any("train ×1,000" in line and "40 failed, 2 running, 698 waiting, 260 succeeded" in line for line in lines)
    assert [line.split()[1] for line in lines if line.startswith("▶")] == SWEEP[300:302]
    assert [line.split()[1] for line in lines if line.startswith("✗")] == SWEEP[35:40]
    assert any(line.split()[1:2] == ["join"] for line in lines)
