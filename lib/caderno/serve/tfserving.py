"""TensorFlow Serving's REST API (https://www.tensorflow.org/tfx/serving/api_rest): status, metadata, predict, classify,
regress. Labels are MLflow's aliases. Answers are laid out as its server lays them out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from caderno.serve.answering import Asked, Service, versioned
from caderno.serve.batching import Answer
from caderno.serve.bodies import body
from caderno.serve.errors import BadRequest, Complaint, ModelFailed, NotFound, ServiceError, refuse
from caderno.serve.shelf import Version, scores
from caderno.serve.signature import Column, Tensor
from caderno.serve.tables import Table, from_columns, from_rows
from caderno.serve.values import told

_TYPES = ("application/json", "", "application/x-www-form-urlencoded")  # the last is what curl -d says
_SIGNATURES = ("", "serving_default", "tensorflow/serving/predict")
_METHODS = {"classify": "tensorflow/serving/classify", "regress": "tensorflow/serving/regress"}
_DTYPES = {
    "double": "DT_DOUBLE",
    "float": "DT_FLOAT",
    "long": "DT_INT64",
    "integer": "DT_INT32",
    "boolean": "DT_BOOL",
    "string": "DT_STRING",
    "float64": "DT_DOUBLE",
    "float32": "DT_FLOAT",
    "int64": "DT_INT64",
    "int32": "DT_INT32",
    "int16": "DT_INT16",
    "int8": "DT_INT8",
    "uint8": "DT_UINT8",
    "bool": "DT_BOOL",
}


def blueprint(service: Service) -> Blueprint:
    """Return the routes below /v1/models."""
    routes = Blueprint("tfserving", __name__, url_prefix="/v1/models")
    routes.register_error_handler(ServiceError, failed)

    def status(name: str, version: int | None = None, label: str | None = None) -> Response:
        """Say which versions of a model are served, and in which state."""
        shown = service.shelf.model(name)
        if version is None and label is None:
            found = sorted(shown.versions, key=int, reverse=True)
        else:
            found = [shown.version(versioned(version), label).number]
        if not found:
            raise NotFound(f"Could not find any versions of model {name}")
        states = [
            {"version": one, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}} for one in found
        ]
        return answer({"model_version_status": states}, indent=1)

    def metadata(name: str, version: int | None = None, label: str | None = None) -> Response:
        """Return the model's signature as TensorFlow Serving describes one."""
        with service.shelf.picked(name, versioned(version), label) as found:
            return answer(
                {
                    "model_spec": {"name": name, "signature_name": "", "version": found.number},
                    "metadata": {"signature_def": {"signature_def": {"serving_default": _signature(found)}}},
                },
                indent=1,
            )

    def predict(name: str, version: int | None = None, label: str | None = None) -> Response:
        """Predict rows (`instances`) or columns (`inputs`)."""
        asked = _object()
        given = asked.keys() & {"instances", "inputs"}
        if len(given) != 1:
            both = "both 'inputs' and 'instances'" if given else "neither 'inputs' nor 'instances'"
            raise BadRequest(f"the request has {both}: it must have one of them")
        _signed(asked, _SIGNATURES)
        by_row = "instances" in asked
        take = from_rows if by_row else from_columns
        with service.asking("tfserving", name, versioned(version), label) as asking:
            table = take(asking.version.signature, asked["instances" if by_row else "inputs"], service.most_rows)
            found = asking.predict(table)
        told = {"predictions": found.values} if by_row else {"outputs": _columns(found)}
        return asking.stamp(answer(told))

    def classify(name: str, version: int | None = None, label: str | None = None) -> Response:
        """Return each class with its probability, for `examples`."""
        asking, found = _examples(service, "classify", name, version, label)
        classes = asking.version.classes
        values = found.outputs[0].values if len(found.outputs) == 1 else []
        if classes is None or not values or not isinstance(values[0], list) or len(values[0]) != len(classes):
            raise BadRequest(f"{name} gives no probabilities of classes: ask :predict or :regress")
        results = [[list(pair) for pair in zip(classes, row, strict=True)] for row in values]
        return asking.stamp(answer({"results": results}))

    def regress(name: str, version: int | None = None, label: str | None = None) -> Response:
        """Return one number for each of `examples`; of two classes the second's probability."""
        asking, found = _examples(service, "regress", name, version, label)
        try:
            values = scores(found.outputs[0].values)
        except ModelFailed:
            raise BadRequest(f"{name} gives no single number a row: ask :predict") from None
        return asking.stamp(answer({"results": values}))

    for form in ("/<name>", "/<name>/versions/<int:version>", "/<name>/labels/<label>"):
        routes.get(form)(status)
        routes.get(f"{form}/metadata")(metadata)
        for verb in (predict, classify, regress):
            routes.post(f"{form}:{verb.__name__}")(verb)
    return routes


