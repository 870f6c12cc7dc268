"""How far what is asked has moved from what the champion learned from: the population stability index. Pure.

PSI = Σ (sᵢ - rᵢ) ln(sᵢ / rᵢ) over bins i, with the shares r of the reference and s of the served rows: Jeffreys'
divergence, the same in both directions. The rule of thumb (below 0.1 little has changed, from 0.25 on much) is that of
N. Siddiqi, Credit Risk Scorecards, 2006. It knows nothing of numbers of rows: where nothing has changed, the index of n
and m rows in B bins is still about (1/n + 1/m) times a chi-squared of B - 1 degrees of freedom (B. Yurdakul,
Statistical Properties of Population Stability Index, 2018). What that explains is not called a change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2

SOME, MUCH = 0.1, 0.25
Word = Literal["stable", "chance", "some", "much"]
Counts = npt.NDArray[np.int64]
_TENTHS = np.arange(1, 10) / 10
_DISTINCT = 10  # numbers of so few different values are told apart by value
_RARE = 0.01  # values with less of the reference than this are one bin, with those that it does not have
_HALF = 0.5  # added to each bin's count, so that an empty one is no division by nothing (Jeffreys' prior)
_CHANCE = 0.05  # how often anything at all may be called changed where nothing is


@dataclass(frozen=True)
class Drift:
    """How far one feature has moved: `psi` over `bins`, and the most that chance explains."""

    feature: str
    psi: float
    bins: int
    chance: float
    missing: tuple[float, float]  # shares of the reference, of the served rows

    @property
    def word(self) -> Word:
        """What it means, in a word."""
        if self.psi < SOME:
            return "stable"
        if self.psi <= self.chance:
            return "chance"
        return "some" if self.psi < MUCH else "much"


def drifts(reference: pd.DataFrame, served: Mapping[str, pd.Series[Any]]) -> list[Drift]:
    """Return the drift of each feature that both have, the farthest first. Neither may be without rows."""
    names = [name for name in served if name in reference]
    found = [drift(reference[name], served[name], len(names)) for name in names]
    return sorted(found, key=lambda one: (-one.psi, one.feature))


def drift(reference: pd.Series[Any], served: pd.Series[Any], among: int = 1) -> Drift:
    """Return the drift of one feature out of `among` that are looked at together.

    The reference decides how it is binned: numbers and times by its deciles, or by value where there are few of them;
    all else by value. What is missing has a bin of its own.
    """
    old, new = _alike(reference, served)
    known = old.dropna()
    numbers = old.dtype.kind == "f" and known.nunique() > _DISTINCT
    bins = _deciles(known, old, new) if numbers else _values(known, old, new)
    before, after = (np.append(one, lost.sum()) for one, lost in zip(bins, (old.isna(), new.isna()), strict=True))
    used = before + after > 0
    chance = chi2.ppf(1 - _CHANCE / among, max(1, used.sum() - 1)) * (1 / len(old) + 1 / len(new))
    return Drift(
        str(served.name),
        index(before[used], after[used]),
        int(used.sum()),
        float(chance),
        (float(old.isna().mean()), float(new.isna().mean())),
    )


def index(before: Counts | Sequence[int], after: Counts | Sequence[int]) -> float:
    """Return the population stability index of the counts in the same bins; half a row is added to each."""
    r, s = (np.asarray(one, float) + _HALF for one in (before, after))
    r, s = r / r.sum(), s / s.sum()
    return float(np.sum((s - r) * np.log(s / r)))


def _alike(reference: pd.Series[Any], served: pd.Series[Any]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Return both as numbers where the reference holds numbers or times, else as texts."""
    if pd.api.types.is_datetime64_any_dtype(reference):
        return _seconds(reference), _seconds(served)
    if pd.api.types.is_numeric_dtype(reference) and not pd.api.types.is_bool_dtype(reference):
        return reference.astype(float), pd.to_numeric(served, errors="coerce").astype(float)
    return _texts(reference), _texts(served)


def _seconds(times: pd.Series[Any]) -> pd.Series[Any]:
    moments = pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601")
    return (moments - pd.Timestamp(0, tz="UTC")).dt.total_seconds()


def _texts(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.astype(object).map(str, na_action="ignore")


def _deciles(known: pd.Series[Any], *samples: pd.Series[Any]) -> list[Counts]:
    """Return how many of each sample lie in each tenth of what is known; many equal values are a bin of their own."""
    edges = np.unique(np.quantile(known, _TENTHS))
    return [np.bincount(np.searchsorted(edges, one.dropna()), minlength=len(edges) + 1) for one in samples]


def _values(known: pd.Series[Any], *samples: pd.Series[Any]) -> list[Counts]:
    """Return how often each sample has each common value, and any other."""
    shares = known.value_counts(normalize=True)
    common = pd.Index(shares[shares >= _RARE].index)
    return [np.bincount(common.get_indexer(pd.Index(one.dropna())) + 1, minlength=len(common) + 1) for one in samples]
