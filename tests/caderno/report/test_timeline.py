"""A run's tasks over time."""

from __future__ import annotations

from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from caderno.plan.records import RunRecord, RunTask
from caderno.report.timeline import WIDTH, Timeline, timeline

if TYPE_CHECKING:
    Site = Any


def run_of(site: Site, samples: ModuleType, *spans: tuple[float, float]) -> RunRecord:
    """Return the record of a run with tasks that began and took so many seconds."""
    began = samples.STARTED
    tasks = [
        RunTask(
            task=f"task_{i}",
            name=f"task_{i}",
            notebook="a.ipynb",
            state="succeeded",
            why="new",
            upstream=[],
            started=began + timedelta(seconds=after),
            seconds=seconds,
        )
        for i, (after, seconds) in enumerate(spans)
    ]
    return site.run(tasks=tasks, started=began)


def drawn(site: Site, samples: ModuleType, *spans: tuple[float, float]) -> Timeline:
    found = timeline(run_of(site, samples, *spans))
    assert found
    return found


def test_tasks_that_ran_at_once_have_lanes_of_their_own_and_a_lane_is_used_again(
    site: Site, samples: ModuleType
) -> None:
    found = drawn(site, samples, (0, 10), (1, 3), (4, 2), (5, 1), (11, 1))
    assert [bar.lane for bar in found.bars] == [0, 1, 1, 2, 1]
    assert found.lanes == 3


def test_bars_are_to_scale(site: Site, samples: ModuleType) -> None:
    found = drawn(site, samples, (0, 25), (50, 50))
    assert [(bar.x, bar.width) for bar in found.bars] == [(0, WIDTH / 4), (WIDTH / 2, WIDTH / 2)]


@pytest.mark.parametrize(
    ("span", "ticks"),
    [
        (1, ["0 s", "0.20 s", "0.40 s", "0.60 s", "0.80 s", "1.0 s"]),
        (12, ["0 s", "2.0 s", "4.0 s", "6.0 s", "8.0 s", "10.0 s", "12.0 s"]),
        (400, ["0 s", "2 min", "4 min", "6 min"]),
        (9000, ["0 s", "30 min", "1 h", "1 h 30 min", "2 h", "2 h 30 min"]),
        (86400 * 30, ["0 s", "120 h", "240 h", "360 h", "480 h", "600 h", "720 h"]),
    ],
)
def test_ticks_are_round(span: float, ticks: list[str], site: Site, samples: ModuleType) -> None:
    found = drawn(site, samples, (0, span), (0, span))
    assert [said for _, said in found.ticks] == ticks


def test_a_name_that_does_not_fit_its_bar_is_cut_or_left_out(site: Site, samples: ModuleType) -> None:
    found = drawn(site, samples, (0, 100), (0, 4), (0, 0.1))
    assert [bar.label for bar in found.bars] == ["task_0", "task…", ""]
    assert found.bars[2].width == 2


def test_a_clock_that_was_set_back_draws_nothing_beyond_the_picture(site: Site, samples: ModuleType) -> None:
    found = drawn(site, samples, (-50, 10), (0, 50))
    assert all(0 <= bar.x <= WIDTH for bar in found.bars)


def test_one_task_needs_no_timeline(site: Site, samples: ModuleType) -> None:
    assert timeline(run_of(site, samples, (0, 1))) is None
    assert timeline(run_of(site, samples)) is None


def test_the_page_has_it_with_its_data_as_a_table(site: Site) -> None:
    site.add("a")
    site.add("b", "failed")
    site.add("c", "cached")
    page = site.write()
    assert len(page.select("#timeline svg .span")) == 2
    rows = page.select("#timeline tbody tr")
    assert [[cell.get_text() for cell in row(["th", "td"])] for row in rows] == [
        ["a", "1", "240.00", "72.40"],
        ["b", "2", "240.00", "72.40"],
    ]
    assert "2 tasks in 2 lanes" in page.select_one("#timeline svg title").get_text()
