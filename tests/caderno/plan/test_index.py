from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from workshop import Workshop, record

from caderno.plan.index import Index, ShortRecord
from caderno.plan.planner import Plan, Planner
from caderno.plan.records import Output, TaskRecord, TrackingRun

OLD = (10**18, 10**18)  # nanoseconds: long ago
CACHED = {"make": "cached", "use": "cached"}
DAMAGED = {"make": "run", "use": "wait"}


@pytest.fixture
def shop(shop: Workshop) -> Workshop:
    """make → use, with a result each that was written long ago; what they say is in the caches."""
    shop.write("data/source.csv", "a,b\n1,2\n")
    shop.notebook("make.ipynb", "source: str = ''\nmade: str = 'made.txt'", "x = 1")
    shop.notebook("use.ipynb", "made: str = ''\nused: str = 'used.txt'", "x = 1")
    shop.pipeline("""
        make: {notebook: make.ipynb, inputs: {source: "file:data/source.csv"}, outputs: {made: made.txt}}
        use: {notebook: use.ipynb, inputs: {made: make.made}, outputs: {used: used.txt}}
    """)
    shop.settle()
    for path in shop.root.rglob("data/**/*.*"):
        if path.is_file() and ".caderno" not in path.parts:
            os.utime(path, ns=OLD)
    assert shop.states() == CACHED
    return shop


def verified(shop: Workshop) -> tuple[dict[str, str], Plan, Planner]:
    planner = Planner(shop.project, shop.load(), verify=True)
    plan = planner.plan()
    return {one.task.id: one.state for one in plan.tasks}, plan, planner


def overwrite(path: Path) -> None:
    """Change a file's content with its size, its time and its inode kept."""
    content = path.read_bytes()
    path.write_bytes(bytes(byte ^ 1 for byte in content))
    os.utime(path, ns=OLD)


def test_an_index_is_kept_and_no_record_read_twice(shop: Workshop) -> None:
    entries = json.loads((shop.project.state / "results-tiny.json").read_text())["entries"]
    path = str(shop.result("make").resolve() / "task.json")
    assert path in {str(Path(key).resolve()) for key in entries}

    def never() -> TaskRecord | None:
        raise AssertionError("read")

    index = Index(shop.project.state / "results-tiny.json")
    short = index.get(str(shop.store.place("make", shop.fingerprint_of("make")) / "task.json"), never)
    assert short == ShortRecord.of(shop.record("make"))


def test_a_short_record_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    outputs = {
        "m": Output(path="m", digest="ab", size=3, model_uri="models:/m-1"),
        "t": Output(path="t", digest="", size=0),
    }
    run = TrackingRun(tracking_uri="sqlite:///mlflow.db", experiment_id="1", run_id="5e")
    whole = record(outputs=outputs, tracking=run)
    path = tmp_path / "task.json"
    path.write_text("")
    os.utime(path, ns=OLD)
    first = Index(tmp_path / "index.json")
    first.get(str(path), lambda: whole)
    first.save()
    kept = Index(tmp_path / "index.json").get(str(path), lambda: None)
    assert kept == ShortRecord.of(whole)
    assert kept.mlflow_run == "5e"


@pytest.mark.parametrize("name", ["results-tiny.json", "cache.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', "\xff", None])
def test_a_cache_lost_or_damaged_costs_no_result(shop: Workshop, name: str, text: str | None) -> None:
    path = shop.project.state / name
    path.unlink() if text is None else path.write_text(text)
    assert shop.states() == CACHED


@pytest.mark.parametrize("entry", [None, [], [1, 2], "x", {"a": 1}])
def test_an_entry_of_another_shape_is_read_anew(shop: Workshop, entry: object) -> None:
    for name in ("results-tiny.json", "cache.json"):
        path = shop.project.state / name
        kept = json.loads(path.read_text())
        for key, value in kept["entries"].items():
            kept["entries"][key] = [value[0], entry, entry, entry] if name != "cache.json" else entry
        path.write_text(json.dumps(kept))
    assert shop.states() == CACHED


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda place: (place / "made.txt").unlink(), "output made is missing"),
        (lambda place: (place / "made.txt").write_text("made"), "output made is damaged"),
        (lambda place: (place / "made.txt").write_text("edam"), "output made is damaged"),
        (lambda place: os.truncate(place / "task.json", 100), "its record is damaged"),
        (lambda place: (place / "task.json").unlink(), "its record is damaged"),
    ],
)
def test_damage_by_hand_is_found_although_the_result_was_known(shop: Workshop, damage: object, why: str) -> None:
    place = shop.result("make")
    assert (place / "made.txt").read_text() == "make"
    assert callable(damage)
    damage(place)
    assert shop.states() == DAMAGED
    assert shop.why("make") == why


def test_a_record_that_now_says_another_fingerprint_is_not_used(shop: Workshop) -> None:
    path = shop.result("make") / "task.json"
    fingerprint = shop.fingerprint_of("make")
    path.write_text(path.read_text().replace(fingerprint, fingerprint[::-1]))
    assert shop.states() == DAMAGED
    assert shop.why("make") == "its record is of something else"


def test_an_output_touched_and_not_changed_is_used(shop: Workshop) -> None:
    (shop.result("make") / "made.txt").touch()
    assert shop.states() == CACHED


def test_an_output_changed_with_size_and_time_kept_is_seen_by_verify_alone(shop: Workshop) -> None:
    overwrite(shop.result("make") / "made.txt")
    assert shop.states() == CACHED
    states, plan, planner = verified(shop)
    assert states == DAMAGED
    assert plan.tasks[0].why == "output made is damaged"
    assert shop.states() == DAMAGED, "what was found once stays known"
    assert planner.cache.said().startswith("verified: 2 files read")


def test_an_input_changed_with_size_and_time_kept_is_seen_by_verify_alone(shop: Workshop) -> None:
    overwrite(shop.root / "data/source.csv")
    assert shop.states() == CACHED
    states, plan, _ = verified(shop)
    assert states == DAMAGED
    assert plan.tasks[0].why == "input source changed"


def test_verify_reads_every_file_once_and_says_how_much(shop: Workshop) -> None:
    states, _, planner = verified(shop)
    assert states == CACHED
    assert planner.cache.files == 3  # the source and two outputs
    assert planner.cache.said() == "verified: 3 files read, 0.0 MB"


def test_plan_and_run_take_verify(shop: Workshop) -> None:
    for command in ("plan", "run"):
        done = shop.caderno(command, "--verify")
        assert done.code == 0, done.out
        assert "verified: 3 files read" in done
