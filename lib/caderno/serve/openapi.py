"""The service's description of itself (OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.0), made from its routes.

Addresses, methods and parameters come from Flask's map, what a route is for from its docstring, which errors there are
from the tree of errors, a model's schemas from its signature; bodies and answers of each protocol from protocols.yaml.
A route that says nothing there is described by the rest. Where a body depends on the model, each model has an address
of its own here.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import yaml
from flask import Flask

from caderno.serve import errors, schemas
from caderno.serve.answering import VERSION, Service
from caderno.serve.schemas import Schema
from caderno.serve.shelf import Shelf

_OWN = ("Row", "Columns", "Output")  # what each model has of its own
_EXAMPLES = {"Predict": "instances", "Examples": "examples", "Invocation": "dataframe_records"}
_PARAMETER = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?(\w+)>")
_PICKED = re.compile(r"/(?:versions|labels)/\{\w+\}")
_ALWAYS = {401, 403, 429, 500}  # what any request may be told


def document(app: Flask, service: Service) -> dict[str, Any]:
    """Return the description of all that the application answers."""
    book = _Book(service.shelf)
    paths: dict[str, dict[str, Any]] = {}
    tags = {one.name: _told(sys.modules.get(one.import_name)) for one in app.blueprints.values()}
    for rule in sorted(app.url_map.iter_rules(), key=lambda one: one.rule):
        blueprint = app.blueprints.get(rule.endpoint.partition(".")[0])
        tag = blueprint.name if blueprint else "service"
        tags.setdefault(tag, "")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            route = _Route(rule.rule, method.lower(), tag, _told(app.view_functions[rule.endpoint]))
            for address, operation in _operations(route, service, book):
                paths.setdefault(address, {})[route.method] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Predictions",
            "version": version("caderno"),
            "description": f"Models that are served: {', '.join(service.shelf.shown)}.",
        },
        "tags": [{"name": name, "description": what} for name, what in tags.items()],
        "paths": paths,
        "components": {"schemas": book.components},
    }


def undescribed(app: Flask) -> set[str]:
    """Return the addresses of which protocols.yaml says nothing."""
    return {one for rule in app.url_map.iter_rules() if (one := _core(_address(rule.rule))) not in _protocols()}


def key(model: str) -> str:
    """Return a model's name as components may be named; a digest is added where letters were lost."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", model)
    return safe if safe == model else f"{safe}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class _Route:
    rule: str
    method: str
    tag: str
    what: str


