"""What the service tells of itself: a line for each request and each event; figures are in metrics.py.

Lines are JSON where programs read them, and shorter where a person does, on a terminal. Bodies, queries and keys are
never in them. A request's id is the caller's own, by `X-Request-Id` or as the trace of W3C Trace Context
(https://www.w3.org/TR/trace-context/), and goes back with the answer.
"""

from __future__ import annotations

import logging
import os
import re
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
from flask import Flask, Response, g, has_request_context, request

from caderno.serve.answering import Service
from caderno.serve.batching import REPLACED
from caderno.serve.metrics import Metrics
from caderno.serve.shelf import Version, Watch
from caderno.serve.sources import Wanted

REQUEST = "X-Request-Id"
_HARMLESS = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACE = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_PLAIN = re.compile(r"[!#-<>-~]+")  # neither spaces, quotes nor =
_LONGEST = 256  # characters of a path


class Log:
    """Lines on a stream; `requests` says whether each request has one."""

    def __init__(self, stream: TextIO | None, requests: bool = True) -> None:
        self._stream = stream
        self._people = stream is not None and stream.isatty()
        self.requests = requests and stream is not None

    def tell(self, level: str, event: str, **facts: Any) -> None:
        """Write one line; facts that are None are left out. A log that can't be written stops nothing."""
        if self._stream is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        said = {name: value for name, value in facts.items() if value is not None}
        if self._people:
            line = " ".join([now[11:19], *([] if level == "info" else [level]), event, *map(_spoken, said.items())])
        else:
            line = orjson.dumps({"time": now, "level": level, "event": event, **said}, default=str).decode()
        with suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def trouble(self, what: str) -> None:
        """Say what goes wrong beside requests."""
        self.tell("warning", "trouble", what=what)


class Telemetry(Watch):
    """Who watches: versions, as they are loaded, asked and changed, and an application's requests."""

    def __init__(self, stream: TextIO | None = None, requests: bool = True) -> None:
        self.log = Log(stream, requests)
        self.metrics = Metrics()

    def attach(self, app: Flask, service: Service) -> None:
        """Watch each request. What is registered later is inside of what is measured."""
        self.metrics.show(app, service)
        app.before_request(_begin)
        app.after_request(self._end)

    def _end(self, response: Response) -> Response:
        seconds = time.perf_counter() - g.began
        status = response.status_code
        response.headers[REQUEST] = g.request_id
        self.metrics.request(request.path, g.get("model"), g.get("version"), status, seconds)
        if self.log.requests:
            self.log.tell(
                "error" if status >= 500 else "info",
                "request",
                request_id=g.request_id,
                trace_id=g.trace_id,
                method=request.method,
                path=request.path[:_LONGEST],
                status=status,
                seconds=round(seconds, 6),
                model=g.get("model"),
                version=g.get("version"),
                rows=g.get("rows"),
                batch=g.get("batch"),
                caller=g.get("caller"),
            )
        return response

    def batch(self, version: Version, rows: int, seconds: float) -> None:
        """Note how many rows a model answered together, and how long that took."""
        self.metrics.batch(version.model, version.number, rows, seconds)

    def loaded(self, version: Version) -> None:
        """Say that a version can be asked."""
        self.log.tell("info", "loaded", model=version.model, version=version.number, seconds=version.load_seconds)

    def trouble(self, version: Version, what: str) -> None:
        """Say what is wrong with a version."""
        replaced = what.startswith(REPLACED)
        self.metrics.trouble(version.model, version.number, replaced)
        event = "worker replaced" if replaced else "trouble"
        self.log.tell("warning", event, model=version.model, version=version.number, what=what)

    def trouble_of(self, model: str, what: str) -> None:
        """Say what is wrong with a model."""
        self.metrics.trouble(model, "", False)
        self.log.tell("warning", "trouble", model=model, what=what)

    def swapped(self, model: str, before: Wanted, now: Wanted) -> None:
        """Say which version answers from now on."""
        if before.default is not None and before.default != now.default:
            self.metrics.swap(model)
        self.log.tell("info", "swapped", model=model, before=before.default, now=now.default, labels=dict(now.labels))


class Handler(logging.Handler):
    """Puts what libraries log, and failures of the service with their traceback, into lines of the same form."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        failure = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        asked = g.get("request_id") if has_request_context() else None
        self._log.tell(
            record.levelname.lower(), record.name, request_id=asked, what=record.getMessage(), traceback=failure
        )


def _begin() -> None:
    """Note when a request began, and by which id it is known."""
    g.began = time.perf_counter()
    g.trace_id = _trace(request.headers.get("traceparent", ""))
    asked = request.headers.get(REQUEST, "")
    g.request_id = asked if _HARMLESS.fullmatch(asked) else g.trace_id or os.urandom(16).hex()


def _trace(parent: str) -> str | None:
    """Return the trace that a request belongs to; later versions than 00 may say more."""
    found = _TRACE.fullmatch(parent)
    return found[2] if found and (found[1] != "00" or not found[3]) else None


def _spoken(fact: tuple[str, Any]) -> str:
    name, value = fact
    text = str(value)
    return f"{name}={text if _PLAIN.fullmatch(text) else ascii(text)}"
