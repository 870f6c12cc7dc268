"""From JSON to what a model takes: rows or columns are checked against the signature before the model sees them.

A mistake is told by its row and field; numbers come as numbers, texts as texts, and nothing is guessed. Small tables
are walked through value by value, large ones judged whole, and walked through only to say what is wrong.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from caderno.errors import nearest
from caderno.serve.errors import BadRequest, Complaint, TooLarge, refuse
from caderno.serve.signature import Column, Range, Signature, Tensor

_SMALL = 32  # rows up to which NumPy costs more than it saves
_ENOUGH = 20  # complaints after which the rest is not looked for
_WIDTH = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_SINGLE = float(np.finfo("float32").max)


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
        return _tensors(signature, _unfolded(signature.tensors, rows), most)
    if not signature.columns:
        return _anything(rows)
    if len(signature.columns) == 1 and not isinstance(rows[0], dict):
        rows = [{signature.columns[0].name: value} for value in rows]
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
    whole = signature.required == names
    columns = {
        one.name: [row[one.name] for row in rows] if whole or one.required else [row.get(one.name) for row in rows]
        for one in signature.columns
    }
    return _checked(signature, columns, len(rows))


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
    given = {one.name: columns.get(one.name, [None] * rows) for one in signature.columns}
    return _checked(signature, given, rows)


def with_params(signature: Signature, table: Table, params: Any) -> Table:
    """Return the table to be answered with a model's parameters (MLflow's `params`). Raises BadRequest."""
    if not isinstance(params, dict):
        raise BadRequest(f"params must be an object, not {told(params)}")
    refuse(
        [
            Complaint(f"params.{name}", f"the model has no such parameter{_nearest(name, signature.params)}")
            for name in params
            if name not in signature.params
        ]
    )
    return Table(table.frame, table.rows, table.kinds, params or None, alone=bool(params))


def told(value: Any) -> str:
    """Return what a JSON value is, in words, with itself where it is short."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value!r}"
        case str():
            return f"the text {value[:40]!r}{'…' if len(value) > 40 else ''}"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
    return type(value).__name__


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
        Complaint(name[:60], f"the model takes no such field{_nearest(name, signature.names - given)}", place)
        for name in extra
    ]


def _nearest(name: str, known: Any) -> str:
    close = nearest(name[:60], known)
    return f" (did you mean {close!r}?)" if close else ""


def _checked(signature: Signature, columns: Mapping[str, list[Any]], rows: int) -> Table:
    frame: dict[str, Any] = {}
    complaints: list[Complaint] = []
    for column in signature.columns:
        values = columns[column.name]
        taken = _whole(column, values) if rows > _SMALL else None
        if taken is None:
            taken = _each(column, values, complaints)
        frame[column.name] = taken
        if len(complaints) > _ENOUGH:
            break
    refuse(sorted(complaints, key=lambda one: -1 if one.row is None else one.row))
    return Table(frame, rows, signature.kinds)


def _whole(column: Column, values: list[Any]) -> Any:
    """Return a column that is right as a whole, else None."""
    types, limits = set(map(type, values)), column.range
    if types == {str} and column.type == "string":
        return values if limits.allowed is None or limits.allowed.issuperset(values) else None
    numbers: dict[str, set[type]] = {"double": {int, float}, "long": {int}, "integer": {int}, "boolean": {bool}}
    wanted = numbers.get(column.type) if isinstance(column.type, str) else None
    if column.type == "double" and limits.nullable:
        types.discard(type(None))
    if not wanted or not types <= wanted or limits.allowed is not None:
        return None
    try:
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


def _each(column: Column, values: Sequence[Any], complaints: list[Complaint]) -> list[Any]:
    """Return a column, value by value; what is wrong is added to the complaints."""
    taken, limits, name = [], column.range, column.name
    convert = _CONVERTERS.get(column.type) if isinstance(column.type, str) else None
    bounded = limits is not _ANY
    for row, value in enumerate(values):
        if value is None:
            if column.required and not limits.nullable:
                complaints.append(Complaint(name, "must not be null", row))
            elif column.type in _NEVER_NULL and column.required:
                complaints.append(Complaint(name, f"expected {_EXPECTED[str(column.type)]}, got null", row))
            taken.append(_NULLS.get(column.type) if isinstance(column.type, str) else None)
            continue
        try:
            found = convert(value) if convert else _nested(column.type, value)
            if bounded:
                _in_range(found, limits)
        except _Wrong as wrong:
            complaints.append(Complaint(name, str(wrong), row))
            if len(complaints) > _ENOUGH:
                break
        else:
            taken.append(found)
    return taken


