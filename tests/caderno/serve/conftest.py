"""Small models in folders, services in this process, and the real command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from serve.running import Running, running
from werkzeug.test import TestResponse

from caderno.serve.answering import Service
from caderno.serve.app import create_app
from caderno.serve.batching import Settings
from caderno.serve.shelf import Shelf, Watch
from caderno.serve.signature import Range
from caderno.serve.sources import Folder

MOST_ROWS, MOST_BYTES = 1000, 1_000_000


class Narrowed(Folder):
    """A folder's model whose columns a contract narrows."""

    def __init__(self, name: str, folder: Path, ranges: Mapping[str, Range]) -> None:
        super().__init__(name, folder)
        self._ranges = ranges

    def ranges(self) -> Mapping[str, Range]:
        """Return what was given."""
        return self._ranges


@dataclass
class Said(Watch):
    """What was told of versions."""

    troubles: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def batch(self, version: Any, rows: int, seconds: float) -> None:
        self.batches.append(rows)

    def trouble(self, version: Any, what: str) -> None:
        self.troubles.append(what)


@dataclass
class Served:
    """A service in this process."""

    app: Flask
    service: Service
    shelf: Shelf
    said: Said

    def get(self, path: str) -> TestResponse:
        return self.app.test_client().get(path)

    def post(self, path: str, body: Any, kind: str = "application/json") -> TestResponse:
        """Post JSON, or bytes as they are."""
        text = body if isinstance(body, bytes) else orjson.dumps(body)
        return self.app.test_client().post(path, data=text, content_type=kind)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the models of models.py, by name."""
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("models.py")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-P", script, folder], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def service(models: Path) -> Iterator[Callable[..., Served]]:
    """Gives a service in this process, made once for the same arguments: names of models, Settings, ranges."""
    made: dict[str, Served] = {}

    def serve(*names: str, ranges: Mapping[str, Range] | None = None, fresh: bool = False, **settings: Any) -> Served:
        key = repr((names, ranges, settings, time.monotonic() if fresh else None))
        if key not in made:
            said = Said()
            shelf = Shelf([Narrowed(name, models / name, ranges or {}) for name in names], Settings(**settings), said)
            shelf.refresh()
            assert not shelf.troubles, shelf.troubles
            found = Service(shelf, MOST_ROWS, names[0] if len(names) == 1 else None)
            made[key] = Served(create_app(found, MOST_BYTES), found, shelf, said)
        return made[key]

    yield serve
    for one in made.values():
        one.shelf.end()


@contextmanager
def started(models: Path, folder: Path, *options: str, names: Sequence[str] = ()) -> Iterator[Running]:
    """Run `caderno serve` with options and with models by name."""
    folders = [word for name in names for word in ("--model", f"{name}={models / name}")]
    with running(folder, {}, *folders, *options) as found:
        yield found


@pytest.fixture
def server(models: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts the real command, which ends with the test: see `started`."""
    with ExitStack() as stack:
        yield lambda *options, **named: stack.enter_context(started(models, tmp_path, *options, **named))
