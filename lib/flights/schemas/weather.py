"""The contract for hourly weather observations."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

from flights.schemas.contract import Contract, between, missing_at_most, one_of, row_rule

NEW_YORK = "America/New_York"
STATIONS = ["EWR", "JFK", "LGA"]


def weather(month: str, days: int | None = None) -> Contract:
    """The contract for the weather table of a month ("2013-01") of New York's days, or of so many `days` of it.

    Ranges are what a station there can measure, not what is usual. Gusts are reported only when there are some, and
    the pressure is often not.
    """
    first = pd.Timestamp(month, tz=NEW_YORK)
    days = days or first.days_in_month
    end = first + pd.DateOffset(days=days)
    hours, part = days * 24, days / first.days_in_month
    least = max(0.5, 1 - 0.1 / part)  # of the whole month a tenth may be missing, of a few days half
    schema = pa.DataFrameSchema(
        {
            "origin": pa.Column("str", one_of(STATIONS)),
            "observed": pa.Column(pd.DatetimeTZDtype("us", "UTC")),
            "temp": _measure(-40, 120, "°F", 0.05 / part),
            "dewp": _measure(-60, 90, "°F", 0.05 / part),
            "humid": _measure(0, 100, "%", 0.05 / part),
            "wind_dir": _measure(0, 360, "°", 0.1 / part),
            "wind_speed": _measure(0, 253, "mph", 0.05 / part),
            "wind_gust": _measure(0, 253, "mph", 1.0 / part),
            "precip": _measure(0, 12, "in", 0.05 / part),
            "pressure": _measure(870, 1085, "mbar", 0.3 / part),
            "visib": _measure(0, 100, "miles", 0.05 / part),
        },
        checks=[
            row_rule(lambda t: t["observed"] == t["observed"].dt.floor("h"), "observed is not a whole hour"),
            row_rule(lambda t: t["observed"].between(first, end, "left"), f"observed outside {month} (New York)"),
            row_rule(
                lambda t: bool((t["origin"].value_counts().reindex(STATIONS, fill_value=0) >= least * hours).all()),
                f"a station has less than {100 * least:.0f} % of the month's {hours} hours",
            ),
        ],
        unique=["origin", "observed"],
        strict=True,
        ordered=True,
    )
    return Contract(f"weather of {month}", schema)


def _measure(low: float, high: float, unit: str, missing: float) -> pa.Column:
    return pa.Column("float64", [between(low, high, unit), missing_at_most(min(1.0, missing))], nullable=True)