class _Wrong(Exception):
    """What is wrong with a value."""


_ANY = Range()
_NEVER_NULL = {"long", "integer", "boolean"}
_NULLS: dict[Any, Any] = {"double": math.nan, "float": math.nan, "datetime": np.datetime64("NaT")}
_EXPECTED = {
    "double": "a number",
    "float": "a number",
    "long": "a whole number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "a text",
    "binary": 'base64 as {"b64": "…"}',
    "datetime": "a time such as 2013-07-04T15:30:00",
}


def _in_range(value: Any, limits: Range) -> None:
    if limits.allowed is not None and value not in limits.allowed:
        known = sorted(map(str, limits.allowed))
        some = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
        raise _Wrong(f"{told(value)} is none of the contract's values: {some}")
    if limits.low is not None and value < limits.low:
        raise _Wrong(f"{value!r} is less than {limits.low:g}, the least that the contract allows")
    if limits.high is not None and value > limits.high:
        raise _Wrong(f"{value!r} is more than {limits.high:g}, the most that the contract allows")


def _wrong(kind: str, value: Any) -> _Wrong:
    return _Wrong(f"expected {_EXPECTED[kind]}, got {told(value)}")


def _number(value: Any) -> Any:
    if type(value) is float:
        if value - value != 0:  # neither infinite nor NaN
            raise _wrong("double", value)
        return value
    if type(value) is int:
        return value
    raise _wrong("double", value)


def _single(value: Any) -> Any:
    if abs(_number(value)) > _SINGLE:
        raise _Wrong(f"{value!r} is too large for a 32-bit number")
    return value


def _integer(kind: str) -> Callable[[Any], Any]:
    low, high = _WIDTH[kind]

    def convert(value: Any) -> Any:
        if type(value) is not int:
            raise _wrong(kind, value)
        if not low <= value <= high:
            raise _Wrong(f"{value!r} is outside of {low} to {high}")
        return value

    return convert


def _boolean(value: Any) -> Any:
    if type(value) is not bool:
        raise _wrong("boolean", value)
    return value


def _string(value: Any) -> Any:
    if type(value) is str:
        return value
    if isinstance(value, dict) and value.keys() == {"b64"}:
        try:
            return _binary(value).decode()
        except UnicodeDecodeError:
            raise _Wrong("the base64 holds no UTF-8 text") from None
    raise _wrong("string", value)


def _binary(value: Any) -> bytes:
    text = value.get("b64") if isinstance(value, dict) and value.keys() == {"b64"} else value
    if not isinstance(text, str):
        raise _wrong("binary", value)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _Wrong("is no base64") from None


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        raise _wrong("datetime", value)
    try:
        moment = datetime.fromisoformat(value)
        plain = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        found = np.datetime64(plain, "ns")
    except (ValueError, OverflowError):
        raise _wrong("datetime", value) from None
    if abs(plain.year - 1970) > 290:  # NumPy wraps around silently
        raise _Wrong(f"{value} is too far away for times in nanoseconds")
    return found


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "double": _number,
    "float": _single,
    "long": _integer("long"),
    "integer": _integer("integer"),
    "boolean": _boolean,
    "string": _string,
    "binary": _binary,
    "datetime": _time,
}


def _nested(kind: Any, value: Any) -> Any:
    """Return a value of a nested type: MLflow's array, object, map, any."""
    if isinstance(kind, str):
        if value is None:
            raise _wrong(kind, value)
        return _CONVERTERS[kind](value)
    match kind["type"]:
        case "array":
            if not isinstance(value, list):
                raise _Wrong(f"expected a list, got {told(value)}")
            inner = kind["items"] if kind["items"].get("type") not in _CONVERTERS else kind["items"]["type"]
            return [_nested(inner, one) for one in value]
        case "object" | "map" if not isinstance(value, dict):
            raise _Wrong(f"expected an object, got {told(value)}")
        case "object":
            known = kind["properties"]
            for name in value:
                if name not in known:
                    raise _Wrong(f"has no field {name[:60]!r}{_nearest(name, known)}")
            for name, one in known.items():
                if one.get("required", True) and name not in value:
                    raise _Wrong(f"lacks the field {name!r}")
            return {
                name: _nested(known[name]["type"] if known[name]["type"] in _CONVERTERS else known[name], one)
                for name, one in value.items()
            }
        case "map":
            inner = kind["values"] if kind["values"].get("type") not in _CONVERTERS else kind["values"]["type"]
            return {name: _nested(inner, one) for name, one in value.items()}
    return value


