from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from workshop import Workshop, record

import caderno.run.journal as journals
from caderno.plan.records import TrackingRun
from caderno.run.journal import STATUS, Journal, orphans, record_at

URI = "sqlite:///mlflow.db"


def dies(act: Callable[[], object]) -> None:
    """Do something in a process that dies without a farewell, as by `kill -9`."""
    child = os.fork()
    if not child:
        act()
        os._exit(9)
    os.waitpid(child, 0)


def found(shop: Workshop, uri: str = URI) -> dict[str, str]:
    return {
        run: STATUS[one.state] if (one := record_at(place, run)) else "KILLED"
        for _, left in orphans(shop.project, uri)
        for run, place in left.items()
    }


def files(shop: Workshop) -> list[Path]:
    return list((shop.root / "data/.caderno/runs").iterdir())


def test_the_open_runs_of_a_dead_engine_are_found_once(shop: Workshop) -> None:
    def engine() -> None:
        journal = Journal(shop.project, "one", URI)
        for run in ("parent", "child", "ended"):
            journal.opened(run, shop.root / "nowhere")
        journal.closed("ended")

    dies(engine)
    assert found(shop) == {"parent": "KILLED", "child": "KILLED"}
    assert found(shop) == {}
    assert files(shop) == []


def test_the_open_runs_of_a_living_engine_are_its_own(shop: Workshop) -> None:
    journal = Journal(shop.project, "one", URI)
    journal.opened("parent", shop.root / "nowhere")
    # A second open file is what another process would have.
    assert found(shop) == {}
    journal.closed("parent")
    journal.end()
    assert files(shop) == []


def test_a_journal_with_open_runs_outlives_its_engines_end(shop: Workshop) -> None:
    journal = Journal(shop.project, "one", URI)
    journal.opened("parent", shop.root / "nowhere")
    assert journal.still_open() == {"parent": shop.root / "nowhere"}
    journal.end()
    assert found(shop) == {"parent": "KILLED"}


@pytest.mark.parametrize(("run_id", "ending"), [("its", "FINISHED"), ("another", "KILLED")])
def test_a_task_whose_result_was_committed_had_finished(shop: Workshop, run_id: str, ending: str) -> None:
    tracking = TrackingRun(tracking_uri=URI, experiment_id="1", run_id=run_id)
    place = shop.store.commit(shop.store.stage("one", "ab" * 32), record(tracking=tracking))
    dies(lambda: Journal(shop.project, "one", URI).opened("its", place))
    assert found(shop) == {"its": ending}


def test_a_journal_of_another_store_waits_for_a_run_with_that_store(shop: Workshop) -> None:
    dies(lambda: Journal(shop.project, "one", "http://elsewhere").opened("its", shop.root / "nowhere"))
    assert found(shop) == {}
    assert found(shop, "http://elsewhere") == {"its": "KILLED"}
    assert files(shop) == []


def test_a_torn_last_line_takes_nothing_along(shop: Workshop) -> None:
    shop.write("data/.caderno/runs/one.jsonl", f'["{URI}"]\n["a", "nowhere"]\n["b", "now')
    assert found(shop) == {"a": "KILLED"}


@pytest.mark.parametrize("content", ["", "{", "null", "[]", "[7]", '["a", 3]', '{"uri": 7}', "\x00"])
def test_a_damaged_journal_does_no_harm_and_goes(shop: Workshop, content: str) -> None:
    shop.write("data/.caderno/runs/one.jsonl", content)
    assert found(shop) == {}
    assert files(shop) == []


def test_workers_may_write_at_the_same_time(shop: Workshop) -> None:
    def engine() -> None:
        sys.setswitchinterval(1e-6)  # threads take turns as often as they can
        journal = Journal(shop.project, "one", URI)

        def worker(name: str) -> None:
            for i in range(200):
                journal.opened(f"{name}-{i}", shop.root / "nowhere")
                journal.closed(f"{name}-{i}")
            journal.opened(f"{name}-open", shop.root / "nowhere")

        threads = [threading.Thread(target=worker, args=[name]) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    dies(engine)
    assert found(shop) == {f"{name}-open": "KILLED" for name in "abcdefgh"}


def test_an_engine_killed_while_it_writes_loses_no_open_run(shop: Workshop) -> None:
    """Killed after each number of lines of the journal's code."""
    for limit in range(1, 60):

        def engine(limit: int = limit) -> None:
            journal = Journal(shop.project, "one", URI)
            journal.opened("first", shop.root / "nowhere")
            left = limit

            def trace(frame: FrameType, event: str, argument: object) -> object:
                nonlocal left
                if frame.f_code.co_filename != journals.__file__:
                    return None
                left -= event == "line"
                if left < 0:
                    os._exit(9)
                return trace

            sys.settrace(trace)
            journal.opened("second", shop.root / "nowhere")
            journal.closed("second")
            sys.settrace(None)

        dies(engine)
        assert found(shop).get("first") == "KILLED", limit
