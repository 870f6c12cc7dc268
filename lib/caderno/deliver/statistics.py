"""Is one model better than another on the same rows? Pure functions of outcomes, predictions and units.

Rows of one day share their weather, so they are not independent: what is drawn anew is the *unit* (a day, a patient, a
shop), with all of its rows, and both models are always judged on the same draw. The bootstrap gives the standard error
of the difference, Student's t how many of them an interval reaches: that covers with thirty units, where percentiles of
the draws fall short, and answers for confidences that no number of draws would show. Where every row is a unit of its
own, DeLong's test needs no draws (E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the Areas under Two or
More Correlated Receiver Operating Characteristic Curves", Biometrics 44, 1988), computed by ranks (X. Sun, W. Xu, "Fast
Implementation of DeLong's Algorithm", IEEE Signal Process. Lett. 21, 2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

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
    """Return how much the candidate's metric is above the champion's, by a paired bootstrap over `units`.

    Draws in which the metric is not defined (no day with a positive) count as not drawn; where that is more than one in
    twenty, too few units have what it needs, and the interval is NaN. Raises ValueError where there are fewer than two
    units.
    """
    if units < 2:
        raise ValueError("a single unit says nothing of chance")

    def between(weights: Floats) -> Floats:
        return candidate(weights) - champion(weights)

    value = float(between(np.ones((1, units)))[0])
    random = np.random.default_rng(seed)
    drawn = between(random.multinomial(units, np.full(units, 1 / units), size=draws).astype(np.float64))
    defined = drawn[np.isfinite(drawn)]
    margin = reach(defined, units, confidence) if len(defined) >= 0.95 * draws else math.nan
    return Difference(value, value - margin, value + margin, confidence, units)


def reach(drawn: Floats, units: int, confidence: float) -> float:
    """Return how far an interval goes to either side: the draws' standard deviation by Student's t of `units` - 1.

    The variance of units drawn with replacement is (units - 1) / units of what it should be, which is put right (T. C.
    Hesterberg, "What Teachers Should Know About the Bootstrap", Am. Stat. 69, 2015). Equal models differ as often one
    way as the other, and for such differences the t quantile is on the safe side even where their tails are long (B.
    Efron, "Student's t-Test Under Symmetry Conditions", J. Am. Stat. Assoc. 64, 1969).
    """
    error = float(drawn.std(ddof=1)) * math.sqrt(units / (units - 1))
    return error * float(stats.t.isf((1 - confidence) / 2, units - 1))


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


def calibration_in_the_large(outcome: npt.ArrayLike, probability: npt.ArrayLike, unit: npt.ArrayLike) -> Metric:
    """Return the mean probability less the share of outcomes: 0 is right, above it too much is said.

    The weakest level in B. Van Calster et al., "A calibration hierarchy for risk models was defined", J. Clin.
    Epidemiol. 74, 2016.
    """
    return mean_of(np.asarray(probability, float) - np.asarray(outcome, float), unit)


def calibration_slope(outcome: npt.ArrayLike, probability: npt.ArrayLike, unit: npt.ArrayLike) -> Metric:
    """Return the slope of a logistic regression of the outcome on the logit: 1 is right, less too extreme.

    D. R. Cox, "Two Further Applications of a Model for Binary Regression", Biometrika 45, 1958. Probabilities are kept
    1e-15 away from certainty. NaN where no finite slope fits best: all outcomes are the same, or the logit parts them.
    """
    places, _ = _places(unit)
    p = np.clip(np.asarray(probability, float), 1e-15, 1 - 1e-15)
    y, design = np.asarray(outcome, float), np.column_stack([np.ones(len(p)), special.logit(p)])
    return lambda weights: np.array([_logistic(design, y, row[places])[1] for row in weights])


METRICS: Mapping[str, Callable[[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], Metric]] = {
    "roc_auc": roc_auc,
    "brier": brier,
    "log_loss": log_loss,
    "mean_absolute_error": mean_absolute_error,
    "root_mean_squared_error": root_mean_squared_error,
}
GREATER_IS_BETTER = frozenset({"roc_auc"})
# Neither more nor less of these is better: they can be bounded, but do not decide between two models.
DESCRIBING: Mapping[str, Callable[[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], Metric]] = {
    "calibration_slope": calibration_slope,
    "calibration_in_the_large": calibration_in_the_large,
}


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
    by_score = np.argsort(score[positive])
    positives, whose = score[positive][by_score], places[positive][by_score]
    # From where on, in the order of scores, positives are at least as high as a negative, and from where on higher.
    equal = np.searchsorted(positives, score[~positive], "left")
    higher = np.searchsorted(positives, score[~positive], "right")
    negatives, ends = places[~positive], len(positives) + 1
    found = np.zeros((count, count))
    for unit in range(count):
        mine = negatives == unit
        begins = np.bincount(equal[mine], minlength=ends) + np.bincount(higher[mine], minlength=ends)
        found[:, unit] = np.bincount(whose, np.cumsum(begins)[:-1] / 2, count)
    return found


def _logistic(design: Floats, y: Floats, weights: Floats) -> Floats:
    """Return the coefficients of a weighted logistic regression by Newton's method with halved steps; NaN without."""

    def loss(at: Floats) -> float:
        return float(weights @ (np.logaddexp(0, design @ at) - y * (design @ at)))

    at, none = np.zeros(design.shape[1]), np.full(design.shape[1], np.nan)
    for _ in range(100):
        p = special.expit(design @ at)
        slope, bend = design.T @ (weights * (y - p)), (design.T * (weights * p * (1 - p))) @ design
        if np.linalg.cond(bend) > 1e12:
            return none
        step = np.linalg.solve(bend, slope)
        if np.abs(step).max() < 1e-6:  # what is left is its square
            return at + step
        while loss(at + step) > loss(at) and np.abs(step).max() > 1e-6:
            step = step / 2
        at = at + step
    return none


def _places(unit: npt.ArrayLike) -> tuple[npt.NDArray[Any], int]:
    known, places = np.unique(np.asarray(unit), return_inverse=True)
    return places, len(known)


def _divided(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
