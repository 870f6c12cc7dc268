"""The body of a request: JSON and nothing else, of a bounded size and depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from caderno.serve.errors import BadRequest, TooLarge, WrongType

DEEPEST = 32  # levels of lists and objects
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))
_JSON = ("application/json", "")


def body(types: tuple[str, ...] = _JSON) -> Any:
    """Return the JSON that was sent. Raises WrongType, TooLarge, BadRequest."""
    kind = request.mimetype
    coding = request.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        raise WrongType(f"the body must be plain, not compressed ({coding[:40]})")
    if kind not in types and not kind.endswith("+json"):
        raise WrongType(f"the body must be application/json, not {kind}")
    return parsed(data())


def data() -> bytes:
    """Return the bytes that were sent. Raises TooLarge."""
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge:
        most = request.max_content_length or 0
        raise TooLarge(f"the body has more than {most:,} bytes") from None


def parsed(text: bytes) -> Any:
    """Return what JSON says. NaN and Infinity are no JSON (RFC 8259). Raises BadRequest."""
    if not text or text.isspace():
        raise BadRequest("JSON Parse error: The document is empty")
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        hint = " (NaN and Infinity are no JSON: a missing value is null)" if _has_nan(text) else ""
        raise BadRequest(f"JSON Parse error: {error.msg} at line {error.lineno}, column {error.colno}{hint}") from None
    if _levels(text) > DEEPEST and _depth(found, 0) > DEEPEST:
        raise BadRequest(f"the JSON is nested more than {DEEPEST} levels deep")
    return found


def _has_nan(text: bytes) -> bool:
    return b"NaN" in text or b"Infinity" in text


def _levels(text: bytes) -> int:
    """Return how deep brackets are nested, as if none stood in a text: for most bodies that is all one must know."""
    brackets = np.frombuffer(text.translate(None, _OTHERS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    return int(steps.cumsum().max(initial=0))


def _depth(value: Any, level: int) -> int:
    if level > DEEPEST:
        return level
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return level
    deepest = level + 1
    for one in value:
        if type(one) is dict or type(one) is list:
            deepest = max(deepest, _depth(one, level + 1))
            if deepest > DEEPEST:
                break
    return deepest
