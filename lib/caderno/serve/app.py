"""The Flask application: the protocols, health, and errors as each of them tells them."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from caderno.serve import headers, tfserving
from caderno.serve.access import Access
from caderno.serve.answering import Service
from caderno.serve.errors import ServiceError, code_of
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
    app.register_blueprint(tfserving.blueprint(service))

    app.register_error_handler(HTTPException, _failed)
    app.register_error_handler(ServiceError, _told)
    app.register_error_handler(Exception, _bug)
    return app


def _failed(error: HTTPException) -> Any:
    """Tell what Flask itself refuses, such as an unknown address, as JSON."""
    status = error.code or 500
    what = f"{error.name}: {request.method} {request.path}"
    if request.path.startswith("/v1/models") and status in (404, 405):
        what = f"Malformed request: {request.method} {request.path}"
    kept = {name: value for name, value in error.get_response().headers if name in ("Allow", "Retry-After")}
    return _said(status, code_of(status), what), kept


def _told(error: ServiceError) -> Response:
    return _said(error.status, error.code, error.message)


def _bug(error: Exception) -> Response:
    """A fault of this service: logged with its traceback, which no caller sees."""
    current_app.logger.exception("a request failed", exc_info=error)
    return _said(500, ServiceError.code, "the service failed; its log says why")


def _said(status: int, code: str, message: str) -> Response:
    """Return an error in the form of the protocol that an address belongs to."""
    if request.path == "/invocations":
        return tfserving.answer({"error_code": code, "message": message}, status=status)
    return tfserving.answer({"error": message}, status=status)
