"""What a model takes, as its MLmodel file says, and as the gate's contract narrows it: columns, tensors, or anything.

Read from MLflow's `signature` (https://mlflow.org/docs/latest/ml/model/signatures/) without MLflow: the service needs
no more of it than this.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml

# MLflow's type of a column -> how NumPy holds it; and the words for what is expected.
KINDS = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "bool",
    "string": "str",
    "binary": "object",
    "datetime": "datetime64[ns]",
}
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Range:
    """What the contract says of a column: numbers from `low` to `high`, values out of `allowed`, none missing."""

    low: float | None = None
    high: float | None = None
    allowed: frozenset[Any] | None = None
    nullable: bool = True


@dataclass(frozen=True)
class Column:
    """A named column. `type` is MLflow's name of a scalar type, or its description of a nested one."""

    name: str
    type: str | Mapping[str, Any]
    required: bool = True
    range: Range = Range()

    @property
    def kind(self) -> str:
        """How NumPy holds it."""
        return KINDS.get(self.type, "object") if isinstance(self.type, str) else "object"

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Between which numbers a float is right without a further look; NaN where none is."""
        if self.type != "double" or self.range.allowed is not None:
            return math.nan, math.nan
        low, high = self.range.low, self.range.high
        return -_LARGEST if low is None else low, _LARGEST if high is None else high


@dataclass(frozen=True)
class Tensor:
    """A tensor of NumPy's `dtype`; a size of -1 in `shape` may be any. The name is "" where it has none."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives; without columns and tensors it takes whatever comes."""

    columns: tuple[Column, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    outputs: tuple[Column | Tensor, ...] = ()
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def inputs(self) -> tuple[Column | Tensor, ...]:
        """All that it takes."""
        return (*self.columns, *self.tensors)

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of all inputs that have one."""
        return frozenset(one.name for one in self.inputs if one.name)

    @cached_property
    def taking(self) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        """Takes the values of all columns from a row, in order. It raises KeyError where one is missing."""
        names = [one.name for one in self.columns]
        return itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)

    @cached_property
    def required(self) -> frozenset[str]:
        """The columns that each row must have."""
        return frozenset(one.name for one in self.columns if one.required)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """How NumPy holds each column."""
        return {one.name: one.kind for one in self.columns}

    def within(self, ranges: Mapping[str, Range]) -> Signature:
        """Return the signature with what the contract says of its columns."""
        columns = tuple(replace(one, range=ranges.get(one.name, one.range)) for one in self.columns)
        return replace(self, columns=columns)


def read(folder: Path) -> Signature:
    """Return the signature of the model in a folder. Raises OSError or ValueError where MLmodel can't be read."""
    described = yaml.safe_load((folder / "MLmodel").read_text("utf-8")).get("signature") or {}
    found = {name: json.loads(described[name]) for name in ("inputs", "outputs", "params") if described.get(name)}
    inputs = [_input(one, place) for place, one in enumerate(found.get("inputs", []))]
    return Signature(
        tuple(one for one in inputs if isinstance(one, Column)),
        tuple(one for one in inputs if isinstance(one, Tensor)),
        tuple(_input(one, place) for place, one in enumerate(found.get("outputs", []))),
        {one["name"]: one for one in found.get("params", [])},
    )


def example(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a model's own input example, where it is a table; else nothing."""
    try:
        stored = json.loads((folder / "serving_input_example.json").read_text("utf-8"))
        split = stored["dataframe_split"]
        return [dict(zip(split["columns"], row, strict=True)) for row in split["data"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _input(one: Mapping[str, Any], place: int) -> Column | Tensor:
    name = one.get("name")
    if one["type"] == "tensor":
        spec = one["tensor-spec"]
        return Tensor(str(name or ""), spec["dtype"], tuple(spec["shape"]))
    nested = {key: value for key, value in one.items() if key not in ("name", "required")}
    kind = one["type"] if one["type"] in KINDS else nested
    return Column(str(name) if name is not None else str(place), kind, one.get("required", True))
