"""The weather at the airport of departure, as last observed by decision time.

A time in the weather table is that of an observation cut to the hour: what is stamped 15:00 was read at any minute up
to 15:51, and its precipitation is the sum of the hour up to then (data-raw/weather.R of nycflights13, where the table
was made). It therefore counts as known from 16:00, an hour after its stamp.
"""

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
KNOWN_AFTER = HOUR  # from the stamp
STALE = 3 * HOUR  # what has been known for longer than this is none


def features(flights: pd.DataFrame, departures: Departures, weather: pd.DataFrame) -> dict[str, Floats]:
    """One array a name in NAMES, one entry a flight; NaN where nothing new was known in the last three hours."""
    asked = pd.DataFrame({"origin": flights["origin"].astype("str"), "decided": departures.decided})
    airports = pd.concat([asked["origin"], weather["origin"].astype("str")]).unique()
    moments = pd.MultiIndex.from_product([airports, asked["decided"].unique()], names=["origin", "decided"])
    table = _at(moments.to_frame(index=False).astype({"origin": "str"}), weather)
    worst = table.groupby("decided").agg(visib_worst=("visib", "min"), wind_worst=("wind_speed", "max"))
    table = table.join(worst, on="decided")
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
            known=minutes(weather["observed"]) + KNOWN_AFTER,
            wind_north=weather["wind_speed"] * np.cos(angle),
            wind_east=weather["wind_speed"] * np.sin(angle),
        )
        .sort_values("known", kind="stable")
    )


def _last_observed(moments: pd.DataFrame, observations: pd.DataFrame, hours: int) -> pd.DataFrame:
    """The last observation known `hours` before each moment, in an order that is the same for all `hours`."""
    asked = moments.assign(at=moments["decided"] - hours * HOUR).sort_values(["at", "origin"], ignore_index=True)
    return pd.merge_asof(asked, observations, left_on="at", right_on="known", by="origin", tolerance=STALE)
