"""How often chance misleads the gate, where the truth is known: intervals, equal models asked again, and power.

Simulated are days of rows. What happens to a row is a normal latent number, a tenth of whose variance the rows of its
day share; a fifth of the rows, those with the highest, are late. A model sees that number with a correlation that its
true ROC AUC fixes, and an error that is by 5 % its own of the day, by 75 % what all models of the row have in common,
and by 20 % its own of the row. All is jointly normal, so the AUC and Brier's score of a model are known numbers; days
have unlike numbers of rows. In `rough` ones the day's shares have the long tails of Student's t with 3 degrees of
freedom: there only equal models have a known difference, none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from scipy import integrate, optimize, stats

from caderno.deliver import statistics as own
from caderno.deliver.gate import Evidence, Gate, decide
from caderno.deliver.statistics import Difference, Floats, Metric, confidence_of, difference

LATE = 0.2
BAR = float(stats.norm.isf(LATE))  # a row whose latent number is above it is late
CHAMPION = 0.75  # its true ROC AUC
OF_DAY = 0.1  # the share of the latent variance that a day's rows have in common
OWN_OF_DAY, IN_COMMON = 0.05, 0.75  # shares of a model's error
LOOKS = 20
Rows = Literal["the same rows", "growing rows", "new rows"]


def chances(score: Floats, correlation: float) -> Floats:
    """Return how likely rows of these scores are late."""
    found: Floats = stats.norm.cdf((correlation * score - BAR) / math.sqrt(1 - correlation**2))
    return found


def area(correlation: float) -> float:
    """Return the true ROC AUC of a score with this correlation to the latent number, for rows of two days."""
    score = np.linspace(-8, 8, 8001)
    late, density = chances(score, correlation), stats.norm.pdf(score)
    below = integrate.cumulative_trapezoid(density * (1 - late), score, initial=0)
    return float(integrate.trapezoid(density * late * below, score)) / (LATE * (1 - LATE))


@cache
def correlation(auc: float) -> float:
    """Return the correlation that a true ROC AUC needs."""
    return float(optimize.brentq(lambda r: area(r) - auc, 0.01, 0.99))


def probability(score: Floats, auc: float) -> Floats:
    """Return what the score of a model says of being late, calibrated."""
    return chances(score, correlation(auc))


def brier(auc: float) -> float:
    """Return the true Brier's score of a calibrated model."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    p = probability(nodes, auc)
    return float(weights @ (p * (1 - p)) / weights.sum())


@dataclass(frozen=True)
class Days:
    """Rows of days in order: what happened, and what all models err in."""

    random: np.random.Generator
    day: np.ndarray
    latent: Floats
    in_common: Floats
    rough: bool

    @property
    def late(self) -> np.ndarray:
        return self.latent > BAR

    def score(self, auc: float = CHAMPION) -> Floats:
        """Return the predictions of another model."""
        r, rows = correlation(auc), len(self.day)
        error = math.sqrt(OWN_OF_DAY) * shares(self.random, self.day, self.rough)
        error += math.sqrt(IN_COMMON) * self.in_common
        error += math.sqrt(1 - OWN_OF_DAY - IN_COMMON) * self.random.normal(size=rows)
        return r * self.latent + math.sqrt(1 - r * r) * error

    def roc_auc(self, score: Floats, days: int) -> Metric:
        """Return the metric on the first `days` days."""
        some = self.day < days
        return own.roc_auc(self.late[some], score[some], self.day[some])


def shares(random: np.random.Generator, day: np.ndarray, rough: bool) -> Floats:
    """Return for each row what its day has, of variance one."""
    count = day[-1] + 1
    found: Floats = random.standard_t(3, count) / math.sqrt(3) if rough else random.normal(size=count)
    return found[day]


def simulate(random: np.random.Generator, days: int, rows: int, rough: bool = False) -> Days:
    sizes = np.maximum(2, rows * random.lognormal(-0.045, 0.3, days)).astype(int)
    day = np.repeat(np.arange(days), sizes)
    latent = math.sqrt(OF_DAY) * shares(random, day, rough) + math.sqrt(1 - OF_DAY) * random.normal(size=len(day))
    return Days(random, day, latent, random.normal(size=len(day)), rough)


def coverage(
    days: int, gain: float, repetitions: int, rough: bool = False, rows: int = 50, draws: int = 1000
) -> dict[str, float]:
    """Return by metric how often an interval of 95 % holds the true difference."""
    areas = CHAMPION + gain, CHAMPION
    truth = {"roc_auc": gain, "brier": brier(areas[0]) - brier(areas[1])}
    held = dict.fromkeys(truth, 0)
    for seed in range(repetitions):
        made = simulate(np.random.default_rng([seed, days]), days, rows, rough)
        says = [probability(made.score(auc), auc) for auc in areas]
        for name, true in truth.items():
            candidate, champion = (own.METRICS[name](made.late, p, made.day) for p in says)
            found = difference(candidate, champion, days, draws=draws, seed=seed)
            held[name] += found.low <= true <= found.high
    return {name: count / repetitions for name, count in held.items()}


