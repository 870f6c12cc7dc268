"""The contract for the dataset: what models are trained and judged on.

Missing values are part of it, within bounds: before the first departure of a day there is no lateness to speak of, and
not every carrier has a flight in every hour.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd
import pandera.pandas as pa

from flights.features import DAY, KEY, LABEL, NUMBERS
from flights.schemas.bureau import CARRIER, NEW_YORK, ORIGINS, UTC_TIME
from flights.schemas.contract import Contract, between, missing_at_most, one_of, row_rule


@dataclass(frozen=True)
class Rule:
    """The range of the features whose name matches, and the share of them that may be missing."""

    name: str
    low: float
    high: float
    missing: float = 0.0


RULES = [  # the first that matches a feature's name as a whole
    Rule("distance", 10, 6000),
    Rule("dest_latitude", 13, 72, 0.1),
    Rule("dest_longitude", -180, 180, 0.1),
    Rule("hour", 0, 23),
    Rule("minute", 0, 59),
    Rule("weekday", 0, 6),
    Rule("(to|since)_holiday", 0, 4),
    Rule("rank_carrier|planned_.*", 0, 5000),
    Rule(".*_(flights_today|left_1h)", 0, 5000),
    Rule("(all|origin)_(lateness|left_delay)_.*", -15, 180, 0.4),
    Rule("(carrier|carrier_origin|dest)_(lateness|left_delay)_.*", -15, 180, 0.7),
    Rule("(all|origin)_(late|waiting)_(1h|3h|today)", 0, 1, 0.4),
    Rule("(carrier|carrier_origin|dest)_(late|waiting)_(1h|3h|today)", 0, 1, 0.7),
    Rule(r".*_late_\d+d", 0, 1),
    Rule(r".*_delay_\d+d", -15, 180, 0.4),
    Rule("seats", 1, 900, 0.4),
    Rule("age", -1, 100, 0.4),  # an aircraft may be registered with the next year's number
    Rule("temp", -40, 120, 0.2),
    Rule("dewp", -60, 90, 0.2),
    Rule("spread|temp_change_3h", -160, 160, 0.2),
    Rule("humid|visib.*", 0, 100, 0.2),
    Rule("wind_(speed|gust|worst)", 0, 253, 0.2),
    Rule("wind_(north|east)", -253, 253, 0.3),
    Rule("precip|precip_3h", 0, 36, 0.2),
    Rule("pressure", 870, 1085, 0.5),
    Rule("pressure_change_3h", -60, 60, 0.6),
]


def rule(feature: str) -> Rule:
    """What the contract says of a feature; StopIteration would mean that a feature was added without its rule."""
    return next(rule for rule in RULES if re.fullmatch(rule.name, feature))


def _column(feature: str) -> pa.Column:
    limits = rule(feature)
    checks = [between(limits.low, limits.high), missing_at_most(limits.missing)]
    return pa.Column("float64", checks, nullable=limits.missing > 0)


def _days(table: pd.DataFrame) -> pd.Series:
    local = table["scheduled_departure"].dt.tz_convert(NEW_YORK).dt.tz_localize(None)
    same: pd.Series = table[DAY] == local.dt.normalize()
    return same


DATASET = Contract(
    "dataset",
    pa.DataFrameSchema(
        {
            "origin": pa.Column("str", one_of(ORIGINS)),
            "carrier": pa.Column("str", CARRIER),
            "flight": pa.Column("int64", between(1, 9999)),
            "scheduled_departure": pa.Column(UTC_TIME),
            DAY: pa.Column("datetime64[us]"),
            LABEL: pa.Column("bool"),
            **{feature: _column(feature) for feature in NUMBERS},
        },
        checks=[row_rule(_days, f"{DAY} is not the local day of scheduled_departure")],
        unique=KEY,
        strict=True,
        ordered=True,
    ),
)
