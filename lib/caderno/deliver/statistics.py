"""Is one model better than another on the same rows? Pure functions of outcomes, predictions and units.

Rows of one day share their weather, so they are not independent: what is drawn anew is the *unit* (a day, a patient, a
shop), with all of its rows, and both models are always judged on the same draw. Intervals are BCa, bias-corrected and
accelerated (B. Efron, "Better Bootstrap Confidence Intervals", J. Am. Stat. Assoc. 82, 1987), the acceleration by the
jackknife over units. Where every row is a unit of its own, DeLong's test needs no draws (E. R. DeLong, D. M. DeLong,
D. L. Clarke-Pearson, Biometrics 44, 1988), computed by ranks (X. Sun, W. Xu, IEEE Signal Process. Lett. 21, 2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
# Weights of units (R x D) -> the metric for each of R weightings; made once for a model's predictions.
Metric = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Difference:
    """Candidate minus champion: the value, and its interval at `confidence`, over `units` units."""

    value: float
    low: float
    high: float
    confidence: float
    units: int


def confidence_of(look: int, error: float = 0.05) -> float:
    """Return the confidence of the interval at the `look`-th question (from 1) to the same rows.

    Asked again and again, chance will say yes some day. So the k-th question is judged at the error
    `error` / (k (k + 1)); as these add up to `error`, it bounds the chance that any of them, however many, is answered
    wrongly with yes (a Bonferroni bound with a sequence that sums to one).
    """
    return 1 - error / (look * (look + 1))


def difference(
    candidate: Metric, champion: Metric, units: int, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> Difference:
    """Return how much the candidate's metric is above the champion's, by a paired BCa bootstrap over `units`.

    Draws in which the metric is not defined (a day without a positive) count as not drawn. Raises ValueError where
    there are fewer than two units.
    """
    if units < 2:
        raise ValueError("a single unit says nothing of chance")

    def between(weights: Floats) -> Floats:
        return candidate(weights) - champion(weights)

    value = float(between(np.ones((1, units)))[0])
    random = np.random.default_rng(seed)
    drawn = between(random.multinomial(units, np.full(units, 1 / units), size=draws).astype(np.float64))
    drawn = drawn[np.isfinite(drawn)]
    left_out = between(1 - np.eye(units))
    low, high = bca(value, drawn, left_out[np.isfinite(left_out)], confidence)
    return Difference(value, low, high, confidence, units)


def bca(value: float, drawn: Floats, left_out: Floats, confidence: float) -> tuple[float, float]:
    """Return the BCa interval of a bootstrap: `drawn` are its values, `left_out` the jackknife's (one unit less each).

    Where all draws are the same there is no spread, and the interval is that value.
    """
    if len(drawn) == 0:
        return math.nan, math.nan
    if np.ptp(drawn) == 0:
        return float(drawn[0]), float(drawn[0])
    below = (np.sum(drawn < value) + 0.5 * np.sum(drawn == value)) / len(drawn)
    bias = stats.norm.ppf(min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
    apart = left_out.mean() - left_out
    spread = float((apart**2).sum())
    bend = float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    # The jackknife's spread of few units is too small by itself: the normal quantile is widened as Student's is.
    tail = stats.norm.ppf(stats.norm.cdf(-abs(stats.t.ppf((1 - confidence) / 2, len(left_out) - 1))))
    ends = []
    for z in (tail, -tail):
        moved = bias + (bias + z) / max(1 - bend * (bias + z), 1e-9)
        ends.append(float(np.quantile(drawn, stats.norm.cdf(moved))))
    return ends[0], ends[1]


# Metrics, made for one model's predictions.


def mean_of(losses: npt.ArrayLike, unit: npt.ArrayLike) -> Metric:
    """Return the mean over rows of `losses`, one for each row: Brier's score, log loss, an absolute error."""
    places, count = _places(unit)
    sums = np.bincount(places, np.asarray(losses, float), count)
    rows = np.bincount(places, minlength=count).astype(np.float64)
    return lambda weights: _divided(weights @ sums, weights @ rows)


