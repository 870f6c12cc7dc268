"""How good are probabilities? Metrics with intervals from a bootstrap by day.

Flights of one day share its weather and its queues, so that days, not flights, are drawn again (a cluster bootstrap:
Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). All metrics are computed from sums over
days, which makes a thousand resamples cost little more than one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

METRICS = {"roc_auc": "ROC AUC", "brier": "Brier", "log_loss": "log loss", "precision_top20": "precision, top 20 %"}
HIGHER_IS_BETTER = {"roc_auc": True, "brier": False, "log_loss": False, "precision_top20": True}
TOP = 0.2  # share of flights with the highest risk that somebody would act on
TINY = 1e-6  # probabilities are kept this far from 0 and 1 in logarithms


@dataclass(frozen=True)
class Scores:
    """One candidate's probabilities and the truth, reduced to what metrics under weights of days need.

    With D days and n flights: `concordant[d, e]` counts the pairs (late flight of day d, punctual flight of day e) that
    the probabilities put in the right order, ties for a half; `late`, `punctual` (D) count flights; `losses` are sums
    over a day's flights; `day`, `outcome` and `tie` (n) are ordered by falling probability, and `tie` is where a
    flight's run of equal probabilities begins.
    """

    concordant: Floats
    late: Floats
    punctual: Floats
    losses: Mapping[str, Floats]
    day: npt.NDArray[np.int64]
    outcome: Floats
    tie: npt.NDArray[np.int64]

    @classmethod
    def of(cls, late: npt.ArrayLike, probability: npt.ArrayLike, day: npt.ArrayLike) -> Scores:
        """From n outcomes (bool), probabilities, and days (any values, D of them distinct)."""
        y, p = np.asarray(late, np.float64), np.asarray(probability, np.float64)
        codes = np.unique(np.asarray(day), return_inverse=True)[1].astype(np.int64)
        days = int(codes.max()) + 1
        order = np.argsort(-p, kind="stable")
        given = np.clip(np.where(y == 1, p, 1 - p), TINY, 1 - TINY)  # the probability of what happened
        losses = {"brier": (p - y) ** 2, "log_loss": -np.log(given)}
        return cls(
            concordant=_concordant(y == 1, p, codes, days),
            late=_sums(codes, y, days),
            punctual=_sums(codes, 1 - y, days),
            losses={name: _sums(codes, loss, days) for name, loss in losses.items()},
            day=codes[order],
            outcome=y[order],
            tie=np.searchsorted(-p[order], -p[order], side="left"),
        )

    @property
    def days(self) -> int:
        """Number of distinct days, D."""
        return len(self.late)

    def metrics(self, weights: Floats) -> dict[str, Floats]:
        """All metrics for each of R weightings of the days (R x D): one array of length R a metric.

        NaN where the drawn days hold only late or only punctual flights.
        """
        flights = weights @ (self.late + self.punctual)
        losses = {name: weights @ sums / flights for name, sums in self.losses.items()}
        top = np.array([self._top(row) for row in weights])
        return {"roc_auc": self.roc_auc(weights), **losses, "precision_top20": top}

    def roc_auc(self, weights: Floats) -> Floats:
        """ROC AUC for each weighting of the days: the share of (late, punctual) pairs in the right order."""
        pairs = (weights @ self.late) * (weights @ self.punctual)
        right: Floats = ((weights @ self.concordant) * weights).sum(axis=1)
        return right / np.where(pairs > 0, pairs, np.nan)

    def point(self) -> dict[str, float]:
        """The metrics of the flights as they are."""
        return {name: float(values[0]) for name, values in self.metrics(np.ones((1, self.days))).items()}

    def with_intervals(self, weights: Floats) -> dict[str, float]:
        """The metrics, and their 95 % intervals over weightings of the days (R x D) as `<name>_low`, `<name>_high`."""
        found = self.point()
        for name, values in self.metrics(weights).items():
            found[f"{name}_low"], found[f"{name}_high"] = interval(values)
        return found

    def _top(self, weights: Floats) -> float:
        """Share of late flights among the TOP share with the highest risk; a tie at the edge counts in part."""
        flights = np.cumsum(weights[self.day])
        size = TOP * flights[-1]
        first, after = _tie_at(self.tie, int(np.searchsorted(flights, size)))
        above = flights[first - 1] if first else 0.0
        late = (weights[self.day[:after]] * self.outcome[:after]).cumsum()
        late_above = late[first - 1] if first else 0.0
        part = (size - above) / (flights[after - 1] - above)
        return float((late_above + part * (late[-1] - late_above)) / size)


def resamples(days: int, number: int, seed: int) -> Floats:
    """How often each of `days` days is drawn in each of `number` bootstrap samples (number x days)."""
    draws = np.random.default_rng(seed).multinomial(days, np.full(days, 1 / days), size=number)
    return draws.astype(np.float64)


def interval(values: Floats) -> tuple[float, float]:
    """The 95 % percentile interval of a bootstrap's values."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def compare(candidates: Mapping[str, Scores], weights: Floats) -> pd.DataFrame:
    """Every candidate's metrics: columns candidate, metric, value, low, high (95 %); best ROC AUC first."""
    rows = []
    for name, scores in candidates.items():
        point, drawn = scores.point(), scores.metrics(weights)
        rows += [(name, metric, point[metric], *interval(drawn[metric])) for metric in METRICS]
    table = pd.DataFrame(rows, columns=["candidate", "metric", "value", "low", "high"])
    rank = table[table["metric"] == "roc_auc"].set_index("candidate")["value"].rank(ascending=False)
    return table.sort_values("candidate", key=lambda names: names.map(rank), kind="stable", ignore_index=True)


