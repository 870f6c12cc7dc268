"""Contracts for the registry's tables."""

from __future__ import annotations

import pandera.pandas as pa

from flights.schemas.contract import Contract, between, like, missing_at_most, one_of

NAME = like(r"\S.{0,78}\S?", "a name of 1 to 80 characters")
CARRIER = like("[A-Z0-9]{2}", "a carrier's two characters")
TAIL = like("[A-Z0-9]{4,7}", "a tail number")

PLANES = Contract(
    "planes",
    pa.DataFrameSchema(
        {
            "tailnum": pa.Column("str", TAIL),
            "year": pa.Column("Int16", [between(1920, 2100), missing_at_most(0.1)], nullable=True),
            "type": pa.Column("str", one_of(["Fixed wing multi engine", "Fixed wing single engine", "Rotorcraft"])),
            "manufacturer": pa.Column("str", NAME),
            "model": pa.Column("str", NAME),
            "engines": pa.Column("Int16", between(1, 8)),
            "seats": pa.Column("Int16", between(1, 900)),
            "speed": pa.Column("Int16", between(30, 1400, "mph"), nullable=True),  # known for 23 planes of 3,322
            "engine": pa.Column("str", NAME),
        },
        unique=["tailnum"],
        strict=True,
        ordered=True,
    ),
)

AIRPORTS = Contract(
    "airports",
    pa.DataFrameSchema(
        {
            "faa": pa.Column("str", like("[A-Z0-9]{3,4}", "an airport's code")),
            "name": pa.Column("str", NAME),
            "lat": pa.Column("float64", [between(13, 72, "°"), missing_at_most(0.01)], nullable=True),
            "lon": pa.Column("float64", [between(-180, 180, "°"), missing_at_most(0.01)], nullable=True),
            "alt": pa.Column("Int32", between(-300, 15000, "ft")),
            "tz": pa.Column("Int16", [between(-11, 10, "h"), missing_at_most(0.01)], nullable=True),
            "dst": pa.Column("str", one_of(["A", "U", "N"])),  # American rule, unknown, none
            "tzone": pa.Column(
                "str", [like("(America|Pacific)/[A-Za-z_/]+", "a time zone"), missing_at_most(0.01)], nullable=True
            ),
        },
        unique=["faa"],
        strict=True,
        ordered=True,
    ),
)

AIRLINES = Contract(
    "airlines",
    pa.DataFrameSchema(
        {"carrier": pa.Column("str", CARRIER), "name": pa.Column("str", NAME)},
        unique=["carrier"],
        strict=True,
        ordered=True,
    ),
)
