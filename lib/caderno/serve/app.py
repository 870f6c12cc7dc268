"""The Flask application: the protocols, health, and errors as each of them tells them."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from caderno.serve import headers, inference, pages, scoring, tfserving
from caderno.serve.access import Access
from caderno.serve.answering import Service
from caderno.serve.errors import BadRequest, ServiceError, code_of
from caderno.serve.telemetry import Telemetry


def create_app(
    service: Service, most_bytes: int, access: Access | None = None, telemetry: Telemetry | None = None
) -> Flask:
    """Return the application for what stands on a shelf; without `access` only this machine may ask."""
    app = Flask("caderno.serve", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = most_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    (telemetry or Telemetry()).attach(app, service)
    (access or Access()).guard(app)
    headers.protect(app)
    for routes in (tfserving, inference, scoring, pages):
        app.register_blueprint(routes.blueprint(service))
    app.register_error_handler(HTTPException, _failed)
    app.register_error_handler(ServiceError, _told)
    app.register_error_handler(RecursionError, lambda _: _told(BadRequest("the JSON is nested too deep")))
    app.register_error_handler(Exception, _bug)
    return app


def _failed(error: HTTPException) -> Any:
    """Tell what Flask itself refuses, such as an unknown address, as the address's protocol does."""
    malformed = request.path.startswith("/v1/models") and error.code in (404, 405)
    refused = ServiceError(f"{'Malformed request' if malformed else error.name}: {request.method} {request.path}")
    refused.status, refused.code = error.code or 500, code_of(error.code or 500)
    given = error.get_response().headers
    return _told(refused), {name: value for name, value in given if name in ("Allow", "Retry-After")}


def _told(error: ServiceError) -> Response:
    return scoring.failed(error) if request.path == "/invocations" else tfserving.failed(error)


def _bug(error: Exception) -> Response:
    """A fault of this service: logged with its traceback, which no caller sees."""
    current_app.logger.exception("a request failed", exc_info=error)
    return _told(ServiceError("the service failed; its log says why"))
