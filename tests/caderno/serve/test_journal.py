"""The log of predictions: what is kept, what is left out, and what happens when it can't be written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from workshop import until

from caderno.serve import journal as journals
from caderno.serve.answering import Asked, Service
from caderno.serve.batching import Answer, Output
from caderno.serve.comparison import served
from caderno.serve.journal import Journal
from caderno.serve.logbook import Logbook
from caderno.serve.shelf import Version
from caderno.serve.tables import Table

SIZE = 100_000_000
KINDS = {"x": "float64", "name": "str", "at": "datetime64[ns]"}


@dataclass(frozen=True)
class Named:
    """All that the log asks of a version."""

    model: str = "flights"
    number: str = "3"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def made(tmp_path: Path, said: list[str]) -> Iterator[Callable[..., Journal]]:
    """Makes journals in a folder, and ends them."""
    every = []

    def make(folder: Path = tmp_path, size: int = SIZE, without: str = "") -> Journal:
        every.append(Journal(folder, size, frozenset(without.split()), said.append))
        return every[-1]

    yield make
    for one in every:
        one.close()


def asked(label: str | None = None, model: str = "flights") -> Asked:
    return Asked("tfserving", cast(Version, Named(model)), label, False, cast(Service, None))


def table(*names: str) -> Table:
    moments = [np.datetime64("2026-01-02T03:04:05", "ns")] * len(names)
    return Table({"x": [1] * len(names), "name": list(names), "at": moments}, len(names), KINDS)


def answer(*scores: float) -> Answer:
    return Answer((Output(None, "float64", [[1 - one, one] for one in scores]),), len(scores), 0.01, 1)


def rows(folder: Path, kind: str = "predictions", model: str = "flights") -> pd.DataFrame:
    with closing(sqlite3.connect(folder / f"{model}.db")) as database:
        return pd.read_sql(f"SELECT * FROM {kind}", database)


def log(one: Journal, *names: str, share: float = 1.0, model: str = "flights") -> None:
    one.listener(share)(asked("champion", model), table(*names), answer(*[0.25] * len(names)), 0.02)


def test_a_row_says_who_was_asked_what_and_answered_what(made: Callable[..., Journal], tmp_path: Path) -> None:
    one = made()
    log(one, "a", "b")
    one.close()
    found = rows(tmp_path)
    assert list(found["row"]) == [0, 1]
    assert found["request"].nunique() == 1
    second = found.iloc[1]
    assert (second.protocol, second.model, second.version, second.label) == ("tfserving", "flights", "3", "champion")
    assert second.features == '{"at":"2026-01-02T03:04:05","name":"b","x":1.0}'
    assert second.digest == hashlib.sha256(second.features.encode()).hexdigest()
    assert json.loads(second.prediction) == [0.75, 0.25]
    assert (second.score, second.seconds) == (0.25, 0.02)
    assert abs(pd.Timestamp(second.time) - pd.Timestamp.now("UTC")) < pd.Timedelta("1min")
    assert one.written["flights", "predictions"] == 2


def test_the_digest_is_the_same_however_numbers_were_sent_and_columns_are_held(
    made: Callable[..., Journal],
) -> None:
    one = made()
    kinds = {"a": "float64", "b": "int64"}
    forms = [
        Table({"a": [1], "b": [2]}, 1, kinds),
        Table({"b": [2], "a": [1.0]}, 1, kinds),
        Table({"a": np.array([1.0]), "b": np.array([2])}, 1, kinds),
    ]
    assert len({next(one.features(form, [0])) for form in forms}) == 1


@pytest.mark.parametrize(
    ("frame", "kinds", "wanted"),
    [
        ({"x": [float("nan")]}, {"x": "float64"}, {"x": None}),
        ({"x": [np.datetime64("NaT", "ns")]}, {"x": "datetime64[ns]"}, {"x": None}),
        ({"x": [b"\xff\x00"]}, {"x": "object"}, {"x": "/wA="}),
        ({"x": [{"deep": [2**70]}]}, {"x": "object"}, {"x": {"deep": [2**70]}}),
        ({"x": np.ones((1, 2, 2))}, {"x": "tensor:float64"}, {"x": [[1.0, 1.0], [1.0, 1.0]]}),
        (np.array([[1.0, 2.0]]), None, {"inputs": [1.0, 2.0]}),
    ],
)
def test_whatever_a_model_takes_can_be_told(
    made: Callable[..., Journal], frame: Any, kinds: dict[str, str] | None, wanted: dict[str, Any]
) -> None:
    [(text, _)] = made().features(Table(frame, 1, kinds), [0])
    assert json.loads(text) == wanted


def test_fields_that_are_left_out_are_nowhere_in_the_file(made: Callable[..., Journal], tmp_path: Path) -> None:
    one = made(without="name at")
    log(one, "Jane Roe")
    one.close()
    assert rows(tmp_path)["features"][0] == '{"x":1.0}'
    assert all(b"Jane" not in file.read_bytes() for file in tmp_path.iterdir())


def test_a_field_that_was_left_out_for_a_time_is_not_missing_in_what_is_compared(
    made: Callable[..., Journal], tmp_path: Path
) -> None:
    for without in ("name", ""):
        one = made(without=without)
        log(one, "a", "b")
        one.close()
    rows, features = served(Logbook(tmp_path, "flights", SIZE), "2000", "3")
    assert rows == 4
    assert {name: list(values) for name, values in features.items() if name != "at"} == {
        "name": ["a", "b"],
        "x": [1.0] * 4,
    }


def test_outputs_with_names_and_texts_are_kept_and_have_no_score(made: Callable[..., Journal], tmp_path: Path) -> None:
    one = made()
    outputs = (Output("class", "bytes", ["late"]), Output("p", "float64", [0.5]))
    one.listener(1)(asked(), table("a"), Answer(outputs, 1, 0.01, 1), 0.02)
    one.close()
    found = rows(tmp_path).iloc[0]
    assert json.loads(found.prediction) == {"class": "late", "p": 0.5}
    assert found.score is None


def test_a_share_of_the_rows_is_kept_drawn_evenly(made: Callable[..., Journal], tmp_path: Path) -> None:
    one = made()
    log(one, *["a"] * 4000, share=0.25)
    log(one, "a", share=0.0)
    one.close()
    found = rows(tmp_path)
    assert 850 < len(found) < 1150
    assert 1800 < found["row"].mean() < 2200


def test_each_model_has_a_file_of_its_own_whatever_it_is_called(made: Callable[..., Journal], tmp_path: Path) -> None:
    one = made()
    names = ["flights", "../up", "a/b", "späte Züge"]
    for name in names:
        log(one, "a", model=name)
    one.close()
    assert len(list(tmp_path.glob("*.db"))) == 4
    assert not list(tmp_path.parent.glob("*.db"))
    assert all(len(Logbook(tmp_path, name, SIZE).read("SELECT * FROM predictions")) == 1 for name in names)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE predictions SET score = 1", "DELETE FROM predictions", "REPLACE INTO lost VALUES (1, '', '', 1, '')"],
)
def test_rows_are_neither_changed_nor_taken_out(made: Callable[..., Journal], tmp_path: Path, statement: str) -> None:
    one = made()
    one.lose("flights", "predictions", 5, "why")
    log(one, "a")
    one.close()
    with (
        closing(sqlite3.connect(tmp_path / "flights.db")) as database,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        database.execute(statement)


def test_what_waits_is_bounded_and_what_is_lost_is_counted_and_written(
    made: Callable[..., Journal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "_WAITING", 100)
    one = made()
    for _ in range(50):
        log(one, *["a"] * 10)
    one.close()
    lost = one.lost["flights", "predictions", "the log can't follow"]
    assert lost > 0
    assert rows(tmp_path, "lost")["rows"].sum() == lost
    assert len(rows(tmp_path)) + lost == 500


def test_rows_that_cannot_be_told_lose_no_others(made: Callable[..., Journal], tmp_path: Path, said: list[str]) -> None:
    one = made()
    log(one, "a")
    log(one, "\ud800")
    log(one, "b")
    one.close()
    assert len(rows(tmp_path)) == 2
    assert rows(tmp_path, "lost")["why"][0] == "they can't be told as JSON"
    assert len(said) == 1


def test_the_log_keeps_its_size_and_the_newest_rows(tmp_path: Path) -> None:
    book = Logbook(tmp_path, "flights", 400_000)
    for number in range(60):
        row = ("2026", None, number, "p", "m", "1", None, "x" * 10_000, "d", "1", 1.0, 1.0)
        book.append({"predictions": [row] * 2})
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 500_000
    found = book.read("SELECT row FROM predictions")["row"]
    assert found.is_monotonic_increasing
    assert found.iloc[-1] == 59
    assert 15 < len(found) < 40
    assert sorted(file.name for file in tmp_path.iterdir()) == ["flights.db", "flights.db.1", "flights.db.lock"]


def test_a_reader_that_stays_delays_a_new_file_and_then_stops_the_log(
    made: Callable[..., Journal], tmp_path: Path, said: list[str]
) -> None:
    one = made(size=200_000)
    log(one, *["a" * 1000] * 200)
    until(lambda: one.written["flights", "predictions"] == 200)
    with closing(sqlite3.connect(tmp_path / "flights.db")) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM predictions").fetchone() == (200,)
        log(one, *["a" * 1000] * 100)
        until(lambda: bool(one.troubles))
        assert "a reader keeps it" in said[0]
        assert reader.execute("SELECT count(*) FROM predictions").fetchone() == (200,)
    until(lambda: one.written["flights", "predictions"] == 300)
    assert not one.troubles
    assert len(rows(tmp_path)) == 100
    assert (tmp_path / "flights.db.1").exists()


def test_a_file_that_is_taken_away_is_made_anew(made: Callable[..., Journal], tmp_path: Path) -> None:
    one = made()
    log(one, "a")
    until(lambda: one.written["flights", "predictions"] == 1)
    (tmp_path / "flights.db").rename(tmp_path / "archive.db")
    log(one, "b")
    one.close()
    assert list(rows(tmp_path)["features"].str.contains('"b"')) == [True]


def test_two_services_write_one_log(made: Callable[..., Journal], tmp_path: Path) -> None:
    both = made(), made()
    for _ in range(20):
        for one in both:
            log(one, "a", "b")
    for one in both:
        one.close()
    assert len(rows(tmp_path)) == 80
    assert not both[0].lost


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounts a small disk: needs root on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], check=False).returncode:
        pytest.skip("mounts a small disk, which is not admitted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("free", [0, 30_000, 300_000])
def test_a_full_disk_is_said_delays_nobody_and_is_forgotten_when_there_is_room(
    made: Callable[..., Journal], small_disk: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(journals, "_WAITING", 2000)
    one = made(small_disk / "predictions")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - free))
    began = time.perf_counter()
    for _ in range(300):
        log(one, *["a" * 100] * 10)
    assert time.perf_counter() - began < 1
    until(lambda: bool(one.troubles))
    assert said[0] == "flights: predictions can't be logged: the disk is full"
    lost = one.lost["flights", "predictions", "the log can't follow"]
    assert lost > 0
    ballast.unlink()
    until(lambda: not one.troubles)
    log(one, "after")
    one.close()
    assert said[-1] == "flights: predictions are logged again"
    assert len(said) == 2
    assert len(rows(small_disk / "predictions")) + lost == 3001
    assert rows(small_disk / "predictions", "lost")["rows"].sum() == lost


def test_a_log_that_stays_full_does_not_keep_the_service_from_ending(
    made: Callable[..., Journal], small_disk: Path
) -> None:
    one = made(small_disk / "predictions")
    (small_disk / "ballast").write_bytes(b"\0" * shutil.disk_usage(small_disk).free)
    log(one, "a")
    until(lambda: bool(one.troubles))
    began = time.perf_counter()
    one.close()
    assert time.perf_counter() - began < 3
    assert one.lost["flights", "predictions", "the log can't be written"] == 1
