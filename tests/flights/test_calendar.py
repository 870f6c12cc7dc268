"""Which months a day's run learns from follows from the day alone; a day that can't be run is told why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flights.calendar import Months, arrived, days_in, delivered, months, whole_weeks
from flights.errors import DayError, FlightsError

YEAR = [f"2013-{month:02d}" for month in range(1, 13)]


@pytest.mark.parametrize(
    ("day", "learned", "recent"),
    [
        ("2013-11-06", ("2013-01", "2013-09"), ["2013-10", "2013-11"]),  # six days of November: too few to judge by
        ("2013-11-07", ("2013-01", "2013-10"), ["2013-11"]),
        ("2013-12-31", ("2013-01", "2013-11"), ["2013-12"]),
        ("2013-03-07", ("2013-01", "2013-02"), ["2013-03"]),
    ],
)
def test_a_month_is_learned_from_when_a_week_has_passed_after_it(
    day: str, learned: tuple[str, str], recent: list[str]
) -> None:
    found = months(day, YEAR, unseen=7, most=12)
    assert (found.learned[0], found.learned[-1]) == learned
    assert found.recent == recent


def test_at_most_so_many_months_are_learned_from() -> None:
    assert months("2013-11-15", YEAR, unseen=7, most=2) == Months(["2013-09", "2013-10"], ["2013-11"])


@given(st.dates(pd.Timestamp("2013-03-07").date(), pd.Timestamp("2013-12-31").date()), st.integers(1, 31))
def test_there_are_always_days_to_judge_by_and_no_month_is_on_both_sides(day: object, unseen: int) -> None:
    try:
        found = months(str(day), YEAR, unseen, most=12)
    except DayError as error:
        assert "the first day that can be run" in error.remedy
        return
    first = pd.Period(found.recent[0], "M").start_time
    assert (pd.Timestamp(str(day)) - first).days + 1 >= unseen
    together = [*found.learned, *found.recent]
    assert together == YEAR[: len(together)]
    assert together[-1] == str(day)[:7]


WRONG = {
    "2013-02-30": "no day such as 2013-11-05",
    "soon": "no day such as 2013-11-05",
    "2012-11-05": "the data begin in 2013-01",
    "2013-03-06": "the first day that can be run is 2013-03-07",
    "2014-01-01": "nothing of 2014-01 has arrived; the last month is 2013-12",
}


@pytest.mark.parametrize("day", WRONG)
def test_a_day_that_cannot_be_run_is_told_why(day: str) -> None:
    with pytest.raises(DayError) as caught:
        months(day, YEAR, unseen=7, most=12)
    assert isinstance(caught.value, FlightsError)
    assert str(caught.value).startswith(f"{day}: ")
    assert WRONG[day] in str(caught.value)
    assert "What to do: " in str(caught.value)


def test_a_month_that_is_lacking_is_named() -> None:
    with pytest.raises(DayError, match="of 2013-05 there is no file"):
        months("2013-11-15", [month for month in YEAR if month != "2013-05"], unseen=7, most=12)


def test_a_folder_without_files_is_told() -> None:
    with pytest.raises(DayError, match="make sources"):
        months("2013-11-15", [], unseen=7, most=12)


def test_the_months_delivered_are_those_of_the_bureaus_files(tmp_path: Path) -> None:
    for name in ("flights-2013-02.csv", "flights-2013-01.csv", "flights-2013-03.csv.part", "notes.txt"):
        (tmp_path / name).touch()
    assert delivered(tmp_path) == ["2013-01", "2013-02"]


@pytest.mark.parametrize(
    ("day", "number"), [("2013-11-05", 967), ("2013-11-28", 634), ("2013-12-25", 719), ("2013-12-01", 987)]
)
def test_the_flights_of_a_day_are_counted(day: str, number: int, sources: Path) -> None:
    assert arrived(day, sources / "bureau") == number


def so_far(sources: Path, folder: Path, keep: Callable[[list[str]], bool]) -> Path:
    """A folder with those lines of November's file whose fields one keeps."""
    lines = (sources / "bureau" / "flights-2013-11.csv").read_text().splitlines(keepends=True)
    kept = [lines[0], *(line for line in lines[1:] if keep(line.split(",")))]
    (folder / "flights-2013-11.csv").write_text("".join(kept))
    shutil.copy(sources / "bureau" / "flights-2013-10.csv", folder)
    return folder


def test_a_day_that_has_not_arrived_is_told_with_the_last_that_has(sources: Path, tmp_path: Path) -> None:
    folder = so_far(sources, tmp_path, lambda fields: int(fields[2]) <= 4)
    with pytest.raises(DayError, match="no flight of this day has arrived; the last that has is 2013-11-04"):
        arrived("2013-11-05", folder)


def test_half_a_day_is_no_day(sources: Path, tmp_path: Path) -> None:
    folder = so_far(sources, tmp_path, lambda fields: int(fields[2]) < 5 or int(fields[16]) < 12)
    with pytest.raises(DayError, match=r"only \d{3} flights of this day have arrived, of \d{3} a week before"):
        arrived("2013-11-05", folder)


def test_a_line_that_is_no_flight_is_the_contracts_matter(sources: Path, tmp_path: Path) -> None:
    folder = so_far(sources, tmp_path, lambda fields: True)
    with (folder / "flights-2013-11.csv").open("a") as file:
        file.write(",".join(["2013", "11", "x", *["NA"] * 16]) + "\n")
    assert arrived("2013-11-05", folder) == 967


@pytest.mark.parametrize(
    ("until", "days"), [(None, 30), ("2013-11-05", 5), ("2013-11-31", 30), ("2013-12-01", 30), ("2013-10-31", 0)]
)
def test_the_days_of_a_month_up_to_a_day(until: str | None, days: int) -> None:
    assert days_in("2013-11", until) == days


@pytest.mark.parametrize(("number", "within"), [(7, 7), (13, 7), (14, 14), (36, 35)])
def test_whole_weeks_are_counted_from_the_first_day(number: int, within: int) -> None:
    days = pd.Series(pd.date_range("2013-11-01", periods=number)).repeat(2)
    assert days[whole_weeks(days)].nunique() == within
