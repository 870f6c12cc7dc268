from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest
from workshop import Workshop

from caderno.events import Event, RunFinished, RunStarted, TaskCached, TaskSkipped, now
from caderno.run import session


def test_events_are_stamped_in_utc_and_never_change() -> None:
    event = TaskSkipped(run="r", task="a", why="because")
    assert event.time.utcoffset() == timedelta(0)
    assert timedelta(0) <= now() - event.time < timedelta(minutes=1)
    with pytest.raises(FrozenInstanceError):
        event.why = "else"  # type: ignore[misc]


def test_a_run_begins_and_ends_with_its_own_events_and_tells_each_task_between(shop: Workshop) -> None:
    shop.notebook("one.ipynb", "month: str = ''", "x = 1")
    shop.pipeline("one: {notebook: one.ipynb, matrix: {month: [a, b]}}")
    shop.settle()
    events: list[Event] = []
    planner = shop.planner()
    record, signal = session.execute(planner, planner.plan(), session.Options(jobs=1, cores=1), [events.append])
    assert (record.state, signal) == ("succeeded", None)
    first, *between, last = events
    assert isinstance(first, RunStarted)
    assert isinstance(last, RunFinished)
    assert (first.tasks, first.to_run) == (("one[month=a]", "one[month=b]"), 0)
    assert [event.task for event in between if isinstance(event, TaskCached)] == ["one[month=a]", "one[month=b]"]
    assert last.counts == {"cached": 2}
    assert {event.run for event in events} == {record.run}
    assert [event.time for event in events] == sorted(event.time for event in events)