def differences(candidates: Mapping[str, Scores], best: str, weights: Floats) -> pd.DataFrame:
    """The best candidate minus each other one, on the same drawn days: candidate, metric, value, low, high.

    `noise` is True where the 95 % interval of the difference holds zero.
    """
    point, drawn = candidates[best].point(), candidates[best].metrics(weights)
    rows = []
    for name in [name for name in candidates if name != best]:
        other, other_drawn = candidates[name].point(), candidates[name].metrics(weights)
        rows += [(name, m, point[m] - other[m], *interval(drawn[m] - other_drawn[m])) for m in METRICS]
    table = pd.DataFrame(rows, columns=["candidate", "metric", "value", "low", "high"])
    return table.assign(noise=(table["low"] <= 0) & (table["high"] >= 0))


def written(table: pd.DataFrame, sign: str = "") -> pd.DataFrame:
    """What `compare` or `differences` found, to be read: a row a candidate, a column a metric, "value (low to high)".

    `sign` is "+" to write the signs of differences; those that may be noise are marked "(?)".
    """
    number = f"{{:{sign}.4f}}".format
    said = [f"{number(v)} ({number(low)} to {number(high)})" for v, low, high in table[["value", "low", "high"]].values]
    if "noise" in table:
        said = [f"{text} (?)" if noise else text for text, noise in zip(said, table["noise"], strict=True)]
    wide = table.assign(said=said).pivot(index="candidate", columns="metric", values="said")
    order = table["candidate"].unique()
    return wide.loc[order, list(METRICS)].rename(columns=METRICS).rename_axis(None).rename_axis(None, axis=1)


def by_group(
    frame: pd.DataFrame, group: str, probabilities: Mapping[str, Floats], number: int, seed: int
) -> pd.DataFrame:
    """ROC AUC of each candidate within each value of a column, with 95 % intervals by day.

    `frame` holds `late`, `day` and `group`. Columns: group, flights, late (share), candidate, value, low, high.
    """
    rows = []
    for value, places in frame.groupby(group, observed=True).indices.items():
        part = frame.iloc[places]
        weights = resamples(part["day"].nunique(), number, seed)
        for name, probability in probabilities.items():
            scores = Scores.of(part["late"], probability[places], part["day"])
            whole = scores.roc_auc(np.ones((1, scores.days)))[0]
            rows.append((value, len(part), part["late"].mean(), name, whole, *interval(scores.roc_auc(weights))))
    return pd.DataFrame(rows, columns=[group, "flights", "late", "candidate", "value", "low", "high"])


def _concordant(late: npt.NDArray[np.bool_], p: Floats, day: npt.NDArray[np.int64], days: int) -> Floats:
    """Pairs in the right order for each day of the late flight (row) and of the punctual one (column)."""
    risk, row = p[late], day[late]
    table = np.empty((days, days))
    order = np.argsort(risk, kind="stable")  # neighbouring look-ups then hit the same cache lines
    risk, row = risk[order], row[order]
    for column in range(days):
        punctual = np.sort(p[~late & (day == column)])
        below = np.searchsorted(punctual, risk, side="left")
        upto = np.searchsorted(punctual, risk, side="right")
        table[:, column] = np.bincount(row, (below + upto) / 2, days)
    return table


def _sums(day: npt.NDArray[np.int64], values: Floats, days: int) -> Floats:
    return np.bincount(day, values, days).astype(np.float64)


def _tie_at(tie: npt.NDArray[np.int64], place: int) -> tuple[int, int]:
    """First place of the run of equal values that holds `place`, and the place after its last."""
    first = int(tie[place])
    return first, int(np.searchsorted(tie, first, side="right"))
