from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from workshop import PIPELINE, Workshop, record, until

from caderno.errors import Stopped, StoreError
from caderno.plan import digests
from caderno.plan.records import Failure, Output, RunRecord, RunTask
from caderno.plan.store import Store, read_record, write_atomically

ONE = "1a" * 32
TWO = "2b" * 32
NOON = datetime(2013, 11, 5, 12, tzinfo=UTC)


def commit(store: Store, fingerprint: str = ONE, text: str = "made", **fields: Any) -> Path:
    """Commit a result of the task "one" with one output."""
    staged = store.stage("one", fingerprint)
    (staged / "made.txt").write_text(text)
    digest, size = digests.of_path(staged / "made.txt")
    outputs = {"made": Output(path="made.txt", digest=digest, size=size)}
    return store.commit(staged, record(fingerprint=fingerprint, outputs=outputs, **fields))


def failed(store: Store, fingerprint: str = ONE, **fields: Any) -> Path:
    staged = store.stage("one", fingerprint)
    failure = Failure(kind="ValueError", message="no")
    return store.commit(staged, record(fingerprint=fingerprint, state="failed", failure=failure, **fields))


def names(store: Store) -> set[str]:
    return {path.name for path in store.home("one").iterdir()}


def test_a_result_stands_under_its_fingerprint_when_it_is_whole(shop: Workshop) -> None:
    place = commit(shop.store)
    assert place == shop.root / "data" / PIPELINE / "one" / ONE[:16]
    found, why = shop.store.find("one", ONE)
    assert found is not None
    assert why == ""
    assert (place / found.outputs["made"].path).read_text() == "made"


def test_nothing_is_found_where_nothing_is(shop: Workshop) -> None:
    assert shop.store.find("one", ONE) == (None, "")
    assert shop.store.latest("one") is None
    assert shop.store.failed("one") is None
    assert shop.store.last_run() is None


def test_what_is_only_staged_is_not_found(shop: Workshop) -> None:
    staged = shop.store.stage("one", ONE)
    (staged / "task.json").write_text(record(fingerprint=ONE).model_dump_json())
    assert shop.store.find("one", ONE) == (None, "")
    assert shop.store.latest("one") is None


def test_staging_clears_what_a_killed_attempt_left(shop: Workshop) -> None:
    (shop.store.stage("one", ONE) / "half").write_text("x")
    assert list(shop.store.stage("one", ONE).iterdir()) == []


def test_nothing_staged_remains_after_a_commit(shop: Workshop) -> None:
    commit(shop.store)
    commit(shop.store, text="made again")
    assert names(shop.store) == {ONE[:16]}


def test_a_result_made_again_replaces_the_old_one_whole(shop: Workshop) -> None:
    commit(shop.store)
    place = commit(shop.store, text="made again")
    assert (place / "made.txt").read_text() == "made again"
    assert shop.store.find("one", ONE)[0] is not None


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda place: (place / "made.txt").unlink(), "output made is missing"),
        (lambda place: (place / "made.txt").write_text("mad"), "output made is damaged"),
        (lambda place: (place / "task.json").unlink(), "its record is damaged"),
        (lambda place: (place / "task.json").write_text("{"), "its record is damaged"),
        (lambda place: (place / "task.json").write_text("{}"), "its record is damaged"),
        (lambda place: (place / "task.json").write_bytes(b"\xff"), "its record is damaged"),
        (lambda place: os.truncate(place / "task.json", 100), "its record is damaged"),
    ],
)
def test_a_damaged_result_is_not_used_and_the_reason_told(shop: Workshop, damage: Any, why: str) -> None:
    damage(commit(shop.store))
    assert shop.store.find("one", ONE) == (None, why)


def test_a_result_moved_to_another_fingerprints_place_is_not_used(shop: Workshop) -> None:
    commit(shop.store).rename(shop.store.place("one", TWO))
    assert shop.store.find("one", TWO) == (None, "its record is of something else")


def test_a_folder_among_the_outputs_is_found_damaged_too(shop: Workshop) -> None:
    staged = shop.store.stage("one", ONE)
    (staged / "model/deep").mkdir(parents=True)
    (staged / "model/deep/weights").write_bytes(b"12345")
    digest, size = digests.of_path(staged / "model")
    outputs = {"model": Output(path="model", digest=digest, size=size)}
    place = shop.store.commit(staged, record(fingerprint=ONE, outputs=outputs))
    assert shop.store.find("one", ONE)[0] is not None
    (place / "model/deep/weights").unlink()
    assert shop.store.find("one", ONE) == (None, "output model is damaged")


def test_a_link_that_leads_nowhere_among_the_files_is_no_error(shop: Workshop) -> None:
    staged = shop.store.stage("one", ONE)
    (staged / "link").symlink_to("nowhere")
    shop.store.commit(staged, record(fingerprint=ONE))
    assert shop.store.find("one", ONE)[0] is not None


def test_latest_is_what_was_pointed_at(shop: Workshop) -> None:
    store = shop.store
    commit(store, ONE, started=NOON)
    commit(store, TWO, started=NOON + timedelta(hours=1))
    store.point_latest("one", ONE)
    assert (store.home("one") / "latest" / "made.txt").read_text() == "made"
    latest = store.latest("one")
    assert latest
    assert latest[0].fingerprint == ONE
    store.point_latest("one", TWO)
    assert (store.home("one") / "latest").resolve() == store.place("one", TWO)
    assert names(store) == {ONE[:16], TWO[:16], "latest"}


