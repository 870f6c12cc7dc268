"""The example's sources, made once a test session, and a weather service that listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.serving import make_server

from flights.sources.make import make

Serve = Callable[[Flask], str]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bureau/, registry.db and weather/. Tests read it and never write to it."""
    folder = tmp_path_factory.mktemp("sources")
    make(folder)
    return folder


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that serves a Flask application over real HTTP until the test ends, and tells its address."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(_listening(app))


@contextmanager
def _listening(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
