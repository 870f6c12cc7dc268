"""A project's own routes: a function under lib/ that is given the service, and returns a Flask blueprint.

`routes: flights.web:blueprint` in a pipeline's file names it. Only the service's process imports it. It is trusted as
all code under lib/ is; that it takes no address of the service itself is seen to.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, abort

from caderno.deliver.delivery import Delivery
from caderno.errors import CadernoError, did_you_mean
from caderno.serve.answering import Service
from caderno.serve.errors import ServiceError
from caderno.serve.tables import from_rows


@dataclass(frozen=True)
class Prediction:
    """What the model says of each row, the version that said it, and what is known of that: metrics, task, commit."""

    values: list[Any]
    version: str
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """A task's result: where its outputs are, by name."""

    fingerprint: str
    outputs: Mapping[str, Path]


class Offer:
    """What a project's routes may ask of the service; `model` is the name of the pipeline's model."""

    def __init__(self, service: Service, delivery: Delivery) -> None:
        self.model = delivery.model
        self._service = service
        self._delivery = delivery

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Prediction:
        """Return what the champion says of rows; of each row it is given what it takes, None where that is missing.

        Where there is no answer the request ends with status 500, 503 or 504, as Flask's HTTPException.
        """
        try:
            with self._service.asking("routes", self.model) as asked:
                names = asked.version.signature.names
                taken = [{name: row[name] for name in names & row.keys()} for row in rows]
                answer = asked.predict(from_rows(asked.version.signature, taken, self._service.most_rows))
        except ServiceError as error:
            abort(error.status if error.status >= 500 else 503, error.message)
        return Prediction(answer.values, asked.version.number, asked.version.about)

    def latest(self, task: str) -> Result:
        """Return the newest result of a task, such as "dataset" or "train[model=forest]".

        Raises CadernoError where there is no such task; where it has no result, the request ends with status 503.
        """
        found = self._delivery.store.latest(self._delivery.pipeline.one(task).folder)
        if found is None:
            abort(503, f"{task} has no result yet")
        record, place = found
        return Result(record.fingerprint, {name: place / output.path for name, output in record.outputs.items()})


def mount(app: Flask, service: Service, delivery: Delivery) -> None:
    """Add a pipeline's own routes to the application, if it has some. Raises CadernoError where that can't be done."""
    named = delivery.pipeline.routes
    if named is None:
        return
    taken = {_first(rule.rule) for rule in app.url_map.iter_rules()}
    made = _made(named, delivery.project.lib, Offer(service, delivery))
    try:
        app.register_blueprint(made)
    except (ValueError, AssertionError) as error:
        raise CadernoError(f"routes {named} can't be added: {error}") from None
    for rule in app.url_map.iter_rules():
        first = _first(rule.rule)
        if rule.endpoint.startswith(f"{made.name}.") and (first in taken or first.startswith("<")):
            hint = f"begin it with a word of your own, such as /{delivery.model}/"
            raise CadernoError(f"routes {named}: the address {rule.rule} may hide one of the service's own", hint)


def _made(named: str, lib: Path, offer: Offer) -> Blueprint:
    """Return the blueprint that the project's function makes. Raises CadernoError."""
    module_name, _, name = named.partition(":")
    if str(lib) not in sys.path:
        sys.path.insert(0, str(lib))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise CadernoError(f"routes {named}: {module_name} can't be imported: {_told(error)}") from None
    function = getattr(module, name, None)
    if not callable(function):
        own = [one for one in vars(module) if not one.startswith("_") and callable(getattr(module, one))]
        raise CadernoError(
            f"routes {named}: {module_name} has no function {name!r}", did_you_mean(name, own, "function")
        )
    try:
        made = function(offer)
    except Exception as error:
        raise CadernoError(f"routes {named}: the function failed: {_told(error)}") from None
    if not isinstance(made, Blueprint):
        raise CadernoError(f"routes {named}: returns {type(made).__name__}, not a flask.Blueprint")
    return made


def _told(error: Exception) -> str:
    """Return what was raised, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"


def _first(rule: str) -> str:
    """Return the first part of an address: a word, or a variable in <>."""
    return rule.split("/")[1]