@pytest.mark.parametrize("link", [None, "0" * 16])
def test_without_a_link_that_leads_somewhere_the_newest_record_is_the_latest(shop: Workshop, link: str | None) -> None:
    store = shop.store
    commit(store, TWO, started=NOON + timedelta(hours=1))
    commit(store, ONE, started=NOON)
    if link:
        store.point_latest("one", link)
    latest = store.latest("one")
    assert latest
    assert latest[0].fingerprint == TWO


def test_a_failure_stands_beside_the_results_and_replaces_none(shop: Workshop) -> None:
    store = shop.store
    place = commit(store)
    store.point_latest("one", ONE)
    assert failed(store, TWO).name == "failed"
    assert (place / "made.txt").exists()
    assert store.find("one", TWO) == (None, "")
    left = store.failed("one")
    assert left
    assert left[0].fingerprint == TWO
    latest = store.latest("one")
    assert latest
    assert latest[0].fingerprint == ONE


def test_a_failure_is_forgotten_when_the_task_succeeds(shop: Workshop) -> None:
    failed(shop.store)
    commit(shop.store)
    assert shop.store.failed("one") is None
    assert names(shop.store) == {ONE[:16]}


def test_a_store_that_cant_be_written_is_told(shop: Workshop) -> None:
    shop.write("data/tiny", "a file where the folder would be")
    with pytest.raises(StoreError, match="data/tiny/one/"):
        shop.store.stage("one", ONE)


def commit_until_killed(store: Store, text: str, calls: int) -> bool:
    """Commit in a child process that dies before its system call number `calls`; return whether it lived."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    left = iter(range(calls))

    def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: os._exit(9) if next(left, None) is None else call(*arguments, **named)

    os.rename, os.fsync, os.unlink, os.rmdir = map(mortal, (os.rename, os.fsync, os.unlink, os.rmdir))
    commit(store, text=text)
    os._exit(0)


def test_a_commit_killed_at_any_moment_leaves_a_whole_result_or_none(shop: Workshop) -> None:
    seen: set[str | None] = set()
    for calls in range(100):
        commit(shop.store, text="old")
        lived = commit_until_killed(shop.store, "new", calls)
        found, why = shop.store.find("one", ONE)
        assert why == "", f"damaged by a kill at call {calls}: {why}"
        seen.add((shop.store.place("one", ONE) / "made.txt").read_text() if found else None)
        if lived:
            break
    assert lived
    assert {"old", "new"} <= seen


def test_one_holds_the_lock_of_a_fingerprint_and_another_waits(shop: Workshop) -> None:
    inside, go, order = threading.Event(), threading.Event(), []

    def first() -> None:
        with shop.store.lock(ONE, lambda: False):
            inside.set()
            go.wait(10)
            order.append("first")

    def second() -> None:
        with shop.store.lock(ONE, lambda: False):
            order.append("second")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    inside.wait(10)
    threads.append(threading.Thread(target=second))
    threads[1].start()
    with shop.store.lock(TWO, lambda: False):
        order.append("another fingerprint")
    go.set()
    for thread in threads:
        thread.join(10)
    assert order == ["another fingerprint", "first", "second"]


def test_who_waits_for_a_lock_can_give_up(shop: Workshop) -> None:
    with shop.store.lock(ONE, lambda: False), pytest.raises(Stopped), shop.store.lock(ONE, lambda: True):
        raise AssertionError("never inside")


def test_a_lock_ends_with_its_process(shop: Workshop) -> None:
    script = (
        "import sys, time; from pathlib import Path; from caderno.project import Project; "
        "from caderno.plan.store import Store\n"
        f"with Store(Project(Path(sys.argv[1])), 'tiny').lock('{ONE}', lambda: False):\n"
        "    print('in', flush=True)\n"
        "    time.sleep(99)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(shop.root)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"in\n"
        process.kill()
    with shop.store.lock(ONE, lambda: True):
        pass


def test_the_last_run_is_the_newest_that_can_be_read(shop: Workshop) -> None:
    def run(name: str) -> RunRecord:
        return RunRecord(
            run=name, pipeline=PIPELINE, description="", profile=None, command="caderno run", state="succeeded",
            started=NOON, seconds=1.0, user="Ada", host="here", git=None, tracking=None,
            tasks=[RunTask(task="one", name="one", notebook="one.ipynb", state="cached", why="cached", upstream=[])],
        )  # fmt: skip

    shop.store.save_run(run("20131105-073000-0000"))
    shop.store.save_run(run("20131106-073000-0000"))
    assert shop.store.last_run() == run("20131106-073000-0000")
    shop.store.run_file("20131106-073000-0000").write_text("{")
    assert shop.store.last_run() == run("20131105-073000-0000")
    shop.store.save_run(run("20131101-073000-0000"))  # ended now, by a clock that was set back
    assert shop.store.last_run() == run("20131101-073000-0000")


def test_a_record_comes_back_as_it_was_written(shop: Workshop) -> None:
    place = commit(shop.store, metrics={"auc": 0.75, "worst": float("inf")}, params={"a": [1, None, {"b": "ü"}]})
    found = read_record(place)
    assert found
    assert found.metrics == {"auc": 0.75, "worst": float("inf")}
    assert found.params == {"a": [1, None, {"b": "ü"}]}


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old" * 100_000)
    torn = threading.Event()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            text = path.read_text()
            if set(text) not in ({"o", "l", "d"}, {"n", "e", "w"}) or len(text) != 300_000:
                torn.set()

    thread = threading.Thread(target=watch)
    thread.start()
    for _ in range(20):
        write_atomically(path, "new" * 100_000)
        write_atomically(path, "old" * 100_000)
    done.set()
    thread.join()
    assert not torn.is_set()
    until(lambda: [child.name for child in tmp_path.iterdir()] == ["file"], 1, "temporary files remain")
