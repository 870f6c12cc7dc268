"""What changed between two results of a task: parameters, code, inputs, metrics, cells, figures."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from caderno.plan.records import Input, Output, Table, TaskRecord
from caderno.plan.store import NOTEBOOK
from caderno.report import text

if TYPE_CHECKING:
    from nbformat import NotebookNode

_LARGEST = 60_000_000  # bytes of a notebook that is compared
Sign = Literal["+", "-", " "]


@dataclass(frozen=True)
class Result:
    """One execution of a task: its record and its executed notebook, None where that can't be compared."""

    record: TaskRecord
    notebook: Mapping[str, Any] | None

    @classmethod
    def at(cls, record: TaskRecord, place: Path) -> Result:
        """Return the result that stands at `place`; a notebook that is gone, damaged or huge is left alone."""
        path = place / NOTEBOOK
        try:
            return cls(record, json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST else None)
        except (OSError, ValueError):
            return cls(record, None)


@dataclass(frozen=True)
class Change:
    """Something with a name that has another value, None where it is missing; `notes` say what of it changed."""

    name: str
    old: str | None
    new: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """A metric, and the interval that the notebook logged beside it as `<name>_low` and `<name>_high`."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class MetricTexts:
    """A metric in two results, in words: empty where it is not known."""

    new: str
    new_interval: str
    old: str
    old_interval: str
    difference: str
    arrow: str


@dataclass(frozen=True)
class MetricChange:
    """A metric in two results; either may lack it."""

    name: str
    old: Measured | None
    new: Measured | None

    @property
    def difference(self) -> float | None:
        """New minus old."""
        return self.new.value - self.old.value if self.old and self.new else None

    @property
    def texts(self) -> MetricTexts:
        """All that is known of it in words, with the same number of decimals."""
        sides = [(one.value, one.low, one.high) if one else (None, None, None) for one in (self.new, self.old)]
        texts = text.numbers([*sides[0], *sides[1], self.difference])
        moved = self.difference or 0.0
        if moved and not texts[6].strip("−0.,"):
            texts[6] = text.small(moved)
        return MetricTexts(
            new=texts[0],
            new_interval=f"{texts[1]} to {texts[2]}" if texts[1] else "",
            old=texts[3],
            old_interval=f"{texts[4]} to {texts[5]}" if texts[4] else "",
            difference=texts[6].removeprefix("−"),
            arrow="▲" if moved > 0 else "▼" if moved < 0 else "=" if self.difference == 0 else "",
        )

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the interval of the difference leaves out zero; None where no intervals were logged.

        The interval is recovered from those of the two values, taken as independent: the method of variance
        estimates recovery (G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures",
        Statistics in Medicine 27, 2008). Where both were measured on the same rows it is too wide: careful.
        """
        if self.old is None or self.new is None or self.difference is None:
            return None
        upper, lower = (self.new, self.old) if self.difference >= 0 else (self.old, self.new)
        if upper.low is None or lower.high is None:
            return None
        return abs(self.difference) > math.hypot(upper.value - upper.low, lower.high - lower.value)


@dataclass(frozen=True)
class CellChange:
    """A cell that was added, removed or edited: its lines, each with a sign, and its number in either notebook."""

    kind: Literal["added", "removed", "changed"]
    type: str  # "code", "markdown"
    old: int | None  # from 1, as people count
    new: int | None
    lines: tuple[tuple[Sign, str], ...]


@dataclass(frozen=True)
class FigureChange:
    """A figure before and after; None where there was none."""

    caption: str
    old: Markup | None
    new: Markup | None


