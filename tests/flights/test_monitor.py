"""Predictions are held against what happened, day by day, and their level with an honest interval."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from flights import monitor, plots


def table(late: list[list[int]]) -> pd.DataFrame:
    """Flights of some days; one list a day."""
    rows = [(pd.Timestamp("2013-11-01") + pd.Timedelta(days=day), one) for day, some in enumerate(late) for one in some]
    return pd.DataFrame(rows, columns=["day", "late"]).astype({"late": "bool"})


def test_each_day_has_its_figures() -> None:
    found = monitor.by_day(table([[0, 1], [0, 1, 1, 1]]), np.array([0.2, 0.6, 0.9, 0.8, 0.8, 0.95]))
    assert found["flights"].tolist() == [2, 4]
    assert found["predicted"].tolist() == pytest.approx([0.4, 0.8625])
    assert found["happened"].tolist() == [0.5, 0.75]
    assert found["roc_auc"].tolist() == pytest.approx([1.0, 1 / 3])
    assert found["brier"].tolist()[0] == pytest.approx((0.04 + 0.16) / 2)


def test_a_day_without_a_late_flight_has_no_roc_auc() -> None:
    found = monitor.by_day(table([[0, 0], [0, 1]]), np.array([0.2, 0.6, 0.1, 0.8]))
    assert found["roc_auc"].isna().tolist() == [True, False]


def test_the_excess_is_what_was_predicted_beyond_what_happened() -> None:
    some = table([[0, 1] * 5] * 7)
    found = monitor.excess(some, np.full(len(some), 0.6))
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(found.high)
    assert found.verdict == "more late flights are predicted than happen"
    assert monitor.excess(some, np.full(len(some), 0.3)).verdict == "more late flights happen than are predicted"


def test_the_interval_of_a_week_holds_what_it_promises() -> None:
    random = np.random.default_rng(5)
    held = 0
    for _ in range(600):
        risk = random.beta(2, 6, 7)  # days differ; on average a quarter is late, as predicted
        some = table([list(random.random(50) < one) for one in risk])
        found = monitor.excess(some, np.full(len(some), 0.25))
        held += found.low <= 0 <= found.high
    assert 0.92 <= held / 600 <= 0.98


def test_the_pictures_show_every_day_and_every_hour() -> None:
    days = monitor.by_day(table([[0, 1], [0, 0], [0, 1, 1]]), np.linspace(0.1, 0.7, 7))
    fig = plots.days(days, 0.7, "boosting")
    happened, predicted = fig.axes[0].lines
    assert len(happened.get_xdata()) == len(predicted.get_xdata()) == 3
    assert fig.axes[1].get_ylabel() == "ROC AUC"
    plt.close(fig)
    fig = plots.hours(pd.DataFrame({"flights": [10, 20], "expected": [2.5, 8.0]}, index=[6.0, 7.0]), "A day")
    assert [bar.get_height() for bar in fig.axes[0].patches] == [10, 20, 2.5, 8.0]
    plt.close(fig)
