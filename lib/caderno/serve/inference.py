"""The Open Inference Protocol, version 2, over REST (https://github.com/kserve/open-inference-protocol).

A column is a tensor of shape [n] or [n, 1]; a model of tensors takes and gives those. The binary data extension is not
spoken: who asks for binary outputs gets JSON, as clients understand, and binary inputs are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib.metadata import version as installed
from typing import Any

import numpy as np
import orjson
from flask import Blueprint, Response, request

from caderno.serve.answering import Service
from caderno.serve.batching import Answer, Output
from caderno.serve.bodies import DEEPEST, body
from caderno.serve.errors import BadRequest, Complaint, NotFound, ServiceError, WrongType, refuse
from caderno.serve.signature import KINDS, Column, Signature, Tensor
from caderno.serve.tables import Table, from_columns, with_params
from caderno.serve.tensors import LEAVES, leaves
from caderno.serve.values import told

_TYPES = ("application/json", "", "application/x-www-form-urlencoded", "application/octet-stream")  # as clients say
_NUMBERS = {"FP16": "float16", "FP32": "float32", "FP64": "float64", "BOOL": "bool"}
_NUMBERS |= {f"{sign.upper()}INT{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NAMES = {dtype: name for name, dtype in _NUMBERS.items()}
_BINARY = "the binary data extension is not spoken here: send data as JSON (in Triton's client: binary_data=False)"


def blueprint(service: Service) -> Blueprint:
    """Return the routes below /v2."""
    routes = Blueprint("inference", __name__, url_prefix="/v2")
    routes.register_error_handler(ServiceError, failed)

    def server() -> Response:
        """Say what answers here."""
        return answer({"name": "caderno", "version": installed("caderno"), "extensions": [], **_troubles(service)})

    def live() -> Response:
        """Say that the service runs."""
        return answer({"live": True})

    def ready() -> Response:
        """Say whether each model has a version that answers. The one before goes on when a new one can't be loaded."""
        well = service.shelf.ready and not service.stopping
        return answer({"ready": well, "live": True, **_troubles(service)}, 200 if well else 503)

    def model_ready(name: str, version: str | None = None) -> Response:
        """Say whether a version answers."""
        shown = service.shelf.model(name)
        try:
            shown.version(version)
        except NotFound:
            return answer({"name": name, "ready": False}, 503 if version is None else 404)
        return answer({"name": name, "ready": True})

    def metadata(name: str, version: str | None = None) -> Response:
        """Return what a model takes and gives."""
        shown = service.shelf.model(name)
        signature = shown.version(version).signature
        outputs = [
            _described(one, called) for one, called in zip(signature.outputs, output_names(signature), strict=True)
        ]
        return answer(
            {
                "name": name,
                "versions": sorted(shown.versions, key=int),
                "platform": "mlflow",
                "inputs": [_described(one, one.name or "inputs") for one in signature.inputs],
                "outputs": outputs,
            }
        )

    def infer(name: str, version: str | None = None) -> Response:
        """Predict what tensors hold."""
        if "Inference-Header-Content-Length" in request.headers:
            raise WrongType(_BINARY)
        asked = body(_TYPES)
        if not isinstance(asked, dict):
            raise BadRequest(f"the request must be a JSON object, not {told(asked)}")
        with service.asking("inference", name, version) as asking:
            found = asking.predict(_table(asking.version.signature, asked, service.most_rows))
        tensors = _tensors(asking.version.signature, found, asked.get("outputs"))
        named = {"id": asked["id"]} if "id" in asked else {}
        said = {"model_name": name, "model_version": asking.version.number, **named, "outputs": tensors}
        return asking.stamp(answer(said))

    routes.get("", strict_slashes=False)(server)
    routes.get("/health/live")(live)
    routes.get("/health/ready")(ready)
    for form in ("/models/<name>", "/models/<name>/versions/<version>"):
        routes.get(form)(metadata)
        routes.get(f"{form}/ready")(model_ready)
        routes.post(f"{form}/infer")(infer)
    return routes


def output_names(signature: Signature) -> list[str]:
    """Return the name of each output that a signature has; those without one are outputs, outputs_1, …"""
    return [one.name or _unnamed(place) for place, one in enumerate(signature.outputs)]


def _unnamed(place: int) -> str:
    return f"outputs_{place}" if place else "outputs"


def _troubles(service: Service) -> dict[str, Any]:
    return {"troubles": dict(service.shelf.troubles)} if service.shelf.troubles else {}


def _described(one: Column | Tensor, name: str) -> dict[str, Any]:
    kind = one.dtype if isinstance(one, Tensor) else KINDS.get(one.type, "") if isinstance(one.type, str) else ""
    shape = list(one.shape) if isinstance(one, Tensor) else [-1]
    return {"name": name, "datatype": _NAMES.get(kind, "BYTES"), "shape": shape}


# Requests.


