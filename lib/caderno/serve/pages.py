"""Pages for people: what is served, a form to try it, how to ask it from programs. They need no JavaScript.

Each page bears a policy that admits our own style and script, by their digests, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from flask import Blueprint, Response, current_app, request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from caderno import report
from caderno.deliver.statistics import METRICS
from caderno.report.safe import trusted
from caderno.report.text import count, short
from caderno.serve import form, openapi
from caderno.serve.answering import Asked, Service
from caderno.serve.batching import Answer
from caderno.serve.errors import BadRequest, Complaint, NotFound, ServiceError
from caderno.serve.reading import sections, sketch
from caderno.serve.shelf import Shown, Version
from caderno.serve.tables import from_rows


def blueprint(service: Service) -> Blueprint:
    """Return the routes of the pages."""
    routes = Blueprint("pages", __name__)
    routes.register_error_handler(ServiceError, _failed)

    @routes.get("/")
    def served() -> Response:
        """Say which models are served, in which versions."""
        models = [_told(one, service.shelf.troubles.get(one.name)) for one in service.shelf.shown.values()]
        if _wants_json():
            return _json({"models": models})
        if len(models) == 1:
            return _tried(service, models[0]["name"], None)
        return _page("models.html.j2", models=models)

    @routes.get("/try/<name>")
    def offer(name: str) -> Response:
        """Show what is known of a model, and a form to try it."""
        return _tried(service, name, None)

    @routes.post("/try/<name>")
    def attempt(name: str) -> Response:
        """Show the model's answer to what the form brought, or what is wrong with that, beside its field."""
        return _tried(service, name, request.form)

    @routes.get("/docs")
    def docs() -> Response:
        """Show how programs ask: all addresses, bodies, answers and errors."""
        found = openapi.document(current_app._get_current_object(), service)  # type: ignore[attr-defined]
        return _page("docs.html.j2", document=found, sections=sections(found), host=request.host_url)

    @routes.get("/openapi.json")
    def described() -> Response:
        """Return the description of this service for programs (OpenAPI 3.1)."""
        return _json(openapi.document(current_app._get_current_object(), service))  # type: ignore[attr-defined]

    return routes


@dataclass(frozen=True)
class Attempt:
    """What came of a form: an answer, or what was wrong; and the same question for a shell."""

    shares: Sequence[tuple[str, float]]
    values: Sequence[tuple[str, str]]
    seconds: float
    error: str
    command: str


def _tried(service: Service, name: str, given: Mapping[str, str] | None) -> Response:
    """Return the page of a model with its form and, where one was sent, what came of it."""
    shown, number = service.shelf.model(name), request.args.get("version") or None
    if number is None and shown.wanted.default not in shown.versions:
        if given is not None:
            raise NotFound(f"{name} has no champion yet: there is nothing to ask")
        return _page("model.html.j2", **_about(service, shown), version=None, groups=[], attempt=None)
    with service.asking("page", name, number) as asked:
        attempt: Attempt | None = None
        complaints: Sequence[Complaint] = ()
        status = 200
        if given is not None:
            attempt, complaints, status = _attempt(service, asked, given)
        groups = form.groups(asked.version, given, complaints)
        page = _page(
            "model.html.j2",
            status,
            **_about(service, shown),
            version=asked.version,
            picked=number,
            groups=groups,
            attempt=attempt,
        )
        return asked.stamp(page)


def _attempt(service: Service, asked: Asked, given: Mapping[str, str]) -> tuple[Attempt, Sequence[Complaint], int]:
    """Return what came of a form, with the complaints about it and the status that says so."""
    version = asked.version
    row, complaints, error, status, command = None, list[Complaint](), "", 200, ""
    shares: list[tuple[str, float]] = []
    values: list[tuple[str, str]] = []
    seconds = 0.0
    try:
        row = form.row(version, given)
        command = _command(version, row)
        answer = asked.predict(from_rows(version.signature, [row], service.most_rows))
        shares, values, seconds = _shares(version, answer), _values(answer), answer.seconds
    except BadRequest as refused:
        complaints, error, status = list(form.complaints_of(refused)), refused.message, refused.status
    except ServiceError as failed:
        error, status = failed.message, failed.status
    return Attempt(shares, values, seconds, error, command), complaints, status


