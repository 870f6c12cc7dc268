"""The weather at the airport of departure, as last observed by decision time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flights.board import HOUR, Departures, Floats, minutes

OBSERVED = [
    "temp",
    "dewp",
    "humid",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
]  # °F, %, mph, in, mbar, mi
NAMES = [
    *OBSERVED,
    "spread",  # temperature above the dew point, °F: near zero there is fog
    "wind_north",  # mph, from the north and from the east
    "wind_east",
    "precip_3h",  # inches, the last three observations' sum
    "visib_min_3h",  # the worst of three hours
    "temp_change_3h",
    "pressure_change_3h",
    "visib_worst",  # of the three airports, which share one sky
    "wind_worst",
]
STALE = 3 * HOUR  # an observation older than this is none


def features(flights: pd.DataFrame, departures: Departures, weather: pd.DataFrame) -> dict[str, Floats]:
    """One array a name in NAMES, one entry a flight; NaN where nothing was observed in the last three hours."""
    asked = pd.DataFrame({"origin": flights["origin"].astype("str"), "decided": departures.decided})
    table = _at(asked.drop_duplicates(), weather)
    table = table.join(
        table.groupby("decided").agg(visib_worst=("visib", "min"), wind_worst=("wind_speed", "max")), on="decided"
    )
    rows = asked.merge(table, on=["origin", "decided"], how="left", validate="many_to_one")
    return {name: rows[name].to_numpy(np.float64) for name in NAMES}


def _at(moments: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """One row for each (origin, decided) of `moments`."""
    observations = _prepared(weather)
    now, *before = (_last_observed(moments, observations, hours) for hours in (0, 1, 2, 3))
    return now.assign(
        wind_gust=now["wind_gust"].fillna(now["wind_speed"]),  # a gust is reported only where it exceeds the wind
        spread=now["temp"] - now["dewp"],
        precip_3h=now["precip"] + before[0]["precip"].fillna(0) + before[1]["precip"].fillna(0),
        visib_min_3h=pd.concat([table["visib"] for table in (now, *before[:2])], axis=1).min(axis=1),
        temp_change_3h=now["temp"] - before[2]["temp"],
        pressure_change_3h=now["pressure"] - before[2]["pressure"],
    )


def _prepared(weather: pd.DataFrame) -> pd.DataFrame:
    angle = np.deg2rad(weather["wind_dir"])
    return (
        weather[["origin", *OBSERVED]]
        .assign(
            origin=weather["origin"].astype("str"),
            observed=minutes(weather["observed"]),
            wind_north=weather["wind_speed"] * np.cos(angle),
            wind_east=weather["wind_speed"] * np.sin(angle),
        )
        .sort_values("observed", kind="stable")
    )


def _last_observed(moments: pd.DataFrame, observations: pd.DataFrame, hours: int) -> pd.DataFrame:
    """What was last observed `hours` before each moment, in an order that is the same for all `hours`."""
    asked = moments.assign(at=moments["decided"] - hours * HOUR).sort_values(["at", "origin"], ignore_index=True)
    return pd.merge_asof(asked, observations, left_on="at", right_on="observed", by="origin", tolerance=STALE)
