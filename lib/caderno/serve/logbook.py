"""The file in which a model's predictions are kept: data/predictions/<model>.db, SQLite, append-only, of bounded size.

`predictions` has a row for each logged row, `shadow` one for each that the challenger answered too, `lost` says how
many were not kept, and why. A notebook reads them by pandas.read_sql. When the file holds half of what is allowed it
becomes <model>.db.1, instead of the one before, and a new one begins: the newest rows are there, always.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from caderno.errors import StoreError
from caderno.project import Project

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["predictions", "shadow", "lost"]
_BUSY = 5.0  # seconds to wait for another writer

_TABLES = """
CREATE TABLE IF NOT EXISTS predictions (
    place INTEGER PRIMARY KEY,
    time TEXT NOT NULL,  -- ISO 8601, UTC
    request TEXT,
    row INTEGER NOT NULL,  -- of the request, from 0
    protocol TEXT NOT NULL,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    label TEXT,  -- by which the version was asked for, if by one
    features TEXT NOT NULL,  -- JSON, without the fields that are left out
    digest TEXT NOT NULL,  -- SHA-256 of that JSON, whose keys are sorted
    prediction TEXT NOT NULL,  -- JSON
    score REAL,  -- the prediction as one number, where it is one; of two classes the second's probability
    seconds REAL NOT NULL  -- of the whole request
);
CREATE TABLE IF NOT EXISTS shadow (
    place INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    request TEXT,
    row INTEGER NOT NULL,
    model TEXT NOT NULL,
    champion TEXT NOT NULL,
    challenger TEXT NOT NULL,
    features TEXT NOT NULL,
    digest TEXT NOT NULL,
    champion_score REAL NOT NULL,
    challenger_score REAL NOT NULL,
    champion_seconds REAL NOT NULL,
    challenger_seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS lost (
    place INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    kind TEXT NOT NULL,  -- predictions or shadow
    rows INTEGER NOT NULL,
    why TEXT NOT NULL
);
"""
_COLUMNS: Mapping[Kind, int] = {"predictions": 12, "shadow": 12, "lost": 4}  # besides place
_REFUSED = "BEGIN SELECT RAISE(ABORT, 'the log of predictions is append-only'); END"
_FROZEN = """
CREATE TRIGGER IF NOT EXISTS {0}_update BEFORE UPDATE ON {0} {1};
CREATE TRIGGER IF NOT EXISTS {0}_delete BEFORE DELETE ON {0} {1};
CREATE TRIGGER IF NOT EXISTS {0}_replace BEFORE INSERT ON {0}
WHEN EXISTS (SELECT 1 FROM {0} WHERE place = NEW.place) {1};
CREATE INDEX IF NOT EXISTS {0}_time ON {0} (time);
"""
_SCHEMA = f"BEGIN; {_TABLES} {''.join(_FROZEN.format(table, _REFUSED) for table in _COLUMNS)} COMMIT;"


class Full(Exception):
    """The file has its size, and can't be put aside while others read it."""


class Logbook:
    """The files of one model. `size` bounds both together, in bytes."""

    def __init__(self, folder: Path, model: str, size: int) -> None:
        name = f"{quote(model, safe=' ')}.db"
        self.path, self._old, self._lock = folder / name, folder / f"{name}.1", folder / f"{name}.lock"
        self._half = size // 2

    def append(self, rows: Mapping[Kind, Iterable[tuple[Any, ...]]]) -> None:
        """Keep rows, all or none. Raises sqlite3.Error, OSError or Full.

        The file is opened anew each time: one that was moved away, or a disk that was full, is no trouble afterwards.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # of several services
            if _size(self.path) >= self._half:
                self._turn_over()
            with closing(sqlite3.connect(self.path, timeout=_BUSY)) as database:
                database.execute("PRAGMA journal_mode = WAL")  # who reads does not hold us up
                database.execute("PRAGMA synchronous = NORMAL")
                database.executescript(_SCHEMA)
                with database:
                    for kind, some in rows.items():
                        marks = ", ".join("?" * _COLUMNS[kind])
                        database.executemany(f"INSERT INTO {kind} VALUES (NULL, {marks})", some)  # noqa: S608

    def _turn_over(self) -> None:
        """Put the file aside: only where nobody has it open, else what they read would be torn."""
        with closing(sqlite3.connect(self.path, timeout=0)) as database, suppress(sqlite3.OperationalError):
            if database.execute("PRAGMA journal_mode = DELETE").fetchone()[0] == "delete":
                database.close()
                os.replace(self.path, self._old)
                return
        if _size(self.path) + _size(self._old) >= 2 * self._half:
            raise Full("the log has its full size, and a reader keeps it from beginning anew")

    def read(self, query: str, **values: str | int) -> pd.DataFrame:
        """Return what a query finds in both files, the older rows first. Raises StoreError."""
        import pandas as pd

        found = []
        for path in (self._old, self.path):
            if path.exists():
                try:
                    with closing(sqlite3.connect(path, timeout=_BUSY)) as database:
                        found.append(pd.read_sql_query(query, database, params=values))
                except (sqlite3.Error, pd.errors.DatabaseError) as error:
                    raise StoreError(f"{path} can't be read: {error.__cause__ or error}") from None
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _size(path: Path) -> int:
    """Return the bytes of a file, with what SQLite keeps beside it."""
    beside = path.with_name(f"{path.name}-wal")
    return sum(one.stat().st_size for one in (path, beside) if one.exists())


def folder_of(project: Project) -> Path:
    """Return where the logs of a project's models are."""
    return project.data / "predictions"