def _shares(version: Version, answer: Answer) -> list[tuple[str, float]]:
    """Return classes with their probabilities, where the model gives these."""
    first = answer.outputs[0].values[0] if len(answer.outputs) == 1 else None
    if not version.classes or not isinstance(first, list) or len(first) != len(version.classes):
        return []
    return list(zip(version.classes, first, strict=True))


def _values(answer: Answer) -> list[tuple[str, str]]:
    """Return each output's value as text."""
    first = [(str(one.name or ""), one.values[0]) for one in answer.outputs]
    return [(name, one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)) for name, one in first]


def _command(version: Version, row: Any) -> str:
    """Return the same question for a shell."""
    address = f"{request.host_url}v1/models/{_quoted(version.model)}"
    if picked := request.args.get("version"):
        address += f"/versions/{_quoted(picked)}"
    body = json.dumps({"instances": [row]}, ensure_ascii=False)
    return f"curl -d {shlex.quote(body)} {shlex.quote(address + ':predict')}"


def _about(service: Service, shown: Shown) -> dict[str, Any]:
    """Return what the page of a model says beside its form."""
    return {
        "shown": shown,
        "several": len(service.shelf.shown) > 1,
        "trouble": service.shelf.troubles.get(shown.name),
        "versions": [_described(shown, one) for one in _sorted(shown)],
    }


def _sorted(shown: Shown) -> list[Version]:
    return [shown.versions[one] for one in sorted(shown.versions, key=lambda one: (len(one), one), reverse=True)]


def _described(shown: Shown, version: Version) -> dict[str, Any]:
    """Return what is known of a version, of its metrics those that the gate judges by first."""
    about = {name: value for name, value in version.about.items() if value is not None}
    metrics = about.pop("metrics", {})
    named = [name for name in METRICS if name in metrics]
    if "folder" in about:
        about["folder"] = Path(about["folder"]).name  # a caller need not know where files are
    return {
        "version": version.number,
        "labels": [label for label, number in shown.wanted.labels.items() if number == version.number],
        "since": datetime.fromtimestamp(version.since, UTC).isoformat(timespec="seconds"),
        "metrics": {name: metrics[name] for name in named},
        **about,
    }


def _told(shown: Shown, trouble: str | None) -> dict[str, Any]:
    """Return what is served of a model, for programs."""
    return {
        "name": shown.name,
        "default": shown.wanted.default if shown.wanted.default in shown.versions else None,
        "labels": dict(shown.wanted.labels),
        "versions": [_described(shown, one) for one in _sorted(shown)],
        "trouble": trouble,
    }


def _failed(error: ServiceError) -> Response:
    """Tell what went wrong in the form that was asked for."""
    if _wants_json():
        return Response(orjson.dumps({"error": error.message}), error.status, mimetype="application/json")
    return _page("failed.html.j2", error.status, error=error)


def _wants_json() -> bool:
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def _json(found: Mapping[str, Any]) -> Response:
    return Response(
        orjson.dumps(found, option=orjson.OPT_NON_STR_KEYS), headers={"Vary": "Accept"}, mimetype="application/json"
    )


# The frame around each page.


def _page(template: str, status: int = 200, **context: Any) -> Response:
    html = _environment().get_template(template).render(context).encode("utf-8", "replace")
    return Response(html, status, headers={"Content-Security-Policy": policy(), "Vary": "Accept"}, mimetype="text/html")


@cache
def policy() -> str:
    """Return the Content-Security-Policy: our style and script, forms that come back here, nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(_style())}; script-src {_digest(_asset('page.js'))}; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("caderno.serve"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        breakable=_breakable, quoted=_quoted, shell=shlex.quote, sketch=sketch, short=short, count=count
    )
    environment.globals.update(style=trusted(_style()), script=trusted(_asset("page.js")))
    return environment


def _breakable(name: str) -> Markup:
    """Return a name that may be broken after each underscore."""
    return escape(name).replace("_", trusted("_<wbr>"))


def _quoted(text: str) -> str:
    return quote(text, safe="")


@cache
def _style() -> str:
    """Return the look of reports, and what a form and a description need beside it. What it ends with is a newline."""
    return "\n" + report.style() + _asset("page.css")


@cache
def _asset(name: str) -> str:
    return files("caderno.serve").joinpath(name).read_text(encoding="utf-8")
