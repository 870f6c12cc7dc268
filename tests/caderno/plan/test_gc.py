"""What may go and what stays: the latest, the newest, what models came from, and all that these were made from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from workshop import Workshop, record

from caderno.plan import gc
from caderno.plan.records import Input, TrackingRun
from caderno.plan.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(shop: Workshop) -> Store:
    """Five results of a, five of b, each of b made from the one of a of the same number."""
    shop.notebook("a.ipynb", None, "1")
    shop.pipeline("a: {notebook: a.ipynb}\nb: {notebook: a.ipynb}")
    store = shop.store
    for number in range(5):
        for task in "ab":
            made = fingerprint(task, number)
            source = store.relative_place("a", fingerprint("a", number))
            inputs = [Input(source="a.x", path=f"{source}/x", digest="d", size=1, task="a", fingerprint="f")]
            staged = store.stage(task, made)
            (staged / "x").write_bytes(b"x" * 1000)
            run = TrackingRun(tracking_uri="", experiment_id="1", run_id=f"run-{task}{number}")
            store.commit(
                staged,
                record(
                    task=task,
                    fingerprint=made,
                    started=START + timedelta(days=number),
                    inputs={"x": inputs} if task == "b" else {},
                    tracking=run,
                ),
            )
    store.point_latest("a", fingerprint("a", 4))
    store.point_latest("b", fingerprint("b", 4))
    return store


def fingerprint(task: str, number: int) -> str:
    return f"{task}{number}".encode().hex() * 16


def gone(store: Store, keep: int, *registered: str) -> set[str]:
    results, kept = gc.unneeded(store, keep, registered)
    assert len(results) + kept == 10
    return {bytes.fromhex(result.record.fingerprint[:4]).decode() for result in results}


def test_the_newest_of_each_task_stay(store: Store) -> None:
    assert gone(store, 1) == {f"{task}{number}" for task in "ab" for number in range(4)}
    assert gone(store, 3) == {"a0", "a1", "b0", "b1"}
    assert gone(store, 5) == set()


def test_what_latest_names_stays_and_what_it_was_made_from(store: Store) -> None:
    store.point_latest("b", fingerprint("b", 0))
    assert gone(store, 1) == {"a1", "a2", "a3", "b1", "b2", "b3"}


def test_what_a_registered_model_came_from_stays_with_its_inputs(store: Store) -> None:
    assert gone(store, 1, "run-b2") == {"a0", "a1", "a3", "b0", "b1", "b3"}


def test_removal_frees_what_was_said_and_nothing_else(store: Store) -> None:
    stranger = store.home("a") / "mine"
    stranger.mkdir()
    (stranger / "notes.txt").write_text("x")
    results, _ = gc.unneeded(store, 3)
    assert all(result.size > 1000 for result in results)
    gc.remove(result.place for result in results)
    assert not any(result.place.exists() for result in results)
    assert stranger.exists()
    assert gc.unneeded(store, 3) == ([], 6)


def test_a_file_with_a_second_name_frees_nothing(store: Store, tmp_path: Path) -> None:
    place = store.place("a", fingerprint("a", 0))
    before = next(one.size for one in gc.unneeded(store, 1)[0] if one.place == place)
    (tmp_path / "elsewhere").hardlink_to(place / "x")
    assert next(one.size for one in gc.unneeded(store, 1)[0] if one.place == place) == before - 1000


def test_folders_that_are_being_written_are_no_leftovers(store: Store) -> None:
    dead = store.stage("a", "12" * 32)
    living = store.stage("b", "34" * 32)
    with store.lock("34" * 32, given_up=lambda: False):
        assert gc.leftovers(store) == [dead]
    assert set(gc.leftovers(store)) == {dead, living}


def test_the_command_removes_what_it_said_but_not_during_a_run(shop: Workshop, store: Store) -> None:
    done = shop.caderno("gc", "--keep", "2", "--dry-run")
    assert "would remove 6 results" in done
    assert "keeps 4" in done
    assert len(gc.unneeded(store, 1)[0]) == 8
    with store.in_use():
        refused = shop.caderno("gc", "--keep", "2")
    assert refused.code == 2
    assert "a run is going on" in refused
    assert "removes 6 results" in shop.caderno("gc", "--keep", "2")
    assert len(gc.unneeded(store, 1)[0]) == 2
    assert "removes 0 results" in shop.caderno("gc", "--keep", "2")
