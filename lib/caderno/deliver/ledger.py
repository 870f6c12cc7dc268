"""The ledger: one row for each decision, approval, promotion and rollback, chained by hashes, never changed.

Each row holds the hash of the row before and its own, a SHA-256 over that and all of its fields as canonical JSON (RFC
8785's rules for what stands here: sorted keys, no spaces, UTF-8). So a row that was changed, taken out, put in or
moved breaks the chain at its place. Rows that were cut off at the end leave a chain that is whole: `head` is kept
elsewhere too, by whoever moves an alias.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from caderno.deliver.place import ledger_uri
from caderno.errors import CadernoError, StoreError
from caderno.project import Project

Action = Literal["release", "decide", "approve", "refuse", "promote", "rollback"]
GENESIS = "0" * 64
_BUSY = 30.0  # seconds to wait for another writer
_LOCK, _TURN = 0x0CADE2, 0x0CADE3  # of PostgreSQL's advisory locks

_TABLES = sql.MetaData()
_ROWS = sql.Table(
    "caderno_ledger",
    _TABLES,
    sql.Column("place", sql.Integer, primary_key=True, autoincrement=False),
    sql.Column("entry", sql.Text, nullable=False),
    sql.Column("before", sql.String(64), nullable=False),
    sql.Column("hash", sql.String(64), nullable=False, unique=True),
)
# SQLite forbids by triggers what PostgreSQL's owner would revoke.
_FROZEN = (
    "CREATE TRIGGER IF NOT EXISTS caderno_ledger_{name} BEFORE {name} ON caderno_ledger "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
)


class Outpaced(CadernoError):
    """Somebody else was quicker: what the change relied on is no longer so."""

    exit_code = 3


@dataclass(frozen=True)
class Entry:
    """What one row says: `who` did `action` to a version of a model, and why.

    `old` and `new` are the champion's versions before and after, None where there was none or it did not change;
    `digests` name what was judged or signed; `facts` hold the rest, such as a gate's figures.
    """

    action: Action
    model: str
    version: str
    who: str
    why: str = ""
    old: str | None = None
    new: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    time: str = ""  # ISO 8601, UTC; given by the ledger


@dataclass(frozen=True)
class Row:
    """An entry in its place, from 1."""

    place: int
    entry: Entry
    before: str
    hash: str


@dataclass(frozen=True)
class Fault:
    """What is wrong at a place of the chain, in words."""

    place: int
    what: str


class Ledger:
    """The ledger in the database at `uri` (SQLAlchemy's; SQLite or PostgreSQL). Raises StoreError."""

    def __init__(self, uri: str) -> None:
        """Open the ledger, making its table where there is none."""
        self._engine = sql.create_engine(uri, poolclass=sql.pool.NullPool)  # commands come and go
        if self._engine.dialect.name == "sqlite":
            # pysqlite begins no transaction before the first write: here each begins at once, and is the only one.
            sql.event.listen(self._engine, "connect", _plain_transactions)
            sql.event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with self._writing() as connection:
            _TABLES.create_all(connection)
            if self._engine.dialect.name == "sqlite":
                for name in ("UPDATE", "DELETE"):
                    connection.exec_driver_sql(_FROZEN.format(name=name))

    def rows(self, model: str | None = None) -> list[Row]:
        """Return all rows, or those of one model, the oldest first."""
        with self._guarded(), self._engine.begin() as connection:
            found = [_row(one) for one in connection.execute(sql.select(_ROWS).order_by(_ROWS.c.place))]
        return [row for row in found if model is None or row.entry.model == model]

    def append(self, entry: Entry) -> Row:
        """Write one row and return it.

        An entry that changes the champion from `old` is refused with Outpaced where that is not the champion any more.
        """
        with self._writing() as connection:
            every = [_row(one) for one in connection.execute(sql.select(_ROWS).order_by(_ROWS.c.place))]
            own = [row for row in every if row.entry.model == entry.model]
            if entry.new is not None and champion_in(own) != entry.old:
                now = champion_in(own) or "none"
                raise Outpaced(
                    f"{entry.model}: the champion is version {now} by now, not {entry.old or 'none'}",
                    "look again: caderno history",
                )
            before = every[-1].hash if every else GENESIS
            stamped = Entry(**{**asdict(entry), "time": datetime.now(UTC).isoformat(timespec="microseconds")})
            text = canonical(stamped)
            row = Row(len(every) + 1, stamped, before, chained(before, text))
            connection.execute(_ROWS.insert().values(place=row.place, entry=text, before=before, hash=row.hash))
        return row

    def faults(self, head: str | None = None) -> list[Fault]:
        """Return what breaks the chain, in order; with `head`, the last known hash, also whether its end was cut."""
        with self._guarded(), self._engine.begin() as connection:
            found = connection.execute(sql.select(_ROWS).order_by(_ROWS.c.place)).all()
        faults = []
        before, place = GENESIS, 0
        for one in found:
            if one.place != place + 1:
                faults.append(Fault(place + 1, _missing(place + 1, one.place - 1)))
            elif one.before != before:
                faults.append(Fault(one.place, f"row {one.place} does not follow the row before it"))
            if one.hash != chained(one.before, one.entry):
                faults.append(Fault(one.place, f"row {one.place} was changed"))
            before, place = one.hash, one.place
        if head not in (None, GENESIS, *(one.hash for one in found)):
            faults.append(Fault(place + 1, "the end was cut off: a row that was written is not there"))
        return faults

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold off all who take their turn, while inside: rows and aliases change together. Ends with the process."""
        if self._engine.dialect.name == "postgresql":
            with self._guarded(), self._engine.connect() as connection:
                connection.execute(sql.select(sql.func.pg_advisory_lock(_TURN)))
                yield
            return
        with Path(f"{self._engine.url.database}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        """Hold off all other writers while inside; what was done is kept whole or not at all."""
        with self._guarded(), self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_LOCK)))
            yield connection

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            first = str(error.__cause__ or error).splitlines()[0]
            raise StoreError(f"the ledger can't be used: {first}") from None


def _missing(first: int, last: int) -> str:
    return f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"


def ledger_of(project: Project) -> Ledger:
    """Return the project's ledger, which is made where there is none."""
    project.data.mkdir(parents=True, exist_ok=True)
    return Ledger(ledger_uri(project))


def champion_in(rows: list[Row]) -> str | None:
    """Return the version that the last of these rows left as champion."""
    return next((row.entry.new for row in reversed(rows) if row.entry.new is not None), None)


def canonical(entry: Entry) -> str:
    """Return an entry as the JSON that is hashed."""
    return json.dumps(asdict(entry), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def chained(before: str, text: str) -> str:
    """Return the hash of a row."""
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def _row(one: Any) -> Row:
    return Row(one.place, Entry(**json.loads(one.entry)), one.before, one.hash)


def _plain_transactions(connection: Any, _: object) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {int(_BUSY * 1000)}")
