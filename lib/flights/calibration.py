"""Do probabilities mean what they say? Calibration curves and their slope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from flights.evaluate import TINY, Floats, interval


@dataclass(frozen=True)
class Recalibration:
    """Logistic regression of the outcome on logit(probability): slope 1 and intercept 0 are perfect.

    A slope below 1 means probabilities that are too extreme, above 1 too timid (Cox, Biometrika 45, 1958). `error` is
    the slope's standard error, robust to what the flights of a day have in common.
    """

    slope: float
    intercept: float
    error: float


def recalibrate(late: npt.ArrayLike, probability: npt.ArrayLike, day: npt.ArrayLike, steps: int = 25) -> Recalibration:
    """Fit by Newton's method; the standard error is the sandwich estimator with days as clusters."""
    y, p = np.asarray(late, np.float64), np.clip(np.asarray(probability, np.float64), TINY, 1 - TINY)
    x = np.column_stack([np.ones(len(p)), np.log(p / (1 - p))])
    beta = np.array([0.0, 1.0])
    for _ in range(steps):
        fitted = 1 / (1 + np.exp(-x @ beta))
        bread = np.linalg.inv((x * (fitted * (1 - fitted))[:, None]).T @ x)
        step = bread @ (x.T @ (y - fitted))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    codes = np.unique(np.asarray(day), return_inverse=True)[1]
    residual = x * (y - fitted)[:, None]
    clusters = np.column_stack([np.bincount(codes, column) for column in residual.T])
    covariance = bread @ (clusters.T @ clusters) @ bread
    return Recalibration(slope=float(beta[1]), intercept=float(beta[0]), error=float(covariance[1, 1] ** 0.5))


def curve(
    late: npt.ArrayLike, probability: npt.ArrayLike, day: npt.ArrayLike, weights: Floats, bins: int = 10
) -> pd.DataFrame:
    """Observed share of late flights against the mean probability, in bins with equally many flights.

    Columns: predicted, observed, low, high (95 %, days drawn by `weights`, R x D), flights. Equal probabilities stay
    together, so that a candidate with few distinct ones has fewer bins.
    """
    y, p = np.asarray(late, np.float64), np.asarray(probability, np.float64)
    codes = np.unique(np.asarray(day), return_inverse=True)[1]
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1))[1:-1])
    place = np.searchsorted(edges, p, side="right")
    rows = []
    for number in np.unique(place):
        chosen = place == number
        counts = np.bincount(codes[chosen], minlength=weights.shape[1])
        sums = np.bincount(codes[chosen], y[chosen], minlength=weights.shape[1])
        with np.errstate(invalid="ignore"):  # a bin may hold none of the drawn days' flights
            drawn = (weights @ sums) / (weights @ counts)
        rows.append((p[chosen].mean(), y[chosen].mean(), *interval(drawn), int(chosen.sum())))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "flights"])
