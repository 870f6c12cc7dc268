"""The chain of decisions: what was written stays, and whoever touches it is found."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from caderno.deliver.ledger import GENESIS, Entry, Ledger, Outpaced, canonical, chained, champion_in
from caderno.errors import StoreError


@pytest.fixture(params=["sqlite", "postgres"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    import psycopg

    address: str = request.getfixturevalue("postgres")
    with psycopg.connect(address.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS caderno_ledger")
    return address


@pytest.fixture
def ledger(uri: str) -> Ledger:
    return Ledger(uri)


def promotion(old: str | None, new: str, model: str = "late", **more: Any) -> Entry:
    return Entry("promote", model, new, "user", "better", old=old, new=new, **more)


def test_rows_come_back_as_they_were_written_with_time_and_chain(ledger: Ledger) -> None:
    entry = Entry(
        "decide", "late", "3", "user", "é\n\u2028", digests={"page": "ab"}, facts={"auc": [0.7, None], "n": 3}
    )
    first = ledger.append(entry)
    second = ledger.append(replace(entry, action="approve"))
    assert ledger.rows() == [first, second]
    assert (first.place, second.place) == (1, 2)
    assert (first.before, second.before) == (GENESIS, first.hash)
    assert replace(first.entry, time="") == entry
    assert first.entry.time.endswith("+00:00")
    assert ledger.rows()[-1].hash == second.hash
    assert ledger.faults(second.hash) == []


def test_the_hash_is_what_anybody_can_compute(ledger: Ledger) -> None:
    import hashlib
    import json

    row = ledger.append(Entry("release", "late", "1", "user"))
    text = json.dumps(asdict(row.entry), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert row.hash == hashlib.sha256(f"{GENESIS}\n{text}".encode()).hexdigest()


def test_the_champion_is_what_the_last_promotion_or_rollback_left(ledger: Ledger) -> None:
    assert champion_in(ledger.rows("late")) is None
    ledger.append(promotion(None, "1"))
    ledger.append(promotion("1", "2"))
    ledger.append(promotion(None, "7", model="other"))
    ledger.append(Entry("decide", "late", "3", "user"))
    assert (champion_in(ledger.rows("late")), champion_in(ledger.rows("other"))) == ("2", "7")
    ledger.append(Entry("rollback", "late", "1", "user", "worse", old="2", new="1"))
    assert champion_in(ledger.rows("late")) == "1"


def test_a_change_that_relies_on_what_is_no_longer_so_is_refused(ledger: Ledger) -> None:
    ledger.append(promotion(None, "1"))
    with pytest.raises(Outpaced, match="the champion is version 1 by now, not none") as caught:
        ledger.append(promotion(None, "2"))
    assert caught.value.exit_code == 3
    assert len(ledger.rows()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_of_sixteen_at_once_exactly_one_promotes(uri: str) -> None:
    Ledger(uri).append(promotion(None, "1"))
    start, go = os.pipe()
    children = []
    for i in range(16):
        if (child := os.fork()) == 0:
            os.close(go)
            os.read(start, 1)  # all at the same moment, when the pipe is closed
            try:
                Ledger(uri).append(promotion("1", f"{i + 2}"))
            except Outpaced:
                os._exit(3)
            except BaseException:
                os._exit(9)
            os._exit(0)
        children.append(child)
    os.close(start)
    os.close(go)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(codes) == [0] + [3] * 15
    ledger = Ledger(uri)
    assert len(ledger.rows()) == 2
    assert ledger.faults() == []


# Tampering, by somebody who owns the file.


@pytest.fixture
def tampered(tmp_path: Path) -> Iterator[tuple[Ledger, sqlite3.Connection]]:
    """A ledger of five rows, and a connection that is not held back by its triggers."""
    path = tmp_path / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    for i in range(1, 6):
        ledger.append(Entry("decide", "late", str(i), "user", f"because {i}"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in ("UPDATE", "DELETE"):
            connection.execute(f"DROP TRIGGER caderno_ledger_{name}")
        yield ledger, connection


def test_rows_are_neither_changed_nor_taken_out_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(f"sqlite:///{path}").append(Entry("release", "late", "1", "user"))
    with closing(sqlite3.connect(path)) as connection:
        for command in ("DELETE FROM caderno_ledger", "UPDATE caderno_ledger SET entry = 'x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(command)


def told(ledger: Ledger, head: str | None = None) -> list[tuple[int, str]]:
    return [(fault.place, fault.what) for fault in ledger.faults(head)]


def test_a_changed_row_is_found(tampered: tuple[Ledger, sqlite3.Connection]) -> None:
    ledger, connection = tampered
    connection.execute("UPDATE caderno_ledger SET entry = replace(entry, 'because 3', 'because 9') WHERE place = 3")
    assert told(ledger) == [(3, "row 3 was changed")]


def test_a_changed_row_with_a_hash_to_match_is_found_by_the_next(tampered: tuple[Ledger, sqlite3.Connection]) -> None:
    ledger, connection = tampered
    row = ledger.rows()[2]
    text = canonical(replace(row.entry, who="somebody else"))
    change = "UPDATE caderno_ledger SET entry = ?, hash = ? WHERE place = 3"
    connection.execute(change, (text, chained(row.before, text)))
    assert told(ledger) == [(4, "row 4 does not follow the row before it")]


def test_a_gap_is_found(tampered: tuple[Ledger, sqlite3.Connection]) -> None:
    ledger, connection = tampered
    connection.execute("DELETE FROM caderno_ledger WHERE place IN (2, 3)")
    assert told(ledger) == [(2, "rows 2 to 3 are missing")]


def test_a_gap_that_was_closed_is_found(tampered: tuple[Ledger, sqlite3.Connection]) -> None:
    ledger, connection = tampered
    connection.execute("DELETE FROM caderno_ledger WHERE place = 2")
    for place in (3, 4, 5):
        connection.execute("UPDATE caderno_ledger SET place = ? WHERE place = ?", (place - 1, place))
    assert told(ledger) == [(2, "row 2 does not follow the row before it")]


def test_another_order_is_found(tampered: tuple[Ledger, sqlite3.Connection]) -> None:
    ledger, connection = tampered
    for old, new in ((2, 99), (3, 2), (99, 3)):
        connection.execute("UPDATE caderno_ledger SET place = ? WHERE place = ?", (new, old))
    assert [place for place, _ in told(ledger)] == [2, 3, 4]


def test_an_end_that_was_cut_off_is_found_by_who_knew_it(tampered: tuple[Ledger, sqlite3.Connection]) -> None:
    ledger, connection = tampered
    head = ledger.rows()[-1].hash
    connection.execute("DELETE FROM caderno_ledger WHERE place >= 4")
    assert told(ledger) == []
    assert told(ledger, head) == [(4, "the end was cut off: a row that was written is not there")]


def test_a_database_that_cannot_be_used_is_told_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="the ledger can't be used: file is not a database"):
        Ledger(f"sqlite:///{path}")
