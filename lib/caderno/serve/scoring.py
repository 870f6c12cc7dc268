"""MLflow's scoring protocol (https://mlflow.org/docs/latest/ml/deployment/): /invocations, /ping, /health, /version.

It names no model: the default one is meant. Columns are as the signature has them; nothing is converted that is not.
"""

from __future__ import annotations

import csv
import io
from importlib.metadata import version
from typing import Any

import orjson
from flask import Blueprint, Response, request

from caderno.serve.answering import Service
from caderno.serve.batching import Answer
from caderno.serve.bodies import body, data
from caderno.serve.errors import BadRequest, NotFound, ServiceError
from caderno.serve.signature import Signature
from caderno.serve.tables import Table, from_columns, from_rows, with_params
from caderno.serve.values import told

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_CODES = {  # HTTP status -> MLflow's name of the error
    401: "UNAUTHENTICATED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def blueprint(service: Service) -> Blueprint:
    """Return MLflow's routes."""
    routes = Blueprint("scoring", __name__)
    routes.register_error_handler(ServiceError, failed)

    @routes.get("/ping", endpoint="ping")
    @routes.get("/health", endpoint="health")
    def healthy() -> Response:
        """Say, by the status, whether models answer."""
        well = service.shelf.ready and not service.stopping
        return Response("\n", 200 if well else 503, mimetype="application/json")

    @routes.get("/version")
    def mlflow() -> Response:
        """Return the version of MLflow, as its server does."""
        return Response(version("mlflow"), mimetype="application/json")

    @routes.post("/invocations")
    def invocations() -> Response:
        """Predict a table."""
        if service.default is None:
            names = ", ".join(service.shelf.shown)
            raise NotFound(f"there is no default model: say --default NAME, or ask /v1/models/NAME:predict ({names})")
        with service.asking("scoring", service.default) as asking:
            signature = asking.version.signature
            if request.mimetype == "text/csv":
                table = _from_csv(signature, data(), service.most_rows)
            else:
                table = _from_json(signature, body(("application/json",)), service.most_rows)
            found = asking.predict(table)
        return asking.stamp(Response(orjson.dumps({"predictions": _told(found)}), mimetype="application/json"))

    return routes


def _from_json(signature: Signature, asked: Any, most: int) -> Table:
    if not isinstance(asked, dict):
        raise BadRequest(f"the request must be a JSON object with one of {', '.join(_FORMS)}, not {told(asked)}")
    given = [name for name in _FORMS if name in asked]
    if len(given) != 1:
        got = " and ".join(given) or "none"
        raise BadRequest(f"the request must have exactly one of {', '.join(_FORMS)}: it has {got}")
    form, value = given[0], asked[given[0]]
    if form == "dataframe_split":
        table = _from_split(signature, value, most)
    elif form == "dataframe_records" or (form == "instances" and isinstance(value, list)) or _records(value):
        table = from_rows(signature, value, most)
    elif isinstance(value, dict) and value and not any(isinstance(one, list) for one in value.values()):
        table = from_rows(signature, [value], most)  # one row
    else:
        table = from_columns(signature, value, most)
    params = asked.get("params")
    return table if params is None else with_params(signature, table, params)


def _records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _from_split(signature: Signature, split: Any, most: int) -> Table:
    """Return the table of pandas' split orientation: names of columns, and rows as lists."""
    if (
        not isinstance(split, dict)
        or not isinstance(split.get("data"), list)
        or split.keys() - {"data", "columns", "index"}
    ):
        raise BadRequest("dataframe_split must be an object with columns, data and, perhaps, index")
    rows, columns = split["data"], split.get("columns")
    if columns is None and (signature.tensors or not signature.columns):
        return from_rows(signature, rows, most)
    if not isinstance(columns, list) or not all(isinstance(one, str) for one in columns):
        raise BadRequest("dataframe_split: columns must be a list of names")
    if len(set(columns)) != len(columns):
        raise BadRequest("dataframe_split: columns must have different names")
    for place, row in enumerate(rows):
        if type(row) is not list or len(row) != len(columns):
            raise BadRequest(f"dataframe_split: row {place} must be a list of {len(columns)} values, not {told(row)}")
    if not rows:
        return from_rows(signature, rows, most)
    return from_columns(signature, dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)), most)


def _from_csv(signature: Signature, text: bytes, most: int) -> Table:
    """Return the table of a CSV text with a head of names. An empty value is a missing one; a column without a name,
    which pandas writes for its index, is left out."""
    if signature.tensors:
        raise BadRequest("text/csv is for models that take columns: this one takes tensors")
    try:
        lines = list(csv.reader(io.StringIO(text.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"the body is no CSV in UTF-8: {error}") from None
    head, rows = (lines[0], [line for line in lines[1:] if line]) if lines else ([], [])
    if len(set(head)) != len(head):
        raise BadRequest("CSV: columns must have different names")
    for place, row in enumerate(rows):
        if len(row) != len(head):
            raise BadRequest(f"CSV: row {place} must have {len(head)} values, not {len(row)}")
    kinds = {one.name: one.type for one in signature.columns}
    columns = {name: [_value(kinds.get(name), row[place]) for row in rows] for place, name in enumerate(head) if name}
    return from_columns(signature, columns, most)


def _value(kind: Any, text: str) -> Any:
    """Return what a text means to a column, or the text, which is then complained of."""
    if text == "":
        return None
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind in ("long", "integer", "double", "float", None):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                pass
    return text


def _told(found: Answer) -> Any:
    """Return the outputs as MLflow does: a list, records of a table, or an object where the model gave one."""
    if found.by_name:
        return {one.name: one.values for one in found.outputs}
    if len(found.outputs) == 1 and found.outputs[0].name is None:
        return found.outputs[0].values
    return found.objects


def failed(error: ServiceError) -> Response:
    """Return an error in MLflow's form."""
    code = _CODES.get(error.status, "BAD_REQUEST")
    told = orjson.dumps({"error_code": code, "message": error.message})
    return Response(told, error.status, mimetype="application/json")