def promoted(found: Difference) -> bool:
    return decide(Evidence({}, found), Gate("roc_auc")).outcome == "promote"


def looks(seed: int, how: Rows, days: int, rows: int, draws: int, rough: bool) -> Iterator[Difference]:
    """Ask for equal candidates, one after the other, each with the confidence of its look."""
    random = np.random.default_rng([seed, 7])
    more = 2 if how == "growing rows" else 0
    made = simulate(random, days + more * (LOOKS - 1), rows, rough)
    champion = made.score()
    for look in range(1, LOOKS + 1):
        if how == "new rows":
            made = simulate(random, days, rows, rough)
            champion = made.score()
        known = days + more * (look - 1)
        candidate = made.roc_auc(made.score(), known)
        yield difference(candidate, made.roc_auc(champion, known), known, confidence_of(look), draws, seed)


def misled(
    how: Rows, repetitions: int, days: int = 30, rows: int = 50, draws: int = 1000, rough: bool = False
) -> tuple[float, float, float]:
    """Return how often an equal candidate is promoted: the first, any of 20, and any of 20 at 95 % each time."""
    once = ever = careless = 0
    for seed in range(repetitions):
        found = list(looks(seed, how, days, rows, draws, rough))
        once += promoted(found[0])
        ever += any(promoted(one) for one in found)
        careless += any(promoted(at(one, 0.95)) for one in found)
    return once / repetitions, ever / repetitions, careless / repetitions


def at(one: Difference, confidence: float) -> Difference:
    """Return the same difference with the interval of another confidence."""
    reaches, reached = (stats.t.isf((1 - c) / 2, one.units - 1) for c in (confidence, one.confidence))
    margin = (one.high - one.value) * float(reaches / reached)
    return replace(one, low=one.value - margin, high=one.value + margin, confidence=confidence)


def power(days: int, gain: float, repetitions: int, rows: int = 700, draws: int = 1000) -> float:
    """Return how often a candidate that is better by `gain` is promoted at the first question."""
    found = 0
    for seed in range(repetitions):
        made = simulate(np.random.default_rng([seed, 11]), days, rows)
        candidate, champion = (made.roc_auc(made.score(auc), days) for auc in (CHAMPION + gain, CHAMPION))
        found += promoted(difference(candidate, champion, days, confidence_of(1), draws, seed))
    return found / repetitions


def report() -> None:
    """Print all three: some ten minutes of one processor."""
    print("\nhow often an interval of 95 % holds the true difference, days of about 50 rows (in %)")
    print(f"  {'':34}{'30':>14}{'60':>14}{'90':>14}{'365 days':>14}")
    print(f"  {'repetitions':34}{2000:14}{2000:14}{2000:14}{500:14}")
    for gain, rough in ((0.0, False), (0.01, False), (0.016, False), (0.0, True)):
        title = f"a gain of {gain:g} AUC{', rough' if rough else ''}: AUC | Brier"
        found = [coverage(days, gain, 500 if days == 365 else 2000, rough) for days in (30, 60, 90, 365)]
        cells = (f"{100 * one['roc_auc']:.1f} | {100 * one['brier']:.1f}" for one in found)
        print(f"  {title:34}" + "".join(f"{cell:>14}" for cell in cells), flush=True)
    print("\nhow often an equal candidate is promoted, of 30 days at first (in %; 1000 repetitions)")
    print(f"  {'':34}{'first':>14}{'any of 20':>14}{'… at 95 %':>14}")
    for how, rough in (("the same rows", False), ("growing rows", False), ("new rows", False), ("new rows", True)):
        cells = (f"{100 * share:.1f}" for share in misled(how, 1000, rough=rough))
        print(f"  {how + (', rough' if rough else ''):34}" + "".join(f"{cell:>14}" for cell in cells), flush=True)
    print("\nhow often a better candidate is promoted when first asked, days of about 700 rows (in %)")
    print(f"  {'':34}{'30':>14}{'60':>14}{'90':>14}{'365 days':>14}")
    print(f"  {'repetitions':34}{500:14}{500:14}{500:14}{100:14}")
    for gain in (0.005, 0.01):
        found = [power(days, gain, 100 if days == 365 else 500) for days in (30, 60, 90, 365)]
        print(f"  {f'a gain of {gain:g} AUC':34}" + "".join(f"{100 * share:14.0f}" for share in found), flush=True)