class Diff:
    """All that differs between two results of a task, each kind computed when it is asked for."""

    def __init__(self, old: Result, new: Result) -> None:
        """Compare `old` with `new`."""
        self.old, self.new = old, new

    @cached_property
    def metrics(self) -> list[MetricChange]:
        """All metrics of both, changed or not, in the new one's order."""
        return metric_changes(self.old.record.metrics, self.new.record.metrics)

    @cached_property
    def params(self) -> list[Change]:
        """Parameters and environment variables."""
        before, after = self.old.record, self.new.record
        return [
            *_changes(_values(before.params), _values(after.params)),
            *_changes(_variables(before.env), _variables(after.env)),
        ]

    @cached_property
    def code(self) -> list[Change]:
        """Helpers of the project that the notebook uses, by name, and digests of what they are."""
        return list(_changes(self.old.record.code.units, self.new.record.code.units))

    @cached_property
    def versions(self) -> list[Change]:
        """Packages and Python."""
        return list(_changes(_versions(self.old.record), _versions(self.new.record)))

    @cached_property
    def inputs(self) -> list[Change]:
        """Files that were read."""
        return list(_files(_inputs(self.old.record), _inputs(self.new.record)))

    @cached_property
    def outputs(self) -> list[Change]:
        """Files that were written."""
        return list(_files(self.old.record.outputs, self.new.record.outputs))

    @cached_property
    def cells(self) -> list[CellChange]:
        """Cells of the notebook, aligned by nbdime."""
        old, new = self.old.notebook, self.new.notebook
        return _cells(old, new) if old and new else []

    @cached_property
    def figures(self) -> list[FigureChange]:
        """Pictures that look different."""
        from caderno.report.notebook import figures

        if not (self.old.notebook and self.new.notebook):
            return []
        before, after = figures(self.old.notebook), figures(self.new.notebook)
        found = []
        for name in [*after, *(name for name in before if name not in after)]:
            (was, old), (caption, new) = before.get(name, ("", None)), after.get(name, ("", None))
            if old != new:
                found.append(FigureChange(caption or was, old, new))
        return found

    @property
    def is_partial(self) -> bool:
        """Whether a notebook could not be compared."""
        return self.old.notebook is None or self.new.notebook is None

    @property
    def is_empty(self) -> bool:
        """Whether nothing that makes a result differs, nor anything of the result."""
        moved = any(change.difference != 0 for change in self.metrics)
        causes = self.params or self.code or self.versions or self.inputs or self.cells
        return not (moved or causes or self.outputs or self.figures)


def comparable(record: TaskRecord, found: Iterable[tuple[TaskRecord, Path]]) -> list[tuple[TaskRecord, Path]]:
    """Return a task's results that `record` is best compared with, the best first.

    Those are of before it and of the same profile: successes, the last one first, then failed attempts.
    """
    before = [one for one in found if one[0].started < record.started and one[0].profile == record.profile]
    return sorted(before, key=lambda one: (one[0].state == "succeeded", one[0].started), reverse=True)


def diff_of(old: tuple[TaskRecord, Path], new: tuple[TaskRecord, Path]) -> Diff:
    """Return what changed between two results, given with their directories."""
    return Diff(Result.at(*old), Result.at(*new))


def measured(metrics: Mapping[str, float]) -> dict[str, Measured]:
    """Return metrics with the intervals that were logged beside them."""
    found = {}
    for name, value in metrics.items():
        stem, _, end = name.rpartition("_")
        if end in ("low", "high") and stem in metrics and f"{stem}_low" in metrics and f"{stem}_high" in metrics:
            continue
        low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
        whole = low is not None and high is not None
        found[name] = Measured(value, low if whole else None, high if whole else None)
    return found


def metric_changes(old: Mapping[str, float], new: Mapping[str, float]) -> list[MetricChange]:
    """Return all metrics of both in the order of `new`."""
    before, after = measured(old), measured(new)
    names = [*after, *(name for name in before if name not in after)]
    return [MetricChange(name, before.get(name), after.get(name)) for name in names]


def _values(params: Mapping[str, Any]) -> dict[str, str]:
    return {name: text.value(value) for name, value in params.items()}


def _variables(env: Mapping[str, str | None]) -> dict[str, str]:
    return {f"${name}": "(not set)" if value is None else value for name, value in env.items()}


def _versions(record: TaskRecord) -> dict[str, str]:
    return {"Python": record.code.python, **record.code.packages}


