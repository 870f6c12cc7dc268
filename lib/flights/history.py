"""Rates and means over past days, of what was known by the moment of the question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flights.board import Codes, Floats, Minutes

Span = npt.NDArray[np.int64]


@dataclass(frozen=True)
class History:
    """Events by group and by the minute they became known, with running sums of whole numbers (hence exact)."""

    key: Minutes
    width: int
    sums: npt.NDArray[np.int64]  # one more than events: sums[i] is the sum of the first i

    @classmethod
    def of(cls, group: Codes, known: Minutes, value: npt.NDArray[np.int64]) -> History:
        """Events: each has a group (0, 1, ...), the minute it became known, and a whole number."""
        width = 1 << 32  # minutes since the epoch stay below this until the year 10136
        key = group * width + known
        order = np.argsort(key, kind="stable")
        return cls(key[order], width, np.concatenate([[0], np.cumsum(value[order])]))

    def over(self, span: int, at: Codes, when: Minutes) -> tuple[Floats, Floats]:
        """Count and sum of the group's events that became known in the `span` minutes up to and including `when`."""
        start = np.searchsorted(self.key, at * self.width + when - span, side="right")
        stop = np.searchsorted(self.key, at * self.width + when, side="right")
        return (stop - start).astype(np.float64), (self.sums[stop] - self.sums[start]).astype(np.float64)


def shrunken(count: Floats, total: Floats, prior: Floats | float, weight: float) -> Floats:
    """Mean of a group, drawn towards `prior` as though `weight` further events had been seen there."""
    return (total + weight * prior) / (count + weight)
