"""Shares of late flights, with days as the unit of chance."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from flights.lateness import late_share, plot_share, said, with_lateness, with_weather

NOON = pd.Timestamp("2013-03-10 12:00", tz="America/New_York")


def departures(**columns: object) -> pd.DataFrame:
    """Three departures from JFK around noon of the day on which the clocks went forward."""
    times = [NOON, NOON + pd.Timedelta(minutes=59), NOON + pd.Timedelta(hours=12)]
    good = {
        "origin": "JFK",
        "scheduled_departure": times,
        "dep_delay": [14.0, 15.0, np.nan],
        "cancelled": [False, False, True],
    }
    table = pd.DataFrame(good | columns)
    return table.assign(
        scheduled_departure=table["scheduled_departure"].dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    )


def test_late_is_15_minutes_or_more_or_not_at_all() -> None:
    assert with_lateness(departures())["late"].tolist() == [False, True, True]


def test_day_and_hour_are_new_yorks() -> None:
    table = with_lateness(departures())
    assert table["hour"].tolist() == [12, 12, 0]
    assert table["day"].tolist() == [pd.Timestamp("2013-03-10")] * 2 + [pd.Timestamp("2013-03-11")]
    assert table["weekday"].tolist() == ["Sun", "Sun", "Mon"]
    assert table["month"].unique().tolist() == ["2013-03"]


def test_weather_is_the_last_that_was_known_at_the_airport_two_hours_before() -> None:
    hours = [NOON - pd.Timedelta(hours=h) for h in (6, 3, 2, 0)]
    weather = pd.DataFrame({"origin": "JFK", "observed": hours, "temp": [6.0, 3.0, 2.0, 0.0]})
    weather = pd.concat([weather, weather.assign(origin="EWR", observed=NOON - pd.Timedelta(hours=2), temp=99.0)])
    weather["observed"] = weather["observed"].dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    table = with_weather(departures(), weather, pd.Timedelta(hours=2))
    # At noon: what is stamped 10:00 was known at 11:00, too late, so 9:00 counts; twelve hours on, all is too old.
    np.testing.assert_array_equal(table["temp"], [3.0, 3.0, np.nan])


def test_shares_are_counted_in_each_group() -> None:
    days = pd.to_datetime(["2013-01-01"] * 3 + ["2013-01-02"] * 3)
    table = pd.DataFrame({"day": days, "late": [True, False, False, True, True, False], "origin": list("AABAAB")})
    shares = late_share(table, "origin")
    assert shares.loc["A", ["flights", "late"]].tolist() == [4, 0.75]
    assert shares.loc["B", ["flights", "late", "low", "high"]].tolist() == [2, 0.0, 0.0, 0.0]


def test_a_group_that_flies_on_one_day_only_has_no_interval() -> None:
    table = pd.DataFrame({"day": pd.Timestamp("2013-01-01"), "late": [True, False], "origin": "A"})
    assert late_share(table, "origin").loc["A", ["low", "high"]].isna().all()


def test_intervals_are_those_of_a_bootstrap_by_day() -> None:
    random = np.random.default_rng(3)
    sizes = random.integers(20, 80, 200)
    risks = random.beta(2, 6, 200)  # days differ, and flights of a day share its risk
    table = pd.DataFrame({"day": np.repeat(np.arange(200), sizes), "group": "all"})
    table["late"] = random.random(len(table)) < np.repeat(risks, sizes)
    found = late_share(table, "group").loc["all"]
    daily = table.groupby("day")["late"].agg(["sum", "size"]).to_numpy()
    draws = daily[random.integers(0, 200, (4000, 200))].sum(axis=1)
    low, high = np.quantile(draws[:, 0] / draws[:, 1], [0.025, 0.975])
    assert found["low"] == pytest.approx(low, abs=0.002)
    assert found["high"] == pytest.approx(high, abs=0.002)
    naive = 1.96 * np.sqrt(found["late"] * (1 - found["late"]) / len(table))
    assert found["high"] - found["late"] > 2 * naive  # what flights taken as independent would claim


def test_a_plot_shows_each_group_and_the_overall_share() -> None:
    shares = pd.DataFrame(
        {"flights": [5, 5], "late": [0.2, 0.4], "low": [0.1, 0.3], "high": [0.3, 0.5]}, index=["A", "B"]
    )
    figure, ax = plt.subplots()
    plot_share(shares, ax, "By letter", "letter", 0.3)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["A", "B"]
    assert ax.lines[0].get_ydata() == [30.0, 30.0]
    assert ax.get_ylabel() == "late or cancelled (%)"
    assert said(shares, "B") == "40.0 % ± 10.0"
    assert said(shares.assign(low=np.nan, high=np.nan), "B") == "40.0 %"  # of a single day there is no interval
    plt.close(figure)
