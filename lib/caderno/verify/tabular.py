"""Whether two tables hold the same: columns, then rows, then values. Parquet, Feather, CSV, SQLite."""

from __future__ import annotations

import contextlib
import csv
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from caderno.plan.tables import table_of
from caderno.report.diff import shape_changes
from caderno.verify.closeness import Sameness, Tolerance, gap, shown, texts

Columns = Iterator[tuple[str, Sequence[Any]]]


def tables(old: Path, new: Path, tolerance: Tolerance) -> Sameness | None:
    """Compare two files that hold tables; None where they are no tables that can be read here."""
    shapes = table_of(old), table_of(new)
    if shapes[0] is None or shapes[1] is None or shapes[0].rows is None:
        return None
    changed = shape_changes(shapes[0], shapes[1])
    if changed:
        return Sameness("differs", ", ".join(changed[:3]))
    with contextlib.suppress(Exception):  # whatever is odd about a file: its bytes are compared then
        return _values(old, new, tolerance)
    return None


def _values(old: Path, new: Path, tolerance: Tolerance) -> Sameness:
    largest, where = 0.0, ""
    for (name, before), (_, after) in zip(_columns(old), _columns(new), strict=True):
        if len(before) != len(after):
            return Sameness("differs", f"column {name}: {len(before):,} → {len(after):,} rows")
        found = gap(before, after, tolerance)
        if found.beyond:
            first, more = found.beyond[0], len(found.beyond) - 1
            text = f"column {name}, row {first + 1:,}: {shown(before[first])} → {shown(after[first])}"
            return Sameness("differs", text + (f", and {more:,} more of its rows" if more else ""))
        if found.largest > largest:
            largest, where = found.largest, name
    if largest:
        return Sameness("equal within tolerance", f"largest difference {largest:.1g} in column {where}")
    return Sameness("equal", "the same values; the file's bytes are others")


def _columns(path: Path) -> Columns:
    match path.suffix.lower():
        case ".parquet" | ".pq" | ".feather" | ".arrow":
            return _arrow(path)
        case ".csv" | ".tsv":
            return _csv(path)
    return _sqlite(path)


def _arrow(path: Path) -> Columns:
    from pyarrow import ipc, memory_map, parquet, types

    if path.suffix.lower() in (".parquet", ".pq"):
        with parquet.ParquetFile(path) as file:  # not read_table: that takes `key=value` in the path for a column
            table = file.read()
    else:
        with memory_map(str(path)) as source, ipc.open_file(source) as file:
            table = file.read_all()
    for name, column in zip(table.column_names, table.columns, strict=True):
        plain = types.is_floating(column.type) and column.null_count == 0
        yield name, column.to_numpy() if plain else column.to_pylist()


def _csv(path: Path) -> Columns:
    """Yield the columns that the first line names; cells beyond them are columns without a name."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        names = next(lines, [])
        rows = [line for line in lines if line]
    columns = [*zip_longest(*rows, fillvalue="")]
    for place in range(max(len(columns), len(names))):
        name = names[place] if place < len(names) else f"{place + 1}"
        yield name, texts(columns[place] if place < len(columns) else ())


def _sqlite(path: Path) -> Columns:
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in sorted(names):
            quoted = '"' + table.replace('"', '""') + '"'
            cursor = database.execute(f"SELECT * FROM {quoted}")  # noqa: S608  # quoted
            rows = cursor.fetchall()
            for place, column in enumerate(cursor.description):
                yield f"{table}.{column[0]}", [row[place] for row in rows]