# Tensors.


def _unfolded(tensors: Sequence[Tensor], rows: list[Any]) -> Any:
    """Return columns from rows: a row is an object by the tensors' names, or the value where there is one."""
    if isinstance(rows[0], dict) and rows[0].keys() != {"b64"}:
        refuse(
            [
                Complaint("", "must be an object as the first row is", n)
                for n, one in enumerate(rows)
                if type(one) is not dict
            ]
        )
        names = rows[0].keys()
        refuse(
            [
                Complaint("", "has other fields than the first row", n)
                for n, one in enumerate(rows)
                if one.keys() != names
            ]
        )
        return {name: [row[name] for row in rows] for name in names}
    if len(tensors) != 1:
        raise BadRequest(f"a row must be an object with the fields {', '.join(one.name for one in tensors)}")
    return {tensors[0].name: rows}


def _tensors(signature: Signature, given: Any, most: int) -> Table:
    if not isinstance(given, dict):
        raise BadRequest(f"inputs must be an object by the tensors' names, not {told(given)}")
    single = len(signature.tensors) == 1 and len(given) == 1 and not signature.tensors[0].name
    if single:  # an only tensor without a name takes any name
        given = {"": next(iter(given.values()))}
    elif given.keys() != signature.names:
        missing = [Complaint(name, "is missing") for name in sorted(signature.names - given.keys())]
        extra = [
            Complaint(name[:60], "the model takes no such input") for name in sorted(given.keys() - signature.names)
        ]
        refuse(missing + extra)
    frame = {one.name: _tensor(one, given[one.name]) for one in signature.tensors}
    sizes = {len(one) for one in frame.values()}
    if len(sizes) != 1:
        raise BadRequest(f"inputs have different numbers of rows: {', '.join(map(str, sorted(sizes)))}")
    rows = sizes.pop()
    _limit(rows, most)
    joined = all(one.shape[:1] == (-1,) for one in signature.tensors)
    if len(frame) == 1 and not signature.tensors[0].name:
        return Table(frame[""], rows, alone=not joined)
    return Table(frame, rows, {one.name: f"tensor:{one.dtype}" for one in signature.tensors}, alone=not joined)


def _tensor(tensor: Tensor, value: Any) -> Any:
    name = tensor.name or "inputs"
    wanted = np.dtype(tensor.dtype)
    if wanted.kind in "OSU":
        value = _texts(name, value)
    try:
        found = np.asarray(value)
    except ValueError:
        raise BadRequest(f"{name}: lists of different lengths are no tensor") from None
    if found.dtype.kind == "O" and wanted.kind != "O":
        raise BadRequest(f"{name}: lists of different lengths, or values of different kinds, are no tensor")
    fits = {"f": "iuf", "i": "iu", "u": "iu", "b": "b", "O": "OSU", "U": "U", "S": "U"}
    if found.dtype.kind not in fits.get(wanted.kind, wanted.kind):
        words = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false"}
        kinds = {"U": "texts", "b": "true or false", "f": "numbers with fractions", "i": "whole numbers"}
        got = kinds.get(found.dtype.kind, str(found.dtype))
        raise BadRequest(f"{name}: expected {words.get(wanted.kind, 'texts')} ({tensor.dtype}), got {got}")
    if found.ndim == 0:
        raise BadRequest(f"{name}: must be a list, not {told(value)}")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise BadRequest(f"{name}: numbers must be finite")
    if (
        wanted.kind in "iu"
        and found.size
        and not (np.iinfo(wanted).min <= found.min() and found.max() <= np.iinfo(wanted).max)
    ):
        raise BadRequest(f"{name}: numbers are outside of {tensor.dtype}")
    shape = tensor.shape
    if found.ndim != len(shape) or any(size not in (-1, own) for size, own in zip(shape, found.shape, strict=True)):
        raise BadRequest(f"{name}: expected the shape {list(shape)} (-1: any), got {list(found.shape)}")
    return found.astype(wanted)


def _texts(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(name, one) for one in value]
    try:
        return _string(value)
    except _Wrong as wrong:
        raise BadRequest(f"{name}: {wrong}") from None


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
