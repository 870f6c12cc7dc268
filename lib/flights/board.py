"""The departure board: what was known of departures at a moment.

Everything here is counted in whole minutes, as the bureau records it, so that sums are exact: a value that becomes
known later cannot disturb an earlier feature, not even in its last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Minutes = npt.NDArray[np.int64]  # since 1970-01-01 00:00 UTC, or a span
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

ZONE = "America/New_York"
HOUR, DAY = 60, 24 * 60
NEVER = np.iinfo(np.int64).max
LATE = 15  # minutes: from here on the bureau calls a departure late
AHEAD = 2 * HOUR  # the decision is taken so long before the scheduled hour
LATENESS_RANGE = (-15, 180)  # one flight that waits for half a day must not drown its airport's mean


def minutes(times: pd.Series) -> Minutes:
    """Whole minutes since the epoch (UTC) of a time-zone-aware column."""
    return np.asarray(times.dt.as_unit("s").astype("int64") // 60, np.int64)


def codes(table: pd.DataFrame, *columns: str) -> Codes:
    """A code (0, 1, ...) a row, the same for rows that agree in all of `columns`; without columns all are 0."""
    if not columns:
        return np.zeros(len(table), np.int64)
    return np.asarray(table.groupby(list(columns), sort=False, dropna=False).ngroup(), np.int64)


def ratio(total: Floats, count: Floats) -> Floats:
    """`total / count`, NaN where there is nothing to divide by."""
    return total / np.where(count > 0, count, np.nan)


def local_time(moments: Minutes) -> pd.DatetimeIndex:
    """The moments by New York's clocks."""
    return pd.DatetimeIndex(moments.astype("datetime64[m]")).tz_localize("UTC").tz_convert(ZONE)


def local_day(moments: Minutes) -> pd.DatetimeIndex:
    """Midnight, without time zone, of the local (New York) day that each moment belongs to."""
    return local_time(moments).tz_localize(None).normalize().as_unit("us")


@dataclass(frozen=True)
class Departures:
    """Scheduled departures and what came of them; all arrays have one entry a flight."""

    scheduled: Minutes
    departed: Minutes  # NEVER where the flight was cancelled
    day: Codes  # local day of the schedule, in days since the epoch
    day_end: Minutes  # when that local day ends

    @classmethod
    def of(cls, flights: pd.DataFrame) -> Departures:
        """Read columns `scheduled_departure` (UTC), `dep_delay` (minutes) and `cancelled`."""
        scheduled = minutes(flights["scheduled_departure"])
        delay = np.rint(flights["dep_delay"].to_numpy(np.float64, na_value=0.0)).astype(np.int64)
        departed = np.where(flights["cancelled"].to_numpy(bool), NEVER, scheduled + delay)
        day = local_day(scheduled)
        next_midnight = (day + pd.Timedelta(days=1)).tz_localize(ZONE).tz_convert("UTC")
        return cls(scheduled, departed, _numbers(day), minutes(next_midnight.to_series()))

    @property
    def decided(self) -> Minutes:
        """Decision time: two hours before the scheduled hour."""
        return self.scheduled // HOUR * HOUR - AHEAD

    @property
    def known(self) -> Minutes:
        """When the outcome was known: on leaving or, for a cancellation, at the end of the local day.

        A cancellation is known earlier, but the bureau does not record when.
        """
        return np.where(self.departed == NEVER, self.day_end, self.departed)

    @property
    def late(self) -> npt.NDArray[np.bool_]:
        """The outcome: left 15 or more minutes late, or not at all."""
        late: npt.NDArray[np.bool_] = (self.departed == NEVER) | (self.departed - self.scheduled >= LATE)
        return late

    def lateness(self, now: Minutes) -> Minutes:
        """Minutes of lateness as known `now`: the delay of those that left by then, the waiting time of the others.

        Negative for flights that left early, and for those whose schedule is still to come.
        """
        return np.minimum(self.departed, now) - self.scheduled


@dataclass(frozen=True)
class Window:
    """Sums over a group's flights that were scheduled in the hours before a moment, as known at that moment.

    One entry a moment.
    """

    flights: Floats
    lateness: Floats  # minutes, each flight's clipped to LATENESS_RANGE
    late: Floats  # flights whose lateness is 15 minutes or more already
    waiting: Floats  # flights that had not left

    def means(self) -> dict[str, Floats]:
        """Means per flight; NaN where the window holds no flight."""
        return {name: ratio(getattr(self, name), self.flights) for name in ("lateness", "late", "waiting")}


def windows(departures: Departures, group: Codes, hours: Sequence[int], at: Codes, when: Minutes) -> dict[int, Window]:
    """For each of `hours`, the window of so many hours before `when` (whole hours), in the group `at`.

    `group` has one code (0, 1, ...) a flight; `at` and `when` one entry a query. A flight scheduled in the k-th hour
    before a moment is added to that moment's cell of a dense table (group x hour), for k = 1, 2, ...: no search, no
    loop over rows.
    """
    table = _Table.over(departures, group, max(hours), when)
    found = {}
    for k in range(1, max(hours) + 1):
        table.add(departures, group, k)
        if k in hours:
            found[k] = table.take(at, when)
    return found


def today(departures: Departures, group: Codes, at: Codes, when: Minutes) -> Window:
    """The window from the beginning of the local day of `when`, whole hours, up to `when`."""
    table = _Table.over(departures, group, 24, when)
    for k in range(1, 25):
        table.add(departures, group, k, same_day=True)
    return table.take(at, when)


@dataclass(frozen=True)
class _Table:
    first: int  # hours since the epoch of the first column
    cells: npt.NDArray[np.float64]  # 4 measures x groups x hours

    @classmethod
    def over(cls, departures: Departures, group: Codes, reach: int, when: Minutes) -> _Table:
        edges = np.concatenate([departures.scheduled, when]) // HOUR
        first, last = int(edges.min()), int(edges.max()) + reach
        return cls(first, np.zeros((4, int(group.max()) + 1, last - first + 1)))

    def add(self, departures: Departures, group: Codes, k: int, same_day: bool = False) -> None:
        """Add each flight to the moment that is k whole hours after the hour of its schedule."""
        hour = departures.scheduled // HOUR + k
        now = hour * HOUR
        lateness = departures.lateness(now)
        keep = now < departures.day_end if same_day else np.ones(len(now), bool)
        cell = (group * self.cells.shape[2] + hour - self.first)[keep]
        for measure, values in enumerate(_measures(departures, lateness, now)):
            sums = np.bincount(cell, values[keep], minlength=self.cells[measure].size)
            self.cells[measure] += sums.reshape(self.cells[measure].shape)

    def take(self, at: Codes, when: Minutes) -> Window:
        return Window(*self.cells[:, at, when // HOUR - self.first])


def _measures(departures: Departures, lateness: Minutes, now: Minutes) -> Iterator[Floats]:
    yield np.ones(len(now))
    yield np.clip(lateness, *LATENESS_RANGE).astype(np.float64)
    yield (lateness >= LATE).astype(np.float64)
    yield (departures.departed > now).astype(np.float64)


def _numbers(days: pd.DatetimeIndex) -> Codes:
    return days.to_numpy().astype("datetime64[D]").astype(np.int64)
