"""What all protocols share: a request picks a version, asks it, and what came of it is told to whoever watches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Response, g, has_request_context

from caderno.serve.batching import Answer
from caderno.serve.shelf import Shelf, Version
from caderno.serve.tables import Table

if TYPE_CHECKING:
    from caderno.serve.journal import Journal
    from caderno.serve.shadow import Shadow

_log = logging.getLogger(__name__)
VERSION = "Model-Version"  # header of each answer that a model gave


@dataclass(frozen=True)
class Asked:
    """One question and what came of it."""

    protocol: str
    version: Version
    label: str | None
    exact: bool  # the request named the version's number
    _service: Service

    def predict(self, table: Table) -> Answer:
        """Return the version's answer. Raises ServiceError."""
        began = time.perf_counter()
        answer = self.version.predict(table)
        self._service.answered(self, table, answer, time.perf_counter() - began)
        return answer

    def stamp(self, response: Response) -> Response:
        """Return the response with the version that answered."""
        response.headers[VERSION] = self.version.number
        return response


@dataclass
class Service:
    """What routes need: the shelf, limits, and who listens to answers."""

    shelf: Shelf
    most_rows: int
    default: str | None = None  # the model that is meant where a protocol names none
    stopping: bool = False
    listeners: list[Callable[[Asked, Table, Answer, float], Any]] = field(default_factory=list)
    journal: Journal | None = None
    shadow: Shadow | None = None

    @contextmanager
    def asking(self, protocol: str, name: str, number: str | None = None, label: str | None = None) -> Iterator[Asked]:
        """Give the version that a request names, for as long as inside. Raises NotFound."""
        with self.shelf.picked(name, number, label) as version:
            if has_request_context():
                g.model, g.version = version.model, version.number
            yield Asked(protocol, version, label, number is not None, self)

    def stop(self) -> None:
        """Say that the service is about to end: it is not ready any more, and each answer closes its connection."""
        self.stopping = True

    def answered(self, asked: Asked, table: Table, answer: Answer, seconds: float) -> None:
        """Tell who listens: shadow, log of predictions. None of them may fail a request."""
        if has_request_context():
            g.rows, g.batch = answer.rows, answer.batch
        for listener in self.listeners:
            try:
                listener(asked, table, answer, seconds)
            except Exception:
                _log.exception("what listens to answers failed")


def versioned(number: int | None) -> str | None:
    """Return a version's number as registries write it."""
    return None if number is None else str(number)
