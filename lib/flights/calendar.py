"""Which months a day's run learns from, which it has only just seen, and whether the day's data have arrived.

Nothing here asks the clock: all follows from the day that is given and from what was delivered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from flights.errors import DayError
from flights.sources.bureau import read_bureau

WHOLE = 0.5  # of the flights of the same weekday before; on a holiday there are two thirds of them
LEAST = 2  # months: one to learn from at least, and one to judge by
AGAIN = "run the day again when it has arrived."
_FILE = re.compile(r"flights-(\d{4}-\d\d)\.csv")


@dataclass(frozen=True)
class Months:
    """Months as YYYY-MM, the earliest first: `learned` are over and models are fitted on them, `recent` came after."""

    learned: list[str]
    recent: list[str]


def delivered(folder: str | Path) -> list[str]:
    """The months of which the bureau's folder has a file, the earliest first."""
    return sorted(match[1] for path in Path(folder).iterdir() if (match := _FILE.fullmatch(path.name)))


def months(day: str, known: Sequence[str], unseen: int, most: int) -> Months:
    """The months for the run of a day, out of those that were delivered.

    A month is learned from once `unseen` days have passed after it, so that there are always as many days on which its
    models can be judged; of these months the last `most` count. Raises `DayError` for what is no day, for a day without
    enough months before it, and for one of which nothing can have arrived.
    """
    today = _date(day)
    if not known:
        raise DayError(day, "the bureau's folder holds no file flights-YYYY-MM.csv.", "run `make sources`.")
    now, first, last = pd.Period(today, "M"), pd.Period(known[0], "M"), pd.Period(known[-1], "M")
    if now > last:
        raise DayError(day, f"nothing of {now} has arrived; the last month is {last}.", AGAIN)
    recent = pd.period_range(pd.Period(pd.Timestamp(today) - pd.Timedelta(days=unseen - 1), "M"), now, freq="M")
    learned = pd.period_range(max(first, recent[0] - most), recent[0] - 1, freq="M")
    if len(learned) < LEAST:
        earliest = (first + LEAST).start_time + pd.Timedelta(days=unseen - 1)
        problem = f"the data begin in {first}, and {LEAST} months must be over for {unseen} days to learn from them."
        raise DayError(day, problem, f"the first day that can be run is {earliest:%Y-%m-%d}.")
    if lacking := sorted({str(month) for month in [*learned, *recent]} - set(known)):
        raise DayError(day, f"of {', '.join(lacking)} there is no file.", "fetch the months from the bureau.")
    return Months([str(month) for month in learned], [str(month) for month in recent])


def arrived(day: str, folder: str | Path) -> int:
    """How many flights of a day the bureau has delivered.

    Raises `DayError` where there is none yet, or fewer than half of those a week before: then the day is not whole.
    """
    today = pd.Timestamp(_date(day))
    days, before = (_days(folder, moment) for moment in (today, today - pd.Timedelta(days=7)))
    number, usual = int((days == today).sum()), int((before == today - pd.Timedelta(days=7)).sum())
    if not number:
        last = f"the last that has is {days.max():%Y-%m-%d}." if days.notna().any() else ""
        raise DayError(day, f"no flight of this day has arrived; {last}", AGAIN)
    if number < WHOLE * usual:
        raise DayError(day, f"only {number} flights of this day have arrived, of {usual} a week before.", AGAIN)
    return number


def _days(folder: str | Path, day: pd.Timestamp) -> pd.Series:
    """The day of each flight in the bureau's file of the month that a day is in; missing where it can't be read."""
    delivered = read_bureau(Path(folder) / f"flights-{day:%Y-%m}.csv")
    parts = delivered[["year", "month", "day"]].apply(pd.to_numeric, errors="coerce")
    days: pd.Series = pd.to_datetime(parts, errors="coerce")
    return days


def days_in(month: str, until: str | None = None) -> int:
    """How many days of a month there are up to the day `until`, itself included; all without it."""
    whole = int(pd.Period(month, "M").days_in_month)
    if until is None or until[:7] > month:
        return whole
    return min(int(until[8:]), whole) if until[:7] == month else 0


def whole_weeks(days: pd.Series) -> pd.Series:
    """Whether each day is within the whole weeks, counted from the first, that the days fill."""
    place = (days - days.min()).dt.days
    within: pd.Series = place < 7 * ((place.max() + 1) // 7)
    return within


def _date(day: str) -> date:
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise DayError(day, f"no day such as 2013-11-05 ({error}).", "give --day YYYY-MM-DD.") from None
