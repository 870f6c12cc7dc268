"""How sure a mean is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def interval(values: Sequence[float], seed: int, resamples: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `values` by the bootstrap (percentiles), in their unit."""
    sample = np.asarray(values, dtype=float)
    if sample.size < 2:
        raise ValueError(f"{sample.size} values say nothing of how sure their mean is")
    drawn = np.random.default_rng(seed).integers(sample.size, size=(resamples, sample.size))
    low, high = np.percentile(sample[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
