"""A form for one row, made from what a model takes and filled with its own example; and the row that it brings back.

Values come back as JSON would bring them: what is no number stays a text, so that the signature says what is wrong
with it, as to any program. An empty field is a missing value.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from caderno.serve import schemas
from caderno.serve.bodies import parsed
from caderno.serve.errors import BadRequest, Complaint
from caderno.serve.shelf import Version
from caderno.serve.signature import Column

PREFIX = "x."  # of a column's name in the form
WHOLE = "row"  # the one field of a model without columns: JSON
_FEW = 12  # fields that need no groups
_FAMILY = 3  # fields that share the first part of their name and so make a group
_NUMBER = re.compile(r"[+-]?(\d+|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)")
_STEPS = {"double": "any", "float": "any", "long": "1", "integer": "1"}
_LARGEST_ZEROS = 1000  # elements of a tensor that are written out as a first value


@dataclass(frozen=True)
class Field:
    """One input: `kind` is number, text, time, choice or json; `options` are those of a choice."""

    name: str
    label: str
    kind: str
    value: str
    required: bool = True
    options: Sequence[str] = ()
    low: str | None = None
    high: str | None = None
    step: str | None = None
    hint: str = ""
    complaint: str = ""
    changed: bool = False


@dataclass(frozen=True)
class Group:
    """Fields that stand together; without a title they are all."""

    title: str
    fields: Sequence[Field]
    open: bool


def groups(version: Version, given: Mapping[str, str] | None, complaints: Sequence[Complaint] = ()) -> list[Group]:
    """Return the form's groups, filled with what was given, else with the model's example."""
    columns = version.signature.columns
    wrong = {one.field: one.what for one in reversed(complaints)}
    example = version.example[0] if version.example else {}
    if not columns:
        own = json.dumps(example or _zeros(version), indent=1)
        value = own if given is None else given.get(WHOLE, "")
        complaint = "; ".join(str(one) for one in complaints)
        return [Group("", [Field(WHOLE, "One row, as JSON", "json", value, complaint=complaint)], True)]
    fields = [_field(one, example.get(one.name), given, wrong.get(one.name, "")) for one in columns]
    if len(fields) <= _FEW:
        return [Group("", fields, True)]
    families = Counter(_family(one) for one in columns)
    titles = {one.name: family for one in columns if families[family := _family(one)] >= _FAMILY and family}
    found: dict[str, list[Field]] = {"": []}
    for one in fields:
        found.setdefault(titles.get(one.label, ""), []).append(one)
    return [
        Group(title and f"{title}_…", some, not title or any(one.complaint or one.changed for one in some))
        for title, some in found.items()
        if some
    ]


def row(version: Version, given: Mapping[str, str]) -> Any:
    """Return the row that a form brought. Raises BadRequest where its JSON is none."""
    columns = version.signature.columns
    if not columns:
        return parsed(given.get(WHOLE, "").encode("utf-8", "replace"))
    return {
        one.name: _taken(one, given.get(PREFIX + one.name, ""))
        for one in columns
        if one.required or given.get(PREFIX + one.name, "") != ""
    }


def _family(column: Column) -> str:
    """Return the first part of a name that has several; a text stands alone."""
    first, _, rest = column.name.partition("_")
    return first if rest and column.type != "string" else ""


def _field(column: Column, example: Any, given: Mapping[str, str] | None, complaint: str) -> Field:
    own = _written(column, example)
    value = own if given is None else given.get(PREFIX + column.name, "")
    missing, limits = schemas.may_be_missing(column), column.range
    kind, options = _kind(column), _options(column)
    if kind == "time" and value and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?", value):
        kind = "text"  # what was sent is no time: it is shown as it is
    if options:
        options = [*([""] if missing or value == "" else []), *options]
        options += [] if value in options else [value]
    low, high = (None if one is None else f"{one:.15g}" for one in (limits.low, limits.high))
    return Field(
        PREFIX + column.name,
        column.name,
        "choice" if options else kind,
        value,
        not missing,
        options,
        low,
        high,
        _STEPS.get(column.type) if isinstance(column.type, str) else None,
        _hint(column, low, high),
        complaint,
        value != own,
    )


def _kind(column: Column) -> str:
    if not isinstance(column.type, str):
        return "json"
    return {"datetime": "time", **dict.fromkeys(_STEPS, "number")}.get(column.type, "text")


def _options(column: Column) -> list[str]:
    if column.type == "boolean":
        return ["true", "false"]
    return sorted((_written(column, one) for one in column.range.allowed), key=str) if column.range.allowed else []


def _hint(column: Column, low: str | None, high: str | None) -> str:
    """Return what a person should know before typing, but for what the field shows by itself."""
    said = []
    if column.type in ("long", "integer"):
        said.append("whole number")
    elif column.type in ("binary", "datetime"):
        said.append({"binary": "base64", "datetime": "UTC"}[str(column.type)])
    elif not isinstance(column.type, str):
        said.append(f"{column.type['type']}, as JSON")
    if low is not None and high is not None:
        said.append(f"{low} to {high}")
    elif low is not None or high is not None:
        said.append(f"at least {low}" if low is not None else f"at most {high}")
    return ", ".join(said).replace("-", "−") if low or high else ", ".join(said)


def _written(column: Column, value: Any) -> str:
    """Return a value as its field shows it."""
    if value is None or value != value:
        return ""
    if column.type == "datetime" and isinstance(value, str):
        return _time(value)
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value)


def _time(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    plain = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    return plain.isoformat(timespec="milliseconds" if plain.microsecond else "seconds")


def _taken(column: Column, text: str) -> Any:
    """Return what a field says, as JSON would bring it."""
    if text == "" and (column.type != "string" or schemas.may_be_missing(column)):
        return None
    if not isinstance(column.type, str):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
    if column.type in _STEPS and (found := _NUMBER.fullmatch(text.strip())):
        return int(text) if found[1].isdecimal() and len(text) < 20 else float(text)
    return {"true": True, "false": False}.get(text, text) if column.type == "boolean" else text


def _zeros(version: Version) -> Any:
    """Return a first row for a model of tensors without an example."""
    found = {}
    for one in version.signature.tensors:
        value: Any = "" if one.dtype in ("str", "object", "bytes") else 0
        size = 1
        for length in reversed(one.shape[1:]):
            size *= max(length, 1)
            value = [value] * max(length, 1) if size <= _LARGEST_ZEROS else []
        found[one.name] = value
    return next(iter(found.values())) if len(found) == 1 else found


def complaints_of(error: BadRequest) -> Sequence[Complaint]:
    """Return what is wrong with which field; with the whole where that is all that is known."""
    return error.complaints or [Complaint("", error.message)]
