"""Unfolding a matrix into the combinations of its values."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from caderno.errors import did_you_mean
from caderno.spec.file import MatrixFile
from caderno.spec.yaml import Key


class _Unknown:
    """The value of an axis that an upstream has yet to give."""

    def __repr__(self) -> str:
        return "?"


UNKNOWN = _Unknown()
Report = Callable[[Key, str, str], None]  # where in the matrix, what is wrong, what to do


def unfold(matrix: MatrixFile, known: Mapping[str, Sequence[Any]], report: Report) -> list[dict[str, Any]]:
    """Return the combinations, in the order of the axes; without axes one that is empty.

    `known` are the values of axes that come from an output; UNKNOWN stands for those that are not there yet.

    What is wrong in `exclude` and `include` is reported; then the result is only good for finding more problems.
    """
    axes = {
        axis: values if isinstance(values, list) else known.get(axis, [UNKNOWN]) for axis, values in matrix.axes.items()
    }
    found = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    for position, pattern in enumerate(matrix.exclude):
        found = _without(found, axes, pattern, ("exclude", position), report)
    for position, one in enumerate(matrix.include):
        key: Key = ("include", position)
        if one.keys() != axes.keys():
            hint = f"name each of {', '.join(axes)}" if axes else "give the matrix an axis first"
            report(key, "a combination to add names every axis, and nothing else", hint)
        elif one in found:
            report(key, f"{axes_text(one)} is there already", "take it out")
        else:
            found.append({axis: one[axis] for axis in axes})
    if not found:
        report((), "no combination is left", "exclude fewer")
    return found or [dict.fromkeys(axes)]


def _without(
    found: list[dict[str, Any]], axes: Mapping[str, Any], pattern: Mapping[str, Any], key: Key, report: Report
) -> list[dict[str, Any]]:
    unknown = next((axis for axis in pattern if axis not in axes), None)
    if unknown is not None:
        report(key, f"{unknown!r} is no axis of the matrix", did_you_mean(unknown, axes, "axis"))
        return found
    left = [one for one in found if not pattern.items() <= one.items()]
    if len(left) == len(found) and not any(one[axis] is UNKNOWN for one in found for axis in pattern):
        report(key, f"no combination has {axes_text(pattern)}", "mend the values, or take this entry out")
    return left


def task_id(name: str, axes: Mapping[str, Any]) -> str:
    """Return the id of a task: train[model=forest]."""
    return f"{name}[{axes_text(axes)}]" if axes else name


def axes_text(axes: Mapping[str, Any]) -> str:
    """Return the values of a combination: model=forest,fold=2."""
    return ",".join(f"{axis}={value}" for axis, value in axes.items())
