"""What the past days say of a carrier, a route, a flight number, an hour: as known at decision time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from flights import board
from flights.board import DAY, Codes, Departures, Floats, codes, local_time, ratio
from flights.history import History, shrunken

GROUPS: dict[str, tuple[str, ...]] = {
    "all": (),
    "origin": ("origin",),
    "dest": ("dest",),
    "carrier": ("origin", "carrier"),
    "route": ("origin", "carrier", "dest"),
    "number": ("origin", "carrier", "flight"),
    "slot": ("origin", "hour"),
    "carrier_slot": ("origin", "carrier", "hour"),
}
# Short memory for how things go at present, a longer one for groups with few flights a day.
RATES: dict[int, list[str]] = {
    1: ["all", "origin", "carrier"],
    7: ["all", "origin", "carrier", "dest", "route", "number"],
    28: ["all", "dest", "route", "number", "slot", "carrier_slot"],
}
DELAYS = ["route", "number"]
MEMORY = 28  # days, for delays and aircraft
USUAL, WEIGHT = 0.2, 5.0  # a group without a past is taken for the whole; the whole, for a fifth late

NAMES = [
    *(f"{group}_late_{days}d" for days, groups in RATES.items() for group in groups),  # share late or cancelled
    *(f"{group}_delay_{MEMORY}d" for group in DELAYS),  # mean minutes of those that left
    "seats",  # of the aircraft that flew the carrier's route in the last 28 days, on average
    "age",  # years
]


def features(flights: pd.DataFrame, departures: Departures, planes: pd.DataFrame) -> dict[str, Floats]:
    """One array a name in NAMES, one entry a flight."""
    table = flights.assign(hour=local_time(departures.scheduled).hour)
    groups = {name: codes(table, *columns) for name, columns in GROUPS.items()}
    return {
        **_rates(groups, departures),
        **{f"{name}_delay_{MEMORY}d": _delay(groups[name], departures) for name in DELAYS},
        **_aircraft(flights["tailnum"], groups["route"], departures, planes),
    }


def _rates(groups: dict[str, Codes], departures: Departures) -> dict[str, Floats]:
    late = departures.late.astype(np.int64)
    found: dict[str, Floats] = {}
    for days, names in RATES.items():
        for name in names:  # "all" comes first: it is the prior of the others
            events = History.of(groups[name], departures.known, late)
            prior = USUAL if name == "all" else found[f"all_late_{days}d"]
            found[f"{name}_late_{days}d"] = shrunken(
                *events.over(days * DAY, groups[name], departures.decided), prior, WEIGHT
            )
    return found


def _delay(group: Codes, departures: Departures) -> Floats:
    gone = departures.departed < board.NEVER
    return _recent_mean(group, departures, departures.departed - departures.scheduled, gone, board.LATENESS_RANGE)


def _aircraft(tails: pd.Series, route: Codes, departures: Departures, planes: pd.DataFrame) -> dict[str, Floats]:
    """Seats and age of the aircraft that flew the route of late; which ones is known once they left."""
    plane = planes.set_index("tailnum").reindex(tails)
    means = {}
    for name in ("seats", "year"):
        value = plane[name].to_numpy(np.float64, na_value=np.nan)
        seen = np.isfinite(value) & (departures.departed < board.NEVER)
        whole = np.where(seen, value, 0).astype(np.int64)
        means[name] = _recent_mean(route, departures, whole, seen)
    return {"seats": means["seats"], "age": local_time(departures.decided).year.to_numpy(np.float64) - means["year"]}


def _recent_mean(
    group: Codes,
    departures: Departures,
    value: npt.NDArray[np.int64],
    seen: npt.NDArray[np.bool_],
    limits: tuple[int | None, int | None] = (None, None),
) -> Floats:
    """Mean of whole numbers over the group's flights that left in the last MEMORY days and have a value (`seen`)."""
    events = History.of(group[seen], departures.departed[seen], np.clip(value[seen], *limits))
    count, total = events.over(MEMORY * DAY, group, departures.decided)
    return ratio(total, count)
