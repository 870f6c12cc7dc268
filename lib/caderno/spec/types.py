"""Types of parameters: from the annotation in a notebook to a check of a value."""

from __future__ import annotations

import ast
import json
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Optional, Union

from pydantic import TypeAdapter, ValidationError

_NAMES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "date": date,
    "datetime": datetime,
    "Path": Path,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "Any": Any,
    "None": None,
    "List": list,
    "Dict": dict,
    "Sequence": list,
    "Mapping": dict,
}
_GENERICS: dict[str, Any] = _NAMES | {"Literal": Literal, "Optional": Optional, "Union": Union}


class UncheckedType(Exception):
    """An annotation that names something else than the types known here; its values are not checked."""


class WrongType(ValueError):
    """A value that its annotation does not admit; the text says what is expected."""


def convert(value: Any, annotation: str) -> Any:
    """Return `value` (as YAML or JSON gives it) as the JSON value that its parameter receives.

    Strict: a bool is no int, "1" is no int; an int is a float (1 becomes 1.0). Dates and paths stay text,
    in ISO form, since papermill hands text to the notebook. Raises WrongType.
    """
    try:
        adapter = _adapter(annotation)
    except UncheckedType:
        return value
    try:
        parsed = adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        inside = "".join(f"[{part!r}]" for part in first["loc"] if isinstance(part, int))
        detail = f" ({first['msg'].lower()} at {inside})" if inside else ""
        raise WrongType(f"expected {annotation}, got {json.dumps(value)}{detail}") from None
    return adapter.dump_python(parsed, mode="json")


@lru_cache(maxsize=1024)
def _adapter(annotation: str) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(_resolve(ast.parse(annotation, mode="eval").body))
    except (SyntaxError, TypeError, ValueError, AssertionError) as error:  # Literal[NAME], Literal[()]
        raise UncheckedType(annotation) from error


def _resolve(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str() as quoted):
            return _resolve(ast.parse(quoted, mode="eval").body)
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _NAMES:
            return _NAMES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_resolve(left), _resolve(right)]  # noqa: UP007  # None | None has no operator
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner) if name in _GENERICS:
            members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if name == "Literal":
                return Literal[tuple(ast.literal_eval(member) for member in members)]
            resolved = tuple(_resolve(member) for member in members)
            return _GENERICS[name][resolved[0] if len(resolved) == 1 else resolved]
        case ast.Constant(value=builtins) if builtins is ...:
            return ...
    raise UncheckedType(ast.unparse(node))