def _object() -> dict[str, Any]:
    asked = body(_TYPES)
    if not isinstance(asked, dict):
        raise BadRequest(f"the request must be a JSON object, not {told(asked)}")
    return asked


def _signed(asked: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse a signature that is none of a model's."""
    named = asked.get("signature_name", "")
    if named not in known:
        raise BadRequest(f"Serving signature key {json.dumps(named)} not found.")


def _examples(service: Service, verb: str, name: str, version: int | None, label: str | None) -> tuple[Asked, Answer]:
    asked = _object()
    _signed(asked, (*_SIGNATURES, _METHODS[verb]))
    examples, context = asked.get("examples"), asked.get("context", {})
    if not isinstance(examples, list) or not examples:
        raise BadRequest("When method is classify or regress, key 'examples' must be a list of at least one object")
    if not isinstance(context, dict):
        raise BadRequest(f"'context' must be an object, not {told(context)}")
    refuse(
        [Complaint("", f"is {told(one)}, not an object", n) for n, one in enumerate(examples) if type(one) is not dict]
    )
    rows = [{**context, **one} for one in examples]
    with service.asking("tfserving", name, versioned(version), label) as asking:
        return asking, asking.predict(_example_rows(asking.version, rows, service.most_rows))


def _example_rows(version: Version, rows: list[dict[str, Any]], most: int) -> Table:
    """Return the table of examples: a feature of one value may come as a list of it."""
    single = {
        one.name
        for one in version.signature.inputs
        if (len(one.shape) == 1 if isinstance(one, Tensor) else isinstance(one.type, str))
    }
    plain = [
        {
            name: one[0] if name in single and isinstance(one, list) and len(one) == 1 else one
            for name, one in row.items()
        }
        for row in rows
    ]
    return from_rows(version.signature, plain, most)


def _columns(found: Answer) -> Any:
    if len(found.outputs) == 1:
        return found.outputs[0].values
    return {str(one.name): one.values for one in found.outputs}


def _signature(version: Version) -> dict[str, Any]:
    signature = version.signature
    inputs = {one.name or "inputs": _described(one) for one in signature.inputs}
    outputs = {_name(one, place): _described(one) for place, one in enumerate(signature.outputs)}
    return {"inputs": inputs, "outputs": outputs, "method_name": "tensorflow/serving/predict"}


def _name(one: Column | Tensor, place: int) -> str:
    return one.name or ("outputs" if place == 0 else f"outputs_{place}")


def _described(one: Column | Tensor) -> dict[str, Any]:
    sizes = one.shape if isinstance(one, Tensor) else (-1,)
    kind = one.dtype if isinstance(one, Tensor) else one.type
    return {
        "dtype": _DTYPES.get(kind, "DT_STRING") if isinstance(kind, str) else "DT_INVALID",
        "tensor_shape": {"dim": [{"size": str(size), "name": ""} for size in sizes], "unknown_rank": False},
        "name": one.name,
    }


def answer(told: Mapping[str, Any], indent: int = 4, status: int = 200) -> Response:
    """Return JSON as TensorFlow Serving prints it: predictions with 4 spaces and lists in one line, the rest with 1."""
    if indent == 1:
        return Response(json.dumps(told, indent=1) + "\n", status, mimetype="application/json")
    pairs = ",\n".join(f'{" " * indent}"{name}": {json.dumps(value)}' for name, value in told.items())
    return Response(f"{{\n{pairs}\n}}", status, mimetype="application/json")


def failed(error: ServiceError) -> Response:
    """Return an error in TensorFlow Serving's form."""
    return answer({"error": error.message}, status=error.status)
