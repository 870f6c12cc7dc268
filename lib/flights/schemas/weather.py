"""The contract for hourly weather observations."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from flights.schemas.contract import Contract, between, missing_at_most, one_of, row_rule

NEW_YORK = "America/New_York"
STATIONS = ["EWR", "JFK", "LGA"]


def weather(month: str) -> Contract:
    """The contract for the weather table of a month ("2013-01") of New York's days.

    Ranges are what a station there can measure, not what is usual. Gusts are reported only when there are some, and
    the pressure is often not.
    """
    first = pd.Timestamp(month, tz=NEW_YORK)
    end = first + pd.DateOffset(months=1)
    hours = first.days_in_month * 24
    schema = pa.DataFrameSchema(
        {
            "origin": pa.Column("str", one_of(STATIONS)),
            "observed": pa.Column(pd.DatetimeTZDtype("us", "UTC")),
            "temp": _measure(-40, 120, "°F", 0.05),
            "dewp": _measure(-60, 90, "°F", 0.05),
            "humid": _measure(0, 100, "%", 0.05),
            "wind_dir": _measure(0, 360, "°", 0.1),
            "wind_speed": _measure(0, 253, "mph", 0.05),
            "wind_gust": _measure(0, 253, "mph", 1.0),
            "precip": _measure(0, 12, "in", 0.05),
            "pressure": _measure(870, 1085, "mbar", 0.3),
            "visib": _measure(0, 100, "miles", 0.05),
        },
        checks=[
            row_rule(lambda t: t["observed"] == t["observed"].dt.floor("h"), "observed is not a whole hour"),
            row_rule(lambda t: t["observed"].between(first, end, "left"), f"observed outside {month} (New York)"),
            row_rule(
                lambda t: bool((t["origin"].value_counts().reindex(STATIONS, fill_value=0) >= 0.9 * hours).all()),
                f"a station has less than 90 % of the month's {hours} hours",
            ),
        ],
        unique=["origin", "observed"],
        strict=True,
        ordered=True,
    )
    return Contract(f"weather of {month}", schema)


def _measure(low: float, high: float, unit: str, missing: float) -> pa.Column:
    return pa.Column("float64", [between(low, high, unit), missing_at_most(missing)], nullable=True)
