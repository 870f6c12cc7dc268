"""The Flask application: the protocols, health, and errors as each of them tells them."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from caderno.serve import pages, tfserving
from caderno.serve.answering import Service
from caderno.serve.errors import ServiceError


def create_app(service: Service, most_bytes: int) -> Flask:
    """Return the application for what stands on a shelf."""
    app = Flask("caderno.serve", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = most_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.register_blueprint(tfserving.blueprint(service))
    app.register_blueprint(pages.blueprint(service))
    app.register_error_handler(HTTPException, _failed)
    app.register_error_handler(ServiceError, _told)
    app.register_error_handler(Exception, _bug)
    return app


def _failed(error: HTTPException) -> Any:
    """Tell what Flask itself refuses, such as an unknown address, as JSON."""
    if request.path.startswith("/v1/models") and error.code in (404, 405):
        return tfserving.answer({"error": f"Malformed request: {request.method} {request.path}"}, status=error.code)
    response = error.get_response()
    body = {"error": f"{error.name}: {request.method} {request.path}"}
    return tfserving.answer(body, status=error.code or 500), {
        name: value for name, value in response.headers if name in ("Allow", "Retry-After")
    }


def _told(error: ServiceError) -> Response:
    return tfserving.failed(error)


def _bug(error: Exception) -> Response:
    """A fault of this service: logged with its traceback, which no caller sees."""
    from flask import current_app

    current_app.logger.exception("a request failed", exc_info=error)
    return tfserving.answer({"error": "the service failed; its log says why"}, status=500)
