"""One value out of JSON, as a type takes it: numbers come as numbers, texts as texts, and nothing is guessed.

Types are MLflow's names of scalar ones, and its descriptions of nested ones: array, object, map, any.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from caderno.errors import nearest

EXPECTED = {
    "double": "a number",
    "float": "a number",
    "long": "a whole number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "a text",
    "binary": 'base64 as {"b64": "…"}',
    "datetime": "a time such as 2013-07-04T15:30:00",
}
_WIDTH = {"integer": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}
_SINGLE = float(np.finfo("float32").max)


class Wrong(Exception):
    """What is wrong with a value."""


def converted(kind: str | Mapping[str, Any], value: Any) -> Any:
    """Return a value as its type takes it. Raises Wrong."""
    if isinstance(kind, str):
        return CONVERTERS[kind](value)
    return _nested(kind, value)


def wrong(kind: str, value: Any) -> Wrong:
    """Return the complaint that a value is not of a scalar type."""
    return Wrong(f"expected {EXPECTED[kind]}, got {told(value)}")


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


def likely(name: str, known: Any) -> str:
    """Return a hint at the known name that is nearest, where one is near."""
    close = nearest(name[:60], known)
    return f" (did you mean {close!r}?)" if close else ""


def _number(value: Any) -> Any:
    if type(value) is float:
        if value - value != 0:  # neither infinite nor NaN
            raise wrong("double", value)
        return value
    if type(value) is int:
        return value
    raise wrong("double", value)


def _single(value: Any) -> Any:
    if abs(_number(value)) > _SINGLE:
        raise Wrong(f"{value!r} is too large for a 32-bit number")
    return value


def _integer(kind: str) -> Callable[[Any], Any]:
    low, high = _WIDTH[kind]

    def convert(value: Any) -> Any:
        if type(value) is not int:
            raise wrong(kind, value)
        if not low <= value <= high:
            raise Wrong(f"{value!r} is outside of {low} to {high}")
        return value

    return convert


def _boolean(value: Any) -> Any:
    if type(value) is not bool:
        raise wrong("boolean", value)
    return value


def _string(value: Any) -> Any:
    if type(value) is str:
        return value
    if isinstance(value, dict) and value.keys() == {"b64"}:
        try:
            return _binary(value).decode()
        except UnicodeDecodeError:
            raise Wrong("the base64 holds no UTF-8 text") from None
    raise wrong("string", value)


def _binary(value: Any) -> bytes:
    text = value.get("b64") if isinstance(value, dict) and value.keys() == {"b64"} else value
    if not isinstance(text, str):
        raise wrong("binary", value)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Wrong("is no base64") from None


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        raise wrong("datetime", value)
    try:
        moment = datetime.fromisoformat(value)
        plain = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        found = np.datetime64(plain, "ns")
    except (ValueError, OverflowError):
        raise wrong("datetime", value) from None
    if abs(plain.year - 1970) > 290:  # NumPy wraps around silently
        raise Wrong(f"{value} is too far away for times in nanoseconds")
    return found


CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "double": _number,
    "float": _single,
    "long": _integer("long"),
    "integer": _integer("integer"),
    "boolean": _boolean,
    "string": _string,
    "binary": _binary,
    "datetime": _time,
}


def _nested(kind: Mapping[str, Any], value: Any) -> Any:
    match kind["type"]:
        case "array":
            if not isinstance(value, list):
                raise Wrong(f"expected a list, got {told(value)}")
            return [_inner(kind["items"], one) for one in value]
        case "object" | "map" if not isinstance(value, dict):
            raise Wrong(f"expected an object, got {told(value)}")
        case "object":
            return _object(kind["properties"], value)
        case "map":
            return {name: _inner(kind["values"], one) for name, one in value.items()}
    return value


def _object(known: Mapping[str, Mapping[str, Any]], value: Mapping[str, Any]) -> dict[str, Any]:
    for name in value:
        if name not in known:
            raise Wrong(f"has no field {name[:60]!r}{likely(name, known)}")
    for name, one in known.items():
        if one.get("required", True) and name not in value:
            raise Wrong(f"lacks the field {name!r}")
    return {
        name: None if one is None and not known[name].get("required", True) else _inner(known[name], one)
        for name, one in value.items()
    }


def _inner(kind: Mapping[str, Any], value: Any) -> Any:
    return converted(kind["type"] if kind["type"] in CONVERTERS else kind, value)
