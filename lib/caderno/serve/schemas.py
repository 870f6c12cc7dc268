"""JSON Schema of what a model takes and gives, from its signature and its contract: what tables.py lets pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from caderno.serve.signature import Column, Range, Signature, Tensor

Schema = dict[str, Any]

_NEVER_NULL = ("long", "integer", "boolean")
_BINARY: Schema = {"type": "string", "contentEncoding": "base64"}
_SCALARS: dict[str, Schema] = {
    "double": {"type": "number"},
    "float": {"type": "number", "format": "float"},
    "long": {"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1},
    "integer": {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    "boolean": {"type": "boolean"},
    "string": {"type": "string"},
    "binary": _BINARY,
    "datetime": {"type": "string", "format": "date-time"},
}
_BY_KIND = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}  # of NumPy's
_ANYTHING: Schema = {"description": "The model does not say what it takes."}


def may_be_missing(column: Column) -> bool:
    """Whether null is taken for a column."""
    return not column.required or (column.range.nullable and column.type not in _NEVER_NULL)


def value(column: Column) -> Schema:
    """Return the schema of one value of a column, with what the contract says of it."""
    found = _typed(column.type)
    limits = column.range
    if limits != Range():
        found |= {
            word: limit for word, limit in (("minimum", limits.low), ("maximum", limits.high)) if limit is not None
        }
        if limits.allowed is not None:
            found["enum"] = sorted(limits.allowed, key=str)
    return _nullable(found) if may_be_missing(column) else found


def row(signature: Signature) -> Schema:
    """Return the schema of one row: an object, or a value where there is one input."""
    if signature.tensors:
        tensors = {one.name: _nested(one.dtype, one.shape[1:]) for one in signature.tensors}
        return _by_name(tensors, signature.tensors)
    if not signature.columns:
        return dict(_ANYTHING)
    values = {one.name: value(one) for one in signature.columns}
    whole: Schema = {"type": "object", "properties": values, "additionalProperties": False}
    if signature.required:
        whole["required"] = [one.name for one in signature.columns if one.required]
    return {"anyOf": [whole, *values.values()]} if len(values) == 1 else whole


def columns(signature: Signature) -> Schema:
    """Return the schema of columns: an object of lists, all of one length, or a list where there is one input."""
    if signature.tensors:
        return _by_name({one.name: _nested(one.dtype, one.shape) for one in signature.tensors}, signature.tensors)
    if not signature.columns:
        return dict(_ANYTHING)
    lists = {one.name: {"type": "array", "items": value(one), "minItems": 1} for one in signature.columns}
    whole: Schema = {"type": "object", "properties": lists, "additionalProperties": False}
    if signature.required:
        whole["required"] = [one.name for one in signature.columns if one.required]
    return {"anyOf": [whole, *lists.values()]} if len(lists) == 1 else whole


def outputs(signature: Signature) -> Schema:
    """Return the schema of what one row is answered with: a value, or an object where there are several outputs.

    What is missing, infinite or no number is null.
    """
    found = {
        str(one.name or place): _nested(one.dtype, one.shape[1:], _nullable)
        if isinstance(one, Tensor)
        else _nullable(_typed(one.type))
        for place, one in enumerate(signature.outputs)
    }
    if not found:
        return {"description": "The model does not say what it gives."}
    if len(found) == 1:
        return next(iter(found.values()))
    return {"type": "object", "properties": found}


def _typed(kind: str | Mapping[str, Any]) -> Schema:
    """Return the schema of MLflow's type: a scalar's name, or the description of a nested one."""
    if isinstance(kind, str):
        return dict(_SCALARS.get(kind, {}))
    match kind["type"]:
        case "array":
            return {"type": "array", "items": _typed(_inner(kind["items"]))}
        case "map":
            return {"type": "object", "additionalProperties": _typed(_inner(kind["values"]))}
        case "object":
            known = kind["properties"]
            needed = [name for name, one in known.items() if one.get("required", True)]
            return {
                "type": "object",
                "properties": {name: _typed(_inner(one)) for name, one in known.items()},
                "additionalProperties": False,
                **({"required": needed} if needed else {}),
            }
    return {}


def _inner(one: Mapping[str, Any]) -> Any:
    return one["type"] if one.get("type") in _SCALARS else one


def _nested(dtype: str, shape: Sequence[int], element: Callable[[Schema], Schema] = dict) -> Schema:
    """Return the schema of a tensor as nested lists; what has no shape is one value."""
    found = element({"type": _BY_KIND.get(np.dtype(dtype).kind, "string")})
    for size in reversed(shape):
        fixed = {"minItems": size, "maxItems": size} if size >= 0 else {}
        found = {"type": "array", "items": found, **fixed}
    return found


def _by_name(found: Mapping[str, Schema], tensors: Sequence[Tensor]) -> Schema:
    if len(tensors) == 1 and not tensors[0].name:
        return found[""]
    whole: Schema = {
        "type": "object",
        "properties": dict(found),
        "required": list(found),
        "additionalProperties": False,
    }
    return {"anyOf": [whole, *found.values()]} if len(tensors) == 1 else whole


def _nullable(schema: Schema) -> Schema:
    found = dict(schema)
    if isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    if "enum" in found:
        found["enum"] = [*found["enum"], None]
    return found
