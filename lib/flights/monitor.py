"""How predictions hold up from day to day, once it is known what happened."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from flights.evaluate import Floats, Scores
from flights.features import DAY, LABEL


@dataclass(frozen=True)
class Excess:
    """Mean probability less the share of late flights, with its 95 % interval: above 0 too many were predicted."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What follows from it, in words."""
        if self.low > 0:
            return "more late flights are predicted than happen"
        return "more late flights happen than are predicted" if self.high < 0 else "the level is right, up to chance"


def by_day(table: pd.DataFrame, probability: Floats) -> pd.DataFrame:
    """One row a day: `flights`, mean probability (`predicted`), share of late flights (`happened`), `roc_auc`, `brier`.

    `roc_auc` is NaN for a day on which all flights were late, or none.
    """
    days = table[[DAY, LABEL]].assign(predicted=probability, brier=(probability - table[LABEL]) ** 2).groupby(DAY)
    means = days[["predicted", LABEL, "brier"]].mean().rename(columns={LABEL: "happened"})
    auc = {day: _roc_auc(part) for day, part in days}
    return means.assign(flights=days.size(), roc_auc=pd.Series(auc, dtype="float64"))


def excess(table: pd.DataFrame, probability: Floats) -> Excess:
    """The excess over all days of the table, two at least.

    The interval is that of a ratio of sums over days (Cochran, Sampling Techniques, 3rd ed. 1977, ch. 6), by Student's
    t, which is honest about a week of days.
    """
    daily = (probability - table[LABEL]).groupby(table[DAY]).agg(["sum", "size"])
    value = float(daily["sum"].sum() / daily["size"].sum())
    number = len(daily)
    residual = daily["sum"] - value * daily["size"]
    error = float(np.sqrt(number / (number - 1) * (residual**2).sum())) / len(table)
    margin = error * float(stats.t.ppf(0.975, number - 1))
    return Excess(value, value - margin, value + margin)


def _roc_auc(part: pd.DataFrame) -> float:
    scores = Scores.of(part[LABEL], part["predicted"], np.zeros(len(part)))
    return float(scores.roc_auc(np.ones((1, 1)))[0])
