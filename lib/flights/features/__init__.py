"""What is known of a flight two hours before the scheduled hour of its departure.

`build(flights, observations, planes, airports)` makes one row a scheduled flight. Each feature is computed as of the
decision time, `floor(scheduled_departure, hour) - 2 h`: what became known later has no influence on the row, not even
on its last bit. The flight's own tail number is not used: it is missing almost only for cancelled flights, so it must
have been reported afterwards.
"""

from __future__ import annotations

import pandas as pd

from flights.board import Departures, local_day
from flights.features import lately, past, plan, weather

KEY = ["origin", "carrier", "flight", "scheduled_departure"]
DAY = "day"  # local (New York) day of the schedule: the unit that is drawn again in a bootstrap
LABEL = "late"  # left 15 or more minutes late, or not at all
CATEGORIES = ["origin", "carrier"]  # text; also part of the key
NUMBERS = [*plan.NAMES, *lately.NAMES, *past.NAMES, *weather.NAMES]  # float64, NaN where nothing is known
FEATURES = CATEGORIES + NUMBERS
FAMILIES = {
    "airport and carrier": CATEGORIES,
    "schedule": plan.NAMES,
    "last hours": lately.NAMES,
    "past days": past.NAMES,
    "weather": weather.NAMES,
}


HISTORY = pd.Timedelta(days=31)  # past days have 28 days' memory, and a flight that is not cancelled leaves within two


def build(
    flights: pd.DataFrame, observations: pd.DataFrame, planes: pd.DataFrame, airports: pd.DataFrame
) -> pd.DataFrame:
    """One row a scheduled flight, by scheduled time: KEY, `day`, `late` and FEATURES.

    `flights`, `observations` (the weather), `planes` and `airports` are the cleaned tables, as their contracts say.
    """
    flights = flights.sort_values(["scheduled_departure", "origin", "carrier", "flight"], ignore_index=True)
    departures = Departures.of(flights)
    columns = {
        **plan.features(flights, departures, airports),
        **lately.features(flights, departures),
        **past.features(flights, departures, planes),
        **weather.features(flights, departures, observations),
    }
    key = flights[KEY].copy()
    key[DAY] = local_day(departures.scheduled)
    key[LABEL] = departures.late
    return pd.concat([key, pd.DataFrame(columns)[NUMBERS]], axis=1)


def build_recent(
    flights: pd.DataFrame,
    before: pd.DataFrame,
    observations: pd.DataFrame,
    planes: pd.DataFrame,
    airports: pd.DataFrame,
) -> pd.DataFrame:
    """The rows that `build` makes of `flights` after those `before`, of which only what features reach back to is read.

    `before` and `observations` may go back further; that changes nothing.
    """
    first = flights["scheduled_departure"].min()
    reached = before[before["scheduled_departure"] >= first - HISTORY]
    observed = observations[observations["observed"] >= first - HISTORY]
    table = build(pd.concat([reached, flights], ignore_index=True), observed, planes, airports)
    recent: pd.DataFrame = table[table["scheduled_departure"] >= first]
    return recent.reset_index(drop=True)
