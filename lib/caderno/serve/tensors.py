"""From JSON to the tensors that a model takes: rows or nested lists are checked against dtype and shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from caderno.serve.errors import BadRequest, Complaint, refuse
from caderno.serve.signature import Signature, Tensor
from caderno.serve.values import Wrong, converted, likely, told

# NumPy's kind of number -> what JSON has for it.
LEAVES: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}}
_WORDS = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false"}


def unfolded(tensors: Sequence[Tensor], rows: list[Any]) -> Any:
    """Return columns from rows: a row is an object by the tensors' names, or the value where there is one.

    Raises BadRequest.
    """
    if isinstance(rows[0], dict) and rows[0].keys() != {"b64"}:
        names = rows[0].keys()
        refuse(
            [
                Complaint("", "must be an object with the first row's fields", place)
                for place, one in enumerate(rows)
                if type(one) is not dict or one.keys() != names
            ]
        )
        return {name: [row[name] for row in rows] for name in names}
    if len(tensors) != 1:
        raise BadRequest(f"a row must be an object with the fields {', '.join(one.name for one in tensors)}")
    return {tensors[0].name: rows}


def arrays(signature: Signature, given: Any) -> dict[str, Any]:
    """Return an array for each tensor that a model takes. An only tensor without a name takes any name.

    Raises BadRequest.
    """
    if not isinstance(given, dict):
        raise BadRequest(f"inputs must be an object by the tensors' names, not {told(given)}")
    if len(signature.tensors) == 1 and len(given) == 1 and not signature.tensors[0].name:
        given = {"": next(iter(given.values()))}
    names = frozenset(one.name for one in signature.tensors)
    missing = [Complaint(name or "inputs", "is missing") for name in sorted(names - given.keys())]
    refuse(
        missing
        + [
            Complaint(name[:60], f"the model takes no such input{likely(name, names - given.keys())}")
            for name in sorted(given.keys() - names)
        ]
    )
    return {one.name: _array(one, given[one.name]) for one in signature.tensors}


def _array(tensor: Tensor, value: Any) -> Any:
    name, wanted = tensor.name or "inputs", np.dtype(tensor.dtype)
    if not isinstance(value, list):
        raise BadRequest(f"{name}: must be a list, not {told(value)}")
    if wanted.kind in LEAVES:
        _judge(name, tensor, value)
    else:
        value = _texts(name, value)
    try:
        with np.errstate(over="ignore"):
            found = np.asarray(value, wanted)
    except OverflowError:
        raise BadRequest(f"{name}: numbers are outside of {tensor.dtype}") from None
    except ValueError:
        raise BadRequest(f"{name}: is no tensor of {tensor.dtype} with lists of the same lengths") from None
    if wanted.kind == "f" and not np.isfinite(found).all():
        raise BadRequest(f"{name}: numbers are infinite, or outside of {tensor.dtype}")
    shape = tensor.shape
    if found.ndim != len(shape) or any(size not in (-1, own) for size, own in zip(shape, found.shape, strict=True)):
        raise BadRequest(f"{name}: expected the shape {list(shape)} (-1: any), got {list(found.shape)}")
    return found


def _judge(name: str, tensor: Tensor, value: list[Any]) -> None:
    """Refuse what is not of the tensor's kind; NumPy would make numbers of true, and texts of numbers."""
    kind = np.dtype(tensor.dtype).kind
    for one in leaves(value):
        if type(one) not in LEAVES[kind]:
            raise BadRequest(f"{name}: expected {_WORDS[kind]} ({tensor.dtype}), got {told(one)}")


def leaves(value: list[Any]) -> Iterator[Any]:
    """Yield the values of nested lists."""
    for one in value:
        if type(one) is list:
            yield from leaves(one)
        else:
            yield one


def _texts(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(name, one) for one in value]
    try:
        return converted("string", value)
    except Wrong as wrong:
        raise BadRequest(f"{name}: {wrong}") from None
