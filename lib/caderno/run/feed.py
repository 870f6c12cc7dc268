"""A run for programs: one JSON object a line on the standard output, and nothing else there.

reports/README.md names the fields for people; `schema()` says the same to programs, kept in events.schema.json.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any

from caderno.events import EVENTS, Event, RunFinished, RunStarted
from caderno.run.console import clean


class Feed:
    """Watches the events of one run and writes each as a line. Use as a context manager around the run.

    While inside, what anything else prints (a library, a child process) goes to the standard error. A reader that
    goes away does not stop the run. A run that was reported as started is always reported as finished.
    """

    def __init__(self) -> None:
        self._out: int | None = None
        self._deaf = False
        self._run: RunStarted | None = None

    def __enter__(self) -> Feed:
        sys.stdout.flush()
        self._out = os.dup(1)
        os.dup2(2, 1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._run and error:
            self(_broken(self._run, error))
        sys.stdout.flush()
        if self._out is not None:
            os.dup2(self._out, 1)
            os.close(self._out)
            self._out = None

    def __call__(self, event: Event) -> None:
        """Write one event; called for every event of the run."""
        if isinstance(event, RunStarted):
            self._run = event
        elif isinstance(event, RunFinished):
            self._run = None
        if self._out is None or self._deaf:
            return
        rest = line(event).encode()
        try:
            while rest:
                rest = rest[os.write(self._out, rest) :]
        except OSError:  # the reader went away, or the disk is full: the results are worth more than the log
            self._deaf = True
            if self._out is not None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._out)


def line(event: Event) -> str:
    """Return an event as one line of JSON, with its end."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    head = {"event": name(type(event)), "time": fields.pop("time"), "run": fields.pop("run")}
    return json.dumps(_plain(head | fields), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def name(kind: type[Event]) -> str:
    """Return how a kind of event is called in JSON: RunStarted is `run_started`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a line."""
    from pydantic import TypeAdapter

    kinds = []
    for kind in EVENTS:
        made = TypeAdapter(kind).json_schema()
        properties = {key: _told(value) for key, value in made["properties"].items()}
        kinds.append(
            {
                "title": name(kind),
                "description": " ".join(made["description"].split()),
                "type": "object",
                "properties": {"event": {"const": name(kind)}, **properties},
                "required": ["event", *properties],
                "additionalProperties": False,
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of `caderno run --json`",
        "oneOf": kinds,
    }


def _told(value: dict[str, Any]) -> dict[str, Any]:
    """A line always has all its fields, so defaults say nothing; a number that is none is null."""
    told = {key: item for key, item in value.items() if key not in ("title", "default")}
    return {"type": ["number", "null"]} if told == {"type": "number"} else told


def _plain(value: Any) -> Any:
    """Return a value in what JSON can hold: no NaN, no lone surrogate, no control sequence, times in UTC."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case str():
            return clean(value).encode("utf-8", "replace").decode()
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case dict():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
    return value


def _broken(start: RunStarted, error: BaseException) -> RunFinished:
    """Return the end of a run that gave way itself, such as where MLflow cannot be reached at all."""
    from caderno.events import now

    seconds = round((now() - start.time).total_seconds(), 3)
    text = str(error) or type(error).__name__
    return RunFinished(run=start.run, state="failed", seconds=max(seconds, 0.0), counts={}, report=None, error=text)
