"""Whether two values, or two sequences of them, are the same, or as near as floating point may leave them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

State = Literal["equal", "equal within tolerance", "differs"]
_LONGEST = 60  # characters of a value that is shown


@dataclass(frozen=True)
class Tolerance:
    """How far apart two floats may be: by a share of the larger one, or by an absolute amount near zero.

    Whole numbers, texts and all else must be the same.
    """

    relative: float = 1e-6
    absolute: float = 1e-9

    def apart(self, old: float, new: float) -> float | None:
        """Return the distance of two floats, None where it is too large; not a number is the same as itself."""
        if old == new or (math.isnan(old) and math.isnan(new)):
            return 0.0
        near = math.isclose(old, new, rel_tol=self.relative, abs_tol=self.absolute)
        return abs(old - new) if near else None


@dataclass(frozen=True)
class Sameness:
    """How two things compare. `text` says what differs first, or how near they are; empty where bytes are equal."""

    state: State
    text: str = ""


@dataclass(frozen=True)
class Gap:
    """How two sequences of one length compare: the places that are too far apart, and how far the others are."""

    beyond: Sequence[int]
    largest: float


def distance(old: Any, new: Any, tolerance: Tolerance) -> float | None:
    """Return how far two values are apart, the parts of lists and mappings each by each; None for too far."""
    match old, new:
        case (bool(), _) | (_, bool()):
            return 0.0 if old is new else None
        case (float(), float() | int()) | (int(), float()):
            return tolerance.apart(float(old), float(new))
        case Mapping(), Mapping():
            pairs = [(old[key], new[key]) for key in old] if old.keys() == new.keys() else None
        case (list() | tuple(), list() | tuple()):
            pairs = list(zip(old, new, strict=True)) if len(old) == len(new) else None
        case _:
            return 0.0 if type(old) is type(new) and old == new else None
    if pairs is None:
        return None
    parts = [distance(*pair, tolerance) for pair in pairs]
    return None if None in parts else max((part for part in parts if part is not None), default=0.0)


def text_distance(old: str, new: str, tolerance: Tolerance) -> float | None:
    """Return how far two texts are apart where both are written floats; None for too far, or other words."""
    if old == new:
        return 0.0
    try:
        pair = float(old), float(new)
    except ValueError:
        return None
    whole = old.strip("+- ").isdigit() and new.strip("+- ").isdigit()
    return None if whole else tolerance.apart(*pair)


def gap(old: Sequence[Any], new: Sequence[Any], tolerance: Tolerance) -> Gap:
    """Compare two sequences of one length value by value."""
    if isinstance(old, np.ndarray) and isinstance(new, np.ndarray) and old.dtype.kind == new.dtype.kind == "f":
        return _of_floats(old, new, tolerance)
    texts = isinstance(old, _Texts)
    parts = [
        (text_distance if texts and isinstance(pair[0], str) and isinstance(pair[1], str) else distance)(
            *pair, tolerance
        )
        for pair in zip(old, new, strict=True)
    ]
    beyond = [place for place, part in enumerate(parts) if part is None]
    return Gap(beyond, max((part for part in parts if part), default=0.0))


class _Texts(list[str]):
    """Values of a format that knows only texts: numbers are read from them."""


def texts(values: Sequence[str]) -> Sequence[str]:
    """Return values whose numbers are written as texts, for `gap`."""
    return _Texts(values)


def _of_floats(old: np.ndarray[Any, Any], new: np.ndarray[Any, Any], tolerance: Tolerance) -> Gap:
    same = (old == new) | (np.isnan(old) & np.isnan(new))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(old - new))
        allowed = np.maximum(tolerance.absolute, tolerance.relative * np.maximum(np.abs(old), np.abs(new)))
        near = same | ((apart <= allowed) & np.isfinite(old) & np.isfinite(new))
    return Gap(np.flatnonzero(~near).tolist(), float(apart[near].max(initial=0.0)))


def metric(old: float | None, new: float | None, tolerance: Tolerance) -> Sameness:
    """Compare two values of a metric; None where it was not logged."""
    if old is None or new is None:
        return Sameness("differs", "the record does not have it" if old is None else "the rebuild did not log it")
    apart = tolerance.apart(old, new)
    if apart is None:
        return Sameness("differs", f"{shown(old)} → {shown(new)}")
    return Sameness("equal within tolerance", f"difference {apart:.1g}") if apart else Sameness("equal")


def shown(value: Any) -> str:
    """Return a value for one line."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
