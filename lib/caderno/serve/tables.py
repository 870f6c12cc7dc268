"""From JSON to what a model takes: rows or columns are checked against the signature before the model sees them.

A mistake is told by its row and field. Small tables are walked through value by value, large ones judged whole, and
walked through only to say what is wrong.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from caderno.serve import tensors
from caderno.serve.errors import BadRequest, Complaint, TooLarge, refuse
from caderno.serve.signature import Column, Range, Signature
from caderno.serve.values import Wrong, converted, likely, told, wrong

_BLOCK = 256  # rows that a processor's cache holds
_SMALL = 32  # rows up to which NumPy costs more than it saves
_ENOUGH = 20  # complaints after which the rest is not looked for
_NEVER_NULL = ("long", "integer", "boolean")
_NULLS: dict[Any, Any] = {"double": math.nan, "float": math.nan, "datetime": np.datetime64("NaT")}


@dataclass(frozen=True)
class Table:
    """What is asked of a model: columns by name, or an array; `kinds` say how NumPy holds the columns.

    `alone`: it can't be joined with what others ask.
    """

    frame: Any
    rows: int
    kinds: Mapping[str, str] | None = None
    params: Mapping[str, Any] | None = None
    alone: bool = False

    @property
    def key(self) -> object:
        """What tables have in common that can be answered at once."""
        return None if self.kinds is None else tuple(self.kinds.items())


def from_rows(signature: Signature, rows: Any, most: int) -> Table:
    """Return the table that a list of rows describes: objects with all columns, or values where there is one input.

    Raises BadRequest with each complaint, TooLarge for more than `most` rows.
    """
    if not isinstance(rows, list):
        raise BadRequest(f"rows must be a list, not {told(rows)}")
    _limit(len(rows), most)
    if signature.tensors:
        return _tensors(signature, tensors.unfolded(signature.tensors, rows), most)
    if not signature.columns:
        return _anything(rows)
    if len(signature.columns) == 1 and not isinstance(rows[0], dict):
        rows = [{signature.columns[0].name: value} for value in rows]
    if (columns := _transposed(signature, rows)) is not None:
        return _checked(signature, columns, len(rows))
    complaints = [
        Complaint("", f"is {told(row)}, not an object with the model's fields", place)
        for place, row in enumerate(rows)
        if type(row) is not dict
    ][:_ENOUGH]
    refuse(complaints)
    names = signature.names
    for place, row in enumerate(rows):
        if row.keys() != names and (row.keys() > names or not row.keys() >= signature.required or row.keys() - names):
            complaints += _strange(signature, row.keys(), place)
            if len(complaints) > _ENOUGH:
                break
    refuse(complaints)
    given = frozenset().union(*rows)  # an optional column that no row names is not there, as in MLflow
    columns = {name: [row.get(name) for row in rows] for name in names & given}
    return _checked(signature, columns, len(rows))


def _transposed(signature: Signature, rows: list[Any]) -> Mapping[str, Sequence[Any]] | None:
    """Return the columns of rows that all have all fields and no other; else None."""
    width, taking = len(signature.columns), signature.taking
    blocks = []
    try:
        for begin in range(0, len(rows), _BLOCK):
            block = rows[begin : begin + _BLOCK]
            values = [taking(row) for row in block if type(row) is dict and len(row) == width]
            if len(values) < len(block):
                return None
            blocks.append(list(zip(*values, strict=True)))
    except KeyError:
        return None
    columns = blocks[0] if len(blocks) == 1 else (list(chain(*parts)) for parts in zip(*blocks, strict=True))
    return dict(zip(signature.kinds, columns, strict=True))


def from_columns(signature: Signature, columns: Any, most: int) -> Table:
    """Return the table that an object of columns describes, or, where there is one input, a list of its values.

    Raises BadRequest with each complaint, TooLarge for more than `most` rows.
    """
    if signature.tensors:
        if not isinstance(columns, dict):
            columns = {signature.tensors[0].name: columns} if len(signature.tensors) == 1 else columns
        return _tensors(signature, columns, most)
    if not isinstance(columns, dict) and len(signature.columns) == 1:
        columns = {signature.columns[0].name: columns}
    if not isinstance(columns, dict):
        if signature.columns:
            raise BadRequest(f"columns must be an object with the model's fields, not {told(columns)}")
        return from_rows(signature, columns, most)
    if signature.columns:
        refuse(_strange(signature, columns.keys(), None))
    single = [name for name, one in columns.items() if type(one) is not list]
    refuse([Complaint(name, f"must be a list, not {told(columns[name])}") for name in single])
    sizes = {len(one) for one in columns.values()}
    if len(sizes) != 1:
        raise BadRequest(f"columns have different numbers of rows: {', '.join(str(one) for one in sorted(sizes)[:5])}")
    rows = sizes.pop()
    _limit(rows, most)
    if not signature.columns:
        return Table(columns, rows, dict.fromkeys(columns, "infer"), alone=True)
    return _checked(signature, columns, rows)


def with_params(signature: Signature, table: Table, params: Any) -> Table:
    """Return the table to be answered with a model's parameters (MLflow's `params`). Raises BadRequest."""
    if not isinstance(params, dict):
        raise BadRequest(f"params must be an object, not {told(params)}")
    complaints, taken = [], {}
    for name, value in params.items():
        try:
            taken[name] = _param(signature.params, name, value)
        except Wrong as what:
            complaints.append(Complaint(f"params.{name[:60]}", str(what)))
    refuse(complaints)
    return replace(table, params=taken or None, alone=table.alone or bool(taken))


def _param(known: Mapping[str, Mapping[str, Any]], name: str, value: Any) -> Any:
    if name not in known:
        raise Wrong(f"the model has no such parameter{likely(name, known)}")
    found = known[name]
    if not found.get("shape"):
        return converted(found if found["type"] == "object" else found["type"], value)
    return converted({"type": "array", "items": {"type": found["type"]}}, value)


def _limit(rows: int, most: int) -> None:
    if rows == 0:
        raise BadRequest("there are no rows to predict")
    if rows > most:
        raise TooLarge(f"{rows:,} rows are more than {most:,}: ask in several requests")


def _strange(signature: Signature, given: Any, place: int | None) -> list[Complaint]:
    """Return which fields of a row, or of all rows, are missing, and which the model does not take."""
    missing = [Complaint(name, "is missing", place) for name in sorted(signature.required - given)]
    extra = sorted(name for name in given if name not in signature.names)
    return missing + [
        Complaint(name[:60], f"the model takes no such field{likely(name, signature.names - given)}", place)
        for name in extra
    ]


def _checked(signature: Signature, columns: Mapping[str, Sequence[Any]], rows: int) -> Table:
    frame: dict[str, Any] = {}
    complaints: list[Complaint] = []
    for column in signature.columns:
        values = columns.get(column.name)
        if values is None:
            continue
        taken = _whole(column, values) if rows > _SMALL else _numbers(column, values)
        if taken is None:
            taken = _each(column, values, complaints)
        frame[column.name] = taken
        if len(complaints) > _ENOUGH:
            break
    refuse(sorted(complaints, key=lambda one: -1 if one.row is None else one.row))
    if not frame:
        raise BadRequest("there is no field in the rows")
    kinds = signature.kinds
    return Table(frame, rows, kinds if len(frame) == len(kinds) else {name: kinds[name] for name in frame})


def _whole(column: Column, values: Sequence[Any]) -> Any:
    """Return a column that is right as a whole, else None."""
    types, limits = set(map(type, values)), column.range
    whole = type(None) not in types
    if types == {str} and column.type == "string":
        return values if limits.allowed is None or limits.allowed.issuperset(values) else None
    numbers: dict[str, set[type]] = {"double": {int, float}, "long": {int}, "integer": {int}, "boolean": {bool}}
    wanted = numbers.get(column.type) if isinstance(column.type, str) else None
    if column.type == "double" and limits.nullable:
        types.discard(type(None))
    if not wanted or not types <= wanted or limits.allowed is not None:
        return None
    try:
        if column.type == "double" and whole:
            found = np.frombuffer(array("d", values))  # half as long as by NumPy
        else:
            found = np.array(values, column.kind)
    except (OverflowError, ValueError):
        return None
    if column.type == "double" and np.isinf(found).any():
        return None
    if (limits.low is not None and np.any(found < limits.low)) or (
        limits.high is not None and np.any(found > limits.high)
    ):
        return None
    return found


def _numbers(column: Column, values: Sequence[Any]) -> Sequence[Any] | None:
    """Return a column of few values if all are numbers with a fraction that the contract allows, else None."""
    low, high = column.bounds
    for value in values:
        if type(value) is not float or not low <= value <= high:
            return None
    return values


def _each(column: Column, values: Sequence[Any], complaints: list[Complaint]) -> list[Any]:
    """Return a column, value by value; what is wrong is added to the complaints."""
    taken, kind, limits = [], column.type, column.range
    bounded = limits is not _ANY
    for row, value in enumerate(values):
        try:
            if value is None:
                found = _null(column)
            else:
                found = converted(kind, value)
                if bounded:
                    _in_range(found, limits)
        except Wrong as what:
            complaints.append(Complaint(column.name, str(what), row))
            if len(complaints) > _ENOUGH:
                break
        else:
            taken.append(found)
    return taken


_ANY = Range()


def _null(column: Column) -> Any:
    """Return what stands for a missing value. Raises Wrong where none may be missing."""
    if column.required and not column.range.nullable:
        raise Wrong("must not be null")
    if not isinstance(column.type, str):
        return None
    if column.type in _NEVER_NULL:
        raise wrong(column.type, None)
    return _NULLS.get(column.type)


def _in_range(value: Any, limits: Range) -> None:
    if not isinstance(value, (int, float, str)):
        return
    if limits.allowed is not None and value not in limits.allowed:
        known = sorted(map(str, limits.allowed))
        some = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
        raise Wrong(f"{told(value)} is none of the contract's values: {some}")
    if isinstance(value, str):
        return
    if limits.low is not None and value < limits.low:
        raise Wrong(f"{value!r} is less than {limits.low!r}, the least that the contract allows")
    if limits.high is not None and value > limits.high:
        raise Wrong(f"{value!r} is more than {limits.high!r}, the most that the contract allows")


def _tensors(signature: Signature, given: Any, most: int) -> Table:
    frame = tensors.arrays(signature, given)
    sizes = {len(one) for one in frame.values()}
    if len(sizes) != 1:
        raise BadRequest(f"inputs have different numbers of rows: {', '.join(map(str, sorted(sizes)))}")
    rows = sizes.pop()
    _limit(rows, most)
    joined = all(one.shape[:1] == (-1,) for one in signature.tensors)
    if len(frame) == 1 and not signature.tensors[0].name:
        return Table(frame[""], rows, alone=not joined)
    return Table(frame, rows, {one.name: f"tensor:{one.dtype}" for one in signature.tensors}, alone=not joined)


def _anything(rows: list[Any]) -> Table:
    """Return rows for a model that does not say what it takes."""
    if isinstance(rows[0], dict):
        names = rows[0].keys()
        if any(not isinstance(row, dict) or row.keys() != names for row in rows):
            raise BadRequest("each row must be an object with the same fields")
        return Table({n: [row[n] for row in rows] for n in names}, len(rows), dict.fromkeys(names, "infer"), alone=True)
    try:
        found = np.asarray(rows)
    except ValueError:
        raise BadRequest("lists of different lengths are no rows") from None
    if found.dtype.kind == "O":
        raise BadRequest("rows must be objects, numbers or texts, all of one kind")
    return Table(found, len(rows), alone=True)
