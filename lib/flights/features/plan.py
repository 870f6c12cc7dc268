"""What the schedule tells, which is public long before: where to, when, among how many others."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.tseries.holiday import USFederalHolidayCalendar

from flights.board import HOUR, Codes, Departures, Floats, codes, local_day, local_time

NAMES = [
    "distance",  # miles
    "dest_latitude",
    "dest_longitude",
    "hour",  # local, of the schedule
    "minute",
    "weekday",  # 0 is Monday
    "to_holiday",  # days to the next federal holiday, at most 4
    "since_holiday",
    "planned_all",  # departures in that hour, from all three airports
    "planned_origin",
    "planned_origin_before",  # in the hour before
    "planned_origin_after",
    "planned_carrier",  # by this carrier at this airport
    "planned_dest",  # to this destination, from all three airports
    "planned_dest_day",  # on that day
    "planned_origin_day",
    "rank_carrier",  # place among its carrier's departures from its airport that day
]
HOLIDAY_REACH = 4  # days


def features(flights: pd.DataFrame, departures: Departures, airports: pd.DataFrame) -> dict[str, Floats]:
    """One array a name in NAMES, one entry a flight."""
    local = local_time(departures.scheduled)
    place = airports.set_index("faa").reindex(flights["dest"])
    return {
        "distance": flights["distance"].to_numpy(np.float64),
        "dest_latitude": place["lat"].to_numpy(np.float64),
        "dest_longitude": place["lon"].to_numpy(np.float64),
        "hour": local.hour.to_numpy(np.float64),
        "minute": local.minute.to_numpy(np.float64),
        "weekday": local.day_of_week.to_numpy(np.float64),
        **_holidays(departures),
        **_traffic(flights, departures),
    }


def _holidays(departures: Departures) -> dict[str, Floats]:
    first, last = (local_day(departures.scheduled[[place]])[0] for place in (0, -1))
    margin = pd.Timedelta(days=366)  # New Year's Day is in any of them
    calendar = USFederalHolidayCalendar().holidays(first - margin, last + margin)
    holidays = calendar.to_numpy().astype("datetime64[D]").astype(np.int64)
    to = holidays[np.searchsorted(holidays, departures.day, side="left")] - departures.day
    since = departures.day - holidays[np.searchsorted(holidays, departures.day, side="right") - 1]
    return {
        "to_holiday": np.minimum(to, HOLIDAY_REACH).astype(np.float64),
        "since_holiday": np.minimum(since, HOLIDAY_REACH).astype(np.float64),
    }


def _traffic(flights: pd.DataFrame, departures: Departures) -> dict[str, Floats]:
    origin, dest, carrier = codes(flights, "origin"), codes(flights, "dest"), codes(flights, "origin", "carrier")
    hour = departures.scheduled // HOUR
    hour = hour - hour.min()
    return {
        "planned_all": _alike(np.zeros_like(hour), hour),
        "planned_origin": _alike(origin, hour),
        "planned_origin_before": _alike(origin, hour, shift=-1),
        "planned_origin_after": _alike(origin, hour, shift=1),
        "planned_carrier": _alike(carrier, hour),
        "planned_dest": _alike(dest, hour),
        "planned_dest_day": _alike(dest, departures.day - departures.day.min()),
        "planned_origin_day": _alike(origin, departures.day - departures.day.min()),
        "rank_carrier": _rank(carrier, departures),
    }


def _alike(group: Codes, time: Codes, shift: int = 0) -> Floats:
    """How many flights of a flight's group are scheduled in its hour or day, or in one `shift` hours or days away."""
    width = int(time.max()) + 3  # an empty place at either end
    place = group * width + time + 1
    counts = np.bincount(place, minlength=(int(group.max()) + 1) * width)
    return np.asarray(counts[place + shift], np.float64)


def _rank(group: Codes, departures: Departures) -> Floats:
    schedule = pd.Series(departures.scheduled)
    return np.asarray(schedule.groupby([group, departures.day]).rank(method="min"), np.float64)
