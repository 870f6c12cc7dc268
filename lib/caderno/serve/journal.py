"""The log of predictions: what was asked and answered, written behind the requests' back.

A request leaves no more than a reference to its rows; a thread turns them into text and keeps them. Where it can't
follow, or the disk is full, rows are lost, which is counted and said, and requests go on. Fields that must not be kept,
such as names of persons, are left out before anything is written: the digest is over what is kept.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import sqlite3
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from flask import g, has_request_context

from caderno.serve.answering import Asked
from caderno.serve.batching import Answer
from caderno.serve.errors import ModelFailed
from caderno.serve.logbook import Full, Kind, Logbook
from caderno.serve.shelf import scores
from caderno.serve.tables import Table

_WAITING = 20_000  # rows that may wait to be written
_PAUSE = 0.5  # seconds in which rows gather
_AGAIN = 1.0  # seconds until what could not be written is tried again
_PATIENCE = 10.0  # seconds for what waits at the end
_LITTLE = 1_000_000  # bytes: with less left, SQLite can't work
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


@dataclass(frozen=True)
class Entry:
    """Rows of one request that wait to be written; `make` gives them as they stand in the table of this kind."""

    kind: Kind
    model: str
    rows: int
    make: Callable[[], Iterator[tuple[Any, ...]]]


class Journal:
    """The logs of all models. `say` is told when one can't be written, and when it can be again.

    `written` and `lost` count rows since the start, by (model, kind) and (model, kind, why).
    """

    def __init__(self, folder: Path, size: int, without: frozenset[str], say: Callable[[str], None]) -> None:
        self.without = without
        self.written: Counter[tuple[str, Kind]] = Counter()
        self.lost: Counter[tuple[str, Kind, str]] = Counter()
        self.troubles: dict[str, str] = {}  # model -> why its log can't be written at the moment
        self._folder, self._size = folder, size
        self._say = say
        self._waiting: list[Entry] = []
        self._rows = 0
        self._untold: Counter[tuple[str, Kind, str]] = Counter()  # lost, and not yet in the file
        self._lock = threading.Lock()
        self._some, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="caderno-journal")
        self._thread.start()

    def listener(self, share: float) -> Callable[[Asked, Table, Answer, float], None]:
        """Return who listens to answers and logs this share of their rows."""

        def listen(asked: Asked, table: Table, answer: Answer, seconds: float) -> None:
            places = range(table.rows) if share >= 1 else _drawn(table.rows, share)
            if not places:
                return
            now, request = moment(), request_id()
            known = (asked.protocol, asked.version.model, asked.version.number, asked.label)

            def make() -> Iterator[tuple[Any, ...]]:
                told = _predictions(answer)
                for place, (text, digest) in zip(places, self.features(table, places), strict=True):
                    prediction, score = told(place)
                    yield now, request, place, *known, text, digest, prediction, score, seconds

            self.add(Entry("predictions", asked.version.model, len(places), make))

        return listen

    def add(self, entry: Entry) -> None:
        """Let an entry be written, or count it as lost where too many wait. Takes no time, raises nothing."""
        with self._lock:
            if self._rows < _WAITING and not self._stopping.is_set():
                self._waiting.append(entry)
                self._rows += entry.rows
                self._some.set()
                return
        self.lose(entry.model, entry.kind, entry.rows, "the log can't follow")

    def lose(self, model: str, kind: Kind, rows: int, why: str) -> None:
        """Count rows that are not kept; the file says so with what is written next."""
        with self._lock:
            self.lost[model, kind, why] += rows
            self._untold[model, kind, why] += rows
            self._some.set()

    def features(self, table: Table, places: Sequence[int]) -> Iterator[tuple[str, str]]:
        """Yield the features of rows as canonical JSON, with the digest of that."""
        kinds = table.kinds or {}
        columns = {
            name: _plain(values, places, kinds.get(name, ""))
            for name, values in _columns(table).items()
            if name not in self.without
        }
        for place in range(len(places)):
            text = _json({name: values[place] for name, values in columns.items()})
            yield text, hashlib.sha256(text.encode()).hexdigest()

    def close(self) -> None:
        """Write what waits, and end."""
        self._stopping.set()
        self._some.set()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while not self._stopping.is_set() or self._waiting:
            self._some.wait()
            self._stopping.wait(_PAUSE)
            with self._lock:
                taken, self._waiting = self._waiting, []
                models = {one.model for one in taken} | {model for model, _, _ in self._untold}
                self._some.clear()
            for model in sorted(models):
                self._keep(model, [one for one in taken if one.model == model])
            with self._lock:
                self._rows -= sum(one.rows for one in taken)

    def _keep(self, model: str, entries: Sequence[Entry]) -> None:
        """Write entries, however often it must be tried; at the end only once."""
        while True:
            try:
                self._write(model, entries)
            except (sqlite3.Error, OSError, Full) as error:
                self._trouble(model, "the disk is full" if self._is_full() else str(error))
                if not self._stopping.wait(_AGAIN):
                    continue
                why = "the log can't be written"
            except Exception as error:  # rows that can't be told: others must not be lost for them
                if len(entries) > 1:
                    for one in entries:
                        self._keep(model, [one])
                    return
                self._say(f"{model}: rows are not logged: {error!r}")
                why = "they can't be told as JSON"
            else:
                if self.troubles.pop(model, None):
                    self._say(f"{model}: predictions are logged again")
                return
            for one in entries:
                self.lose(model, one.kind, one.rows, why)
            return

    def _write(self, model: str, entries: Sequence[Entry]) -> None:
        with self._lock:
            untold = {key: rows for key, rows in self._untold.items() if key[0] == model}
        now = moment()
        lost = [(now, kind, rows, why) for (_, kind, why), rows in untold.items()]
        kinds: tuple[Kind, Kind] = ("predictions", "shadow")
        rows: dict[Kind, Iterator[tuple[Any, ...]]] = {kind: self._made(kind, entries) for kind in kinds}
        Logbook(self._folder, model, self._size).append({**rows, "lost": lost})
        with self._lock:
            for key, told in untold.items():
                self._untold[key] -= told
            self._untold = +self._untold
        for one in entries:
            self.written[model, one.kind] += one.rows

    def _made(self, kind: Kind, entries: Sequence[Entry]) -> Iterator[tuple[Any, ...]]:
        for one in entries:
            if one.kind == kind:
                yield from one.make()

    def _is_full(self) -> bool:
        """Whether the disk has no room: SQLite calls that by several names."""
        with suppress(OSError):
            return shutil.disk_usage(self._folder).free < _LITTLE
        return False

    def _trouble(self, model: str, what: str) -> None:
        if self.troubles.get(model) != what:
            self.troubles[model] = what
            self._say(f"{model}: predictions can't be logged: {what}")


def request_id() -> str:
    """Return the identity of the request that is being answered; it is given one where it has none."""
    if not has_request_context():
        return uuid.uuid4().hex
    if "request_id" not in g:
        g.request_id = uuid.uuid4().hex
    return str(g.request_id)


def moment() -> str:
    """Return the time as logs have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _columns(table: Table) -> Mapping[str, Any]:
    """Return a table's columns; an array without a name is one, called inputs."""
    return table.frame if isinstance(table.frame, dict) else {"inputs": table.frame}


def _drawn(rows: int, share: float) -> Sequence[int]:
    return [place for place in range(rows) if random.random() < share]  # noqa: S311 - a sample, no secret


def _plain(values: Any, places: Sequence[int], kind: str) -> list[Any]:
    """Return a column's values at these rows; a number that may have a fraction is a float, however it was sent."""
    if isinstance(values, np.ndarray):
        return list(values[list(places)].tolist())
    chosen = [values[place] for place in places]
    if kind.startswith("datetime"):
        return [None if np.isnat(one) else one for one in chosen]
    return [float(one) for one in chosen] if kind.startswith("float") else chosen


def _predictions(answer: Answer) -> Callable[[int], tuple[str, float | None]]:
    """Return what tells a row's prediction as JSON, and as one number where it is one."""
    values = answer.values
    numbers: Sequence[float] = ()
    with suppress(ModelFailed):
        numbers = scores(values) if len(answer.outputs) == 1 else ()

    def told(place: int) -> tuple[str, float | None]:
        return _json(values[place]), numbers[place] if numbers else None

    return told


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, default=_text, option=_OPTIONS).decode()
    except TypeError:  # whole numbers of more than 64 bits
        return json.dumps(value, default=_text, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