def _table(signature: Signature, asked: dict[str, Any], most: int) -> Table:
    """Return the table that tensors describe, with the parameters of the request that are the model's."""
    inputs, parameters = asked.get("inputs"), asked.get("parameters", {})
    if not isinstance(asked.get("id", ""), str):
        raise BadRequest(f"id must be a text, not {told(asked['id'])}")
    if not isinstance(parameters, dict):
        raise BadRequest(f"parameters must be an object, not {told(parameters)}")
    if not isinstance(inputs, list) or not inputs:
        raise BadRequest("inputs must be a list of at least one tensor")
    columns: dict[str, Any] = {}
    scalar = {one.name for one in signature.columns if isinstance(one.type, str)}
    for place, tensor in enumerate(inputs):
        name, shape, values = _input(tensor, place)
        if name in columns:
            raise BadRequest(f"{name}: there are two inputs of this name")
        flat = name in scalar and len(shape) == 2 and shape[1] == 1
        columns[name] = values if flat or len(shape) < 2 else np.reshape(_objects(values), shape).tolist()
    if not signature.inputs and len(inputs) == 1 and len(inputs[0]["shape"]) > 1:
        table = from_columns(signature, next(iter(columns.values())), most)  # rows for a model that takes anything
    else:
        table = from_columns(signature, columns, most)
    return with_params(signature, table, {name: one for name, one in parameters.items() if name in signature.params})


def _input(tensor: Any, place: int) -> tuple[str, list[int], list[Any]]:
    """Return a tensor's name, its shape and its values in one list. Raises BadRequest."""
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise BadRequest(f"input {place} must be an object with a name")
    name, shape, kind, given = tensor["name"], tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    parameters = tensor.get("parameters")
    if isinstance(parameters, dict) and "binary_data_size" in parameters:
        raise WrongType(f"{name[:60]}: {_BINARY}")
    if not isinstance(shape, list) or not all(type(one) is int and one >= 0 for one in shape):
        raise BadRequest(f"{name[:60]}: shape must be a list of sizes")
    if not 0 < len(shape) < DEEPEST:
        raise BadRequest(f"{name[:60]}: shape must have 1 to {DEEPEST - 1} sizes, not {len(shape)}")
    if not isinstance(kind, str) or (kind != "BYTES" and kind not in _NUMBERS):
        raise BadRequest(f"{name[:60]}: datatype must be one of {', '.join([*_NUMBERS, 'BYTES'])}, not {told(kind)}")
    if not isinstance(given, list):
        raise BadRequest(f"{name[:60]}: data must be a list, not {told(given)}")
    values = list(leaves(given))
    if len(values) != math.prod(shape):
        raise BadRequest(f"{name[:60]}: the shape {shape} has {math.prod(shape)} values, but data has {len(values)}")
    allowed = LEAVES[np.dtype(_NUMBERS[kind]).kind] if kind in _NUMBERS else {str}
    for row, value in enumerate(values):
        if value is not None and type(value) not in allowed:
            raise BadRequest(str(Complaint(name[:60], f"{told(value)} is no {kind}", row)))
    return name, shape, values


def _objects(values: list[Any]) -> Any:
    found = np.empty(len(values), object)
    found[:] = values
    return found


# Answers.


def _tensors(signature: Signature, found: Answer, wanted: Any) -> list[dict[str, Any]]:
    """Return the outputs that are wanted, in that order; default: all."""
    names = output_names(signature)
    tensors = {}
    for place, one in enumerate(found.outputs):
        own = one.name if one.name in names or len(names) != len(found.outputs) else names[place]
        tensors[own or _unnamed(place)] = one
    if not wanted:
        return [_tensor(name, one) for name, one in tensors.items()]
    return [_tensor(name, tensors[name]) for name in _wanted(wanted, tensors)]


def _wanted(wanted: Any, known: Any) -> list[str]:
    if not isinstance(wanted, list):
        raise BadRequest(f"outputs must be a list, not {told(wanted)}")
    names = [one.get("name") if isinstance(one, dict) else None for one in wanted]
    refuse(
        [
            Complaint("outputs", f"{told(name)} is none of the model's outputs: {', '.join(known)}", place)
            for place, name in enumerate(names)
            if not isinstance(name, str) or name not in known
        ]
    )
    return [str(name) for name in names]


def _tensor(name: str, output: Output) -> dict[str, Any]:
    kind = _NAMES.get(output.kind, "BYTES")
    shape, values = _flat(output.values)
    if kind == "BYTES":
        values = [one if isinstance(one, str) else json.dumps(one) for one in values]
    return {"name": name, "shape": shape, "datatype": kind, "data": values}


def _flat(values: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """Return the shape of nested lists and their values in one; lists of different lengths are values themselves."""
    shape, flat = [len(values)], list(values)
    while flat and all(type(one) is list and len(one) == len(flat[0]) for one in flat):
        shape.append(len(flat[0]))
        flat = [inner for one in flat for inner in one]
    return shape, flat


def answer(told: Any, status: int = 200) -> Response:
    """Return JSON."""
    return Response(orjson.dumps(told), status, mimetype="application/json")


def failed(error: ServiceError) -> Response:
    """Return an error in the protocol's form."""
    return answer({"error": error.message}, error.status)