def _changes(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for name in [*new, *(name for name in old if name not in new)]:
        if old.get(name) != new.get(name):
            yield Change(name, old.get(name), new.get(name))


def _inputs(record: TaskRecord) -> dict[str, Input]:
    """Return inputs under names that stay when the data behind them changes."""
    found = {}
    for name, items in record.inputs.items():
        for place, item in enumerate(items):
            one = item.task or Path(item.path).name
            key = name if len(items) == 1 else f"{name}: {one}"
            found[key if key not in found else f"{key} ({place + 1})"] = item
    return found


def _files(old: Mapping[str, Input | Output], new: Mapping[str, Input | Output]) -> Iterator[Change]:
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name), new.get(name)
        if before and after and before.digest == after.digest:
            continue
        notes = shape_changes(before.table, after.table) if before and after and before.table and after.table else ()
        if not notes and before and after:
            notes = ("content, of the same rows and columns" if before.table and after.table else "content",)
        yield Change(name, _file(before), _file(after), tuple(notes))


def _file(one: Input | Output | None) -> str | None:
    if one is None:
        return None
    rows = f"{text.count(one.table.rows, 'row')}, " if one.table and one.table.rows is not None else ""
    return f"{rows}{text.size(one.size)}"


def shape_changes(old: Table, new: Table) -> tuple[str, ...]:
    """Return how a table's rows and columns changed, in words; nothing where they are the same."""
    notes = []
    if old.rows != new.rows and old.rows is not None and new.rows is not None:
        notes.append(f"{new.rows - old.rows:+,} rows".replace("-", "−"))
    notes += [f"column {name} is new" for name in new.columns if name not in old.columns]
    notes += [f"column {name} is gone" for name in old.columns if name not in new.columns]
    for name, kind in new.columns.items():
        if old.columns.get(name, kind) != kind:
            notes.append(f"column {name}: {old.columns[name]} → {kind}")
    if not notes and list(old.columns) != list(new.columns):
        notes.append("columns in another order")
    return tuple(notes)


def _cells(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[CellChange]:
    from nbdime.diffing.notebooks import diff_notebooks

    from caderno.report.notebook import written

    before, after = _bare(written(old)), _bare(written(new))
    cells = (before.cells, after.cells)
    found: list[CellChange] = []
    shift = 0  # new place minus old place, as far as the old notebook was read
    for change in _ops(diff_notebooks(before, after)):
        place = change["key"]
        if change["op"] == "addrange":
            added = range(place + shift, place + shift + len(change["valuelist"]))
            found += [_cell(cells, None, i) for i in added]
            shift += len(added)
        elif change["op"] == "removerange":
            found += [_cell(cells, i, None) for i in range(place, place + change["length"])]
            shift -= change["length"]
        else:
            found.append(_cell(cells, place, place + shift))
    return [change for change in found if change.lines]


def _ops(diff: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return next((change["diff"] for change in diff if change["key"] == "cells"), ())


def _cell(cells: tuple[Sequence[Any], Sequence[Any]], old: int | None, new: int | None) -> CellChange:
    """Return how the cell at place `old` of the first notebook became the one at `new` of the second."""
    before = None if old is None else cells[0][old]
    after = None if new is None else cells[1][new]
    lines: list[tuple[Sign, str]] = []
    was, is_ = (cell.source.splitlines() if cell else [] for cell in (before, after))
    for line in list(difflib.unified_diff(was, is_, n=2, lineterm=""))[2:]:
        if not line.startswith("@@"):
            lines.append(("+" if line[0] == "+" else "-" if line[0] == "-" else " ", line[1:]))
        elif lines:
            lines.append((" ", "⋯"))
    return CellChange(
        kind="added" if old is None else "removed" if new is None else "changed",
        type=str((after or before or {})["cell_type"]),
        old=None if old is None else old + 1,
        new=None if new is None else new + 1,
        lines=tuple(lines),
    )


def _bare(cells: Sequence[tuple[Mapping[str, Any], str]]) -> NotebookNode:
    """Return a notebook of sources alone: what nbdime is to align."""
    kept = [{"metadata": {}, "cell_type": cell.get("cell_type", "raw"), "source": source} for cell, source in cells]
    kept = [cell | ({"outputs": []} if cell["cell_type"] == "code" else {}) for cell in kept]
    from nbformat import from_dict  # takes a while to import

    bare: NotebookNode = from_dict({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": kept})
    return bare