def roc_auc(outcome: npt.ArrayLike, score: npt.ArrayLike, unit: npt.ArrayLike) -> Metric:
    """Return the area under the ROC curve: the share of (positive, negative) pairs in the right order, ties half.

    All pairs of units are counted once (D x D numbers), so that any weighting of the units is a matter of products.
    """
    places, count = _places(unit)
    positive = np.asarray(outcome).astype(bool)
    pairs = _ordered(positive, np.asarray(score, float), places, count)
    positives = np.bincount(places[positive], minlength=count).astype(np.float64)
    negatives = np.bincount(places[~positive], minlength=count).astype(np.float64)

    def metric(weights: Floats) -> Floats:
        right = ((weights @ pairs) * weights).sum(axis=1)
        return _divided(right, (weights @ positives) * (weights @ negatives))

    return metric


def brier(outcome: npt.ArrayLike, probability: npt.ArrayLike, unit: npt.ArrayLike) -> Metric:
    """Return the mean squared error of probabilities: less is better."""
    return mean_of((np.asarray(probability, float) - np.asarray(outcome, float)) ** 2, unit)


def log_loss(outcome: npt.ArrayLike, probability: npt.ArrayLike, unit: npt.ArrayLike) -> Metric:
    """Return the mean negative log likelihood, probabilities kept 1e-15 away from certainty: less is better."""
    p = np.clip(np.asarray(probability, float), 1e-15, 1 - 1e-15)
    y = np.asarray(outcome, float)
    return mean_of(-(y * np.log(p) + (1 - y) * np.log(1 - p)), unit)


def mean_absolute_error(outcome: npt.ArrayLike, prediction: npt.ArrayLike, unit: npt.ArrayLike) -> Metric:
    """Return the mean absolute error: less is better."""
    return mean_of(np.abs(np.asarray(prediction, float) - np.asarray(outcome, float)), unit)


def root_mean_squared_error(outcome: npt.ArrayLike, prediction: npt.ArrayLike, unit: npt.ArrayLike) -> Metric:
    """Return the root of the mean squared error: less is better."""
    squared = mean_of((np.asarray(prediction, float) - np.asarray(outcome, float)) ** 2, unit)
    return lambda weights: np.sqrt(squared(weights))


METRICS: Mapping[str, Callable[[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], Metric]] = {
    "roc_auc": roc_auc,
    "brier": brier,
    "log_loss": log_loss,
    "mean_absolute_error": mean_absolute_error,
    "root_mean_squared_error": root_mean_squared_error,
}
GREATER_IS_BETTER = frozenset({"roc_auc"})
DESCRIBING: Mapping[str, Callable[[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], Metric]] = {}


# Independent rows.


def delong(
    outcome: npt.ArrayLike, candidate: npt.ArrayLike, champion: npt.ArrayLike, confidence: float = 0.95
) -> Difference:
    """Return the difference of two areas under ROC curves on the same independent rows, by DeLong's method.

    Raises ValueError where there are not two positives and two negatives.
    """
    positive = np.asarray(outcome).astype(bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if m < 2 or n < 2:
        raise ValueError("needs two positives and two negatives")
    above, below, areas = [], [], []
    for score in (np.asarray(candidate, float), np.asarray(champion, float)):
        of_positives, of_negatives = score[positive], score[~positive]
        every = stats.rankdata(np.concatenate([of_positives, of_negatives]))
        above.append((every[:m] - stats.rankdata(of_positives)) / n)
        below.append(1 - (every[m:] - stats.rankdata(of_negatives)) / m)
        areas.append(float(above[-1].mean()))
    covariance = np.cov(above) / m + np.cov(below) / n
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    margin = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt(max(variance, 0.0))
    value = areas[0] - areas[1]
    return Difference(value, value - margin, value + margin, confidence, m + n)


def _ordered(positive: npt.NDArray[Any], score: Floats, places: npt.NDArray[Any], count: int) -> Floats:
    """Return for each two units how many (positive of the first, negative of the second) are in the right order."""
    found = np.zeros((count, count))
    for unit in range(count):
        negatives = np.sort(score[(places == unit) & ~positive])
        if len(negatives) == 0:
            continue
        mine = score[positive]
        lower, upper = np.searchsorted(negatives, mine, "left"), np.searchsorted(negatives, mine, "right")
        found[:, unit] = np.bincount(places[positive], (lower + upper) / 2, count)
    return found


def _places(unit: npt.ArrayLike) -> tuple[npt.NDArray[Any], int]:
    known, places = np.unique(np.asarray(unit), return_inverse=True)
    return places, len(known)


def _divided(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
