"""Contracts for flights: what the bureau delivers, and the table that is made of it.

A breach of the first is the bureau's matter, a breach of the second is ours.
"""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from flights.schemas.contract import Contract, between, like, missing_at_most, one_of, row_rule

NEW_YORK = "America/New_York"
ORIGINS = ["EWR", "JFK", "LGA"]
UTC_TIME = pd.DatetimeTZDtype("us", "UTC")

# As text: pandas converts times one by one, for 10 s a month, as soon as one of them is wrong.
UTC_HOUR = like(r"\d{4}-\d\d-\d\dT\d\d:00:00Z", "an hour in UTC such as 2013-01-01T10:00:00Z")
CARRIER = like("[A-Z0-9]{2}", "a carrier's two characters")
AIRPORT = like("[A-Z0-9]{3}", "an airport's three characters")
TAIL = like("[A-Z0-9]{4,7}", "a tail number")
# Minutes. Nobody leaves two hours early; two days late is cancelled. The longest flight from New York, to Honolulu,
# takes 11 hours; the shortest hop is EWR to LGA, 17 miles.
DEPARTURE_DELAY = between(-120, 2880, "min")
ARRIVAL_DELAY = between(-240, 2880, "min")
AIR_TIME = between(10, 900, "min")
DISTANCE = between(10, 6000, "miles")


def bureau(month: str, days: int | None = None) -> Contract:
    """The contract for the bureau's file of a month ("2013-01"): text goes in, typed columns come out.

    `days` is how many of the month there are so far; then shares of missing values may be higher, as though the rest of
    the month lacked none: a storm on the first day is no fault of the file.
    """
    first = pd.Period(month, freq="M")
    days = days or first.days_in_month

    def missing(share: float) -> pa.Check:
        return missing_at_most(min(1.0, share * first.days_in_month / days))

    whole = {
        "year": pa.Column("Int64", between(first.year, first.year)),
        "month": pa.Column("Int64", between(first.month, first.month)),
        "day": pa.Column("Int64", between(1, days)),
        "sched_dep_time": pa.Column("Int64", between(0, 2359, "hhmm")),
        "sched_arr_time": pa.Column("Int64", between(0, 2359, "hhmm")),
        "flight": pa.Column("int64", between(1, 9999)),
        "hour": pa.Column("Int64", between(0, 23)),
        "minute": pa.Column("Int64", between(0, 59)),
        "distance": pa.Column("Int64", DISTANCE),
        "time_hour": pa.Column("str", UTC_HOUR),
        "carrier": pa.Column("str", CARRIER),
        "origin": pa.Column("str", one_of(ORIGINS)),
        "dest": pa.Column("str", AIRPORT),
    }
    with_gaps = {
        "dep_time": pa.Column("Int64", [between(1, 2400, "hhmm"), missing(0.2)]),
        "arr_time": pa.Column("Int64", [between(1, 2400, "hhmm"), missing(0.2)]),
        "dep_delay": pa.Column("Int64", [DEPARTURE_DELAY, missing(0.2)]),
        "arr_delay": pa.Column("Int64", [ARRIVAL_DELAY, missing(0.2)]),
        "air_time": pa.Column("Int64", [AIR_TIME, missing(0.2)]),
        "tailnum": pa.Column("str", [TAIL, missing(0.1)]),
    }
    for column in with_gaps.values():
        column.nullable = True
    schema = pa.DataFrameSchema(
        whole | with_gaps,
        checks=[
            row_rule(_same_hour, "time_hour is not the local date and hour"),
            row_rule(_same_minute, "sched_dep_time is not hour and minute"),
            row_rule(
                lambda t: t["dep_time"].isna() == t["dep_delay"].isna(), "of dep_time and dep_delay, one is missing"
            ),
            row_rule(lambda t: t["day"].nunique() == days, "there are days without any flight"),
        ],
        unique=["origin", "carrier", "flight", "year", "month", "day", "sched_dep_time"],
        strict=True,
        coerce=True,
    )
    return Contract(f"flights of {month} as delivered", schema)


def _same_hour(table: pd.DataFrame) -> pd.Series:
    """Whether `time_hour`, in New York, is the hour that year, month, day and hour tell."""
    parts = table[["year", "month", "day", "hour"]].astype("int64")
    hours = pd.to_datetime(table["time_hour"], format="ISO8601", utc=True, errors="coerce")
    local: pd.Series = hours.dt.tz_convert(NEW_YORK).dt.tz_localize(None)
    return pd.to_datetime(parts, errors="coerce") == local


def _same_minute(table: pd.DataFrame) -> pd.Series:
    return table["sched_dep_time"] == 100 * table["hour"] + table["minute"]


FLIGHTS = Contract(
    "flights",
    pa.DataFrameSchema(
        {
            "origin": pa.Column("str", one_of(ORIGINS)),
            "dest": pa.Column("str", AIRPORT),
            "carrier": pa.Column("str", CARRIER),
            "flight": pa.Column("int64", between(1, 9999)),
            "tailnum": pa.Column("str", TAIL, nullable=True),
            "scheduled_departure": pa.Column(UTC_TIME),
            "dep_delay": pa.Column("float64", DEPARTURE_DELAY, nullable=True),
            "arr_delay": pa.Column("float64", ARRIVAL_DELAY, nullable=True),
            "air_time": pa.Column("float64", AIR_TIME, nullable=True),
            "distance": pa.Column("float64", DISTANCE),
            "cancelled": pa.Column("bool"),
        },
        checks=[
            row_rule(lambda t: t["cancelled"] == t["dep_delay"].isna(), "cancelled but left, or neither"),
            row_rule(lambda t: ~t["cancelled"] | t["arr_delay"].isna(), "cancelled but arrived"),
        ],
        unique=["origin", "carrier", "flight", "scheduled_departure"],
        strict=True,
        ordered=True,
    ),
)
