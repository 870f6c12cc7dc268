"""How late departures are, of the last hours and since midnight, as the departure board shows it at decision time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flights import board
from flights.board import HOUR, Codes, Departures, Floats, codes
from flights.history import History

GROUPS: dict[str, tuple[str, ...]] = {
    "all": (),  # the three airports together
    "origin": ("origin",),
    "carrier": ("carrier",),  # at all three airports
    "carrier_origin": ("origin", "carrier"),
    "dest": ("dest",),  # from all three airports
}
MEASURES = ["lateness", "late", "waiting"]  # mean minutes; share 15+ minutes late already; share not gone
HOURS = (1, 3)
LEFT = ["all", "origin", "carrier_origin"]

NAMES = [
    *(f"{group}_{measure}_{window}" for group in GROUPS for window in ("1h", "3h", "today") for measure in MEASURES),
    *(f"{group}_flights_today" for group in GROUPS),  # scheduled since midnight
    *(f"{group}_{what}_1h" for group in LEFT for what in ("left", "left_delay")),  # that left in the last hour
]


def features(flights: pd.DataFrame, departures: Departures) -> dict[str, Floats]:
    """One array a name in NAMES, one entry a flight. Means are NaN where there was no flight to take the mean of."""
    found: dict[str, Floats] = {}
    for name, columns in GROUPS.items():
        group = codes(flights, *columns)
        windows = board.windows(departures, group, HOURS, group, departures.decided)
        today = board.today(departures, group, group, departures.decided)
        for span, window in {**{f"{h}h": windows[h] for h in HOURS}, "today": today}.items():
            found |= {f"{name}_{measure}_{span}": values for measure, values in window.means().items()}
        found[f"{name}_flights_today"] = today.flights
        if name in LEFT:
            count, delay = _left(departures, group)
            found |= {f"{name}_left_1h": count, f"{name}_left_delay_1h": delay}
    return found


def _left(departures: Departures, group: Codes) -> tuple[Floats, Floats]:
    """How many flights really left in the hour before the decision, and their mean delay in minutes."""
    gone = departures.departed < board.NEVER
    delay = np.clip((departures.departed - departures.scheduled)[gone], *board.LATENESS_RANGE)
    count, total = History.of(group[gone], departures.departed[gone], delay).over(HOUR, group, departures.decided)
    return count, board.ratio(total, count)
