"""How many rows and which columns a file of data has: what a reviewer asks first of a changed input."""

from __future__ import annotations

import contextlib
import csv
import sqlite3
from pathlib import Path

from caderno.plan.records import Table

_LARGEST_CSV = 200_000_000  # bytes; a larger one is not read for its rows
_SQLITE = b"SQLite format 3\x00"


_known: dict[tuple[str, str], Table | None] = {}


def table_with(digest: str | None, path: Path) -> Table | None:
    """Return the shape of a file whose content has this digest: however many tasks read or make it, it is read once."""
    if digest is None:
        return None
    key = (path.suffix, digest)
    if key not in _known:
        _known[key] = table_of(path)
    return _known[key]


def table_of(path: Path) -> Table | None:
    """Return the shape of a Parquet, Feather, CSV or SQLite file, or None where it is no such file or can't be read.

    Parquet and Feather are read by pyarrow where it is installed, and only their footers.
    """
    with contextlib.suppress(Exception):  # whatever is odd about the file: a shape is a courtesy
        if path.is_file():
            match path.suffix.lower():
                case ".parquet" | ".pq":
                    return _parquet(path)
                case ".feather" | ".arrow":
                    return _feather(path)
                case ".csv" | ".tsv":
                    return _csv(path)
                case ".db" | ".sqlite" | ".sqlite3":
                    return _sqlite(path)
    return None


def _parquet(path: Path) -> Table:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        return Table(rows=file.metadata.num_rows, columns={field.name: str(field.type) for field in file.schema_arrow})


def _feather(path: Path) -> Table:
    from pyarrow import ipc, memory_map

    with memory_map(str(path)) as source, ipc.open_file(source) as file:
        rows = sum(file.get_batch(i).num_rows for i in range(file.num_record_batches))
        return Table(rows=rows, columns={field.name: str(field.type) for field in file.schema})


def _csv(path: Path) -> Table:
    """Return the columns that the first line names; what they hold is not looked at."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        names = next(lines, [])
        rows = sum(1 for line in lines if line) if path.stat().st_size <= _LARGEST_CSV else None
    return Table(rows=rows, columns=dict.fromkeys(names, ""))


def _sqlite(path: Path) -> Table | None:
    """Return all tables as one: a column is `table.column`."""
    with path.open("rb") as file:
        if file.read(len(_SQLITE)) != _SQLITE:
            return None
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        columns, rows = {}, 0
        for name in sorted(names):
            quoted = '"' + name.replace('"', '""') + '"'
            rows += database.execute(f"SELECT count(*) FROM {quoted}").fetchone()[0]  # noqa: S608  # quoted
            for column in database.execute(f"PRAGMA table_info({quoted})"):
                columns[f"{name}.{column[1]}"] = column[2]
    return Table(rows=rows, columns=columns)