@dataclass
class _Book:
    """The schemas that were referred to."""

    shelf: Shelf
    components: dict[str, Schema] = field(default_factory=dict)

    def reference(self, name: str, model: str | None = None) -> Schema:
        """Return a reference to a schema, or, where it depends on the model, that schema with the model's own parts."""
        found: Schema = _protocols()["schemas"][name]
        if model is not None and _depends(found):
            return dict(self._filled(found, model))
        if name not in self.components:
            self.components[name] = {}
            self.components[name] = self._filled(found, None)
        return {"$ref": f"#/components/schemas/{name}"}

    def _filled(self, schema: Any, model: str | None) -> Any:
        if isinstance(schema, list):
            return [self._filled(one, model) for one in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" not in schema:
            return {name: self._filled(one, model) for name, one in schema.items()}
        name = schema["$ref"]
        return self._own(name, model) if model is not None and name in _OWN else self.reference(name)

    def _own(self, name: str, model: str) -> Schema:
        full = f"{key(model)}.{name}"
        if full not in self.components:
            signature = self.shelf.model(model).version().signature
            make = {"Row": schemas.row, "Columns": schemas.columns, "Output": schemas.outputs}[name]
            self.components[full] = make(signature)
        return {"$ref": f"#/components/schemas/{full}"}


def _operations(route: _Route, service: Service, book: _Book) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the operations of a route with their addresses: one for each model where its body depends on that."""
    address = _address(route.rule)
    said = _protocols().get(_core(address), {})
    depends = "body" in said and _depends(_protocols()["schemas"][said["body"]])
    answering = {name: one.wanted.default for name, one in service.shelf.shown.items()}
    names = list(answering)
    if depends and "{name}" in address and not _PICKED.search(address):
        for name, number in answering.items():
            if number in service.shelf.shown[name].versions:
                operation = _operation(route, said, book, [], name)
                yield (
                    address.replace("{name}", quote(name, safe="")),
                    {"operationId": _id(route.method, address, name), **operation},
                )
                names.remove(name)
        if not names:
            return
    model = service.default if depends and "{name}" not in address else None
    if model is not None and answering.get(model) not in service.shelf.shown[model].versions:
        model = None
    yield address, {"operationId": _id(route.method, address), **_operation(route, said, book, names, model)}


def _operation(
    route: _Route, said: Mapping[str, Any], book: _Book, names: list[str], model: str | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"tags": [route.tag], "summary": route.what}
    parameters = [] if model else [_parameter(kind, name, names) for kind, name in _PARAMETER.findall(route.rule)]
    if parameters := [one for one in parameters if not (model and one["name"] == "name")]:
        found["parameters"] = parameters
    if "body" in said:
        content = {"application/json": {"schema": book.reference(said["body"], model), **_example(said, book, model)}}
        if also := said.get("also"):
            content[also] = {"schema": {"type": "string"}}
        found["requestBody"] = {"required": True, "content": content}
    elif said.get("page") and route.method == "post":
        fields = {"schema": {"type": "object", "additionalProperties": {"type": "string"}}}
        found["requestBody"] = {"content": {"application/x-www-form-urlencoded": fields}}
    found["responses"] = _responses(route, said, book, model)
    return found


def _responses(route: _Route, said: Mapping[str, Any], book: _Book, model: str | None) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "What was asked for"}
    content: dict[str, Any] = {}
    if "answer" in said:
        content["application/json"] = {"schema": book.reference(said["answer"], model)}
    if said.get("page"):
        content["text/html"] = {"schema": {"type": "string"}}
    if said.get("text"):
        content["*/*"] = {"schema": {"type": "string"}}
    if content:
        good["content"] = content
    if "body" in said and "answer" in said:
        good["headers"] = {VERSION: {"description": "The version that answered", "schema": {"type": "string"}}}
    if not said:
        return {"default": good}
    refused = {"description": "Refused"}
    if "error" in said:
        refused["content"] = {"application/json": {"schema": book.reference(said["error"])}}  # type: ignore[assignment]
    told = _errors()
    wanted = {*(_ALWAYS & told.keys()), *said.get("refuses", ())} | ({404} if "<" in route.rule else set())
    if "body" in said:
        wanted = set(told)
    elif said.get("page"):
        wanted |= {400, 413, 503, 504} if route.method == "post" else set()
        refused["content"] = {"text/html": {}, "application/json": {}}  # type: ignore[assignment]
    return {"200": good, **{str(one): {**refused, "description": told[one]} for one in sorted(wanted)}}


def _example(said: Mapping[str, Any], book: _Book, model: str | None) -> dict[str, Any]:
    """Return the model's own example as a body, where it has one."""
    word = _EXAMPLES.get(said["body"])
    found = book.shelf.model(model).version() if model else None
    return {"example": {word: [dict(found.example[0])]}} if word and found and found.example else {}


def _parameter(kind: str, name: str, names: list[str]) -> dict[str, Any]:
    schema: Schema = {"type": "string", "minLength": 1}
    if kind == "int":
        schema = {"type": "integer", "minimum": 0}
    elif name == "name" and names:
        schema = {"type": "string", "enum": names}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _id(method: str, address: str, model: str = "") -> str:
    return "_".join([method, *re.findall(r"\w+", address.replace("{name}", key(model) if model else "{name}"))])


def _address(rule: str) -> str:
    return _PARAMETER.sub(r"{\2}", rule)


def _core(address: str) -> str:
    """Return an address without the part that picks a version."""
    return _PICKED.sub("", address)


def _told(thing: Any) -> str:
    """Return the first paragraph of a docstring, in one line."""
    return " ".join(((thing is not None and inspect.getdoc(thing)) or "").partition("\n\n")[0].split())


@cache
def _errors() -> dict[int, str]:
    """Return what each status means."""
    tree: list[type[errors.ServiceError]] = [errors.ServiceError, *errors.ServiceError.__subclasses__()]
    return {one.status: _told(one) for one in tree}


def _depends(schema: Any) -> bool:
    """Whether a schema has a part that is a model's own."""
    if isinstance(schema, dict):
        return schema.get("$ref") in _OWN or any(_depends(one) for one in schema.values())
    return isinstance(schema, list) and any(_depends(one) for one in schema)


@cache
def _protocols() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files("caderno.serve").joinpath("protocols.yaml").read_text("utf-8"))
    return found
