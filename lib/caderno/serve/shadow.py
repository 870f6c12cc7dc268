"""The challenger in shadow: it answers a share of what the champion was asked, and nobody waits for it.

Both scores are kept, with the rows, in the log of predictions. Where the challenger can't follow, fails, or takes other
columns than the champion, rows are lost, which is counted: shadow changes no answer and delays none.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from caderno.serve.answering import Asked
from caderno.serve.batching import Answer
from caderno.serve.errors import ModelFailed, NotFound, ServiceError
from caderno.serve.journal import Entry, Journal, moment, request_id
from caderno.serve.shelf import Shelf, Version, scores
from caderno.serve.tables import Table

_WAITING = 5000  # rows that may wait for the challenger
_PATIENCE = 10.0  # seconds for what is being answered at the end


@dataclass(frozen=True)
class Agreement:
    """How near the challenger's scores were to the champion's since the service started, or the pair changed."""

    champion: str
    challenger: str
    rows: int = 0
    difference: float = 0.0  # the sum of absolute differences

    @property
    def mean(self) -> float:
        """The mean absolute difference."""
        return self.difference / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class _Question:
    asked: Asked
    table: Table
    answer: Answer
    seconds: float
    time: str
    request: str


class Shadow:
    """Asks the challengers. `agreements`, and how they last failed, are by model: cheap to read at any time."""

    def __init__(self, shelf: Shelf, journal: Journal, share: float, say: Callable[[str], None]) -> None:
        self.agreements: Mapping[str, Agreement] = {}
        self.failures: dict[str, str] = {}
        self._shelf, self._journal, self._share, self._say = shelf, journal, share, say
        self._queue: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._rows = 0
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="caderno-shadow")
        self._thread.start()

    def listen(self, asked: Asked, table: Table, answer: Answer, seconds: float) -> None:
        """Have the challenger asked, too, if the champion was meant and the lot says so."""
        if asked.exact or asked.label not in (None, "champion") or random.random() >= self._share:  # noqa: S311
            return
        model = asked.version.model
        if self._challenger(model) in (None, asked.version.number):
            return
        with self._lock:
            room = self._rows < _WAITING and not self._stopping
            self._rows += table.rows if room else 0
        if room:
            self._queue.put(_Question(asked, table, answer, seconds, moment(), request_id()))
        else:
            self._journal.lose(model, "shadow", table.rows, "the challenger can't follow")

    def close(self) -> None:
        """Answer no more."""
        self._stopping = True
        self._queue.put(None)
        self._thread.join(_PATIENCE)

    def _challenger(self, model: str) -> str | None:
        return self._shelf.model(model).wanted.labels.get("challenger")

    def _run(self) -> None:
        while (question := self._queue.get()) is not None:
            model, rows = question.asked.version.model, question.table.rows
            try:
                if self._stopping:
                    raise _Lost("the service stopped")
                self._ask(question)
            except NotFound:
                pass  # there is no challenger any more
            except _Lost as lost:
                self._journal.lose(model, "shadow", rows, str(lost))
            except Exception as error:  # whatever a challenger does: the next question may do better
                self._journal.lose(model, "shadow", rows, "the challenger failed")
                self._told(model, error)
            finally:
                with self._lock:
                    self._rows -= rows

    def _told(self, model: str, error: Exception) -> None:
        """Say what goes wrong with a challenger, once."""
        what = error.message if isinstance(error, ServiceError) else repr(error)
        if self.failures.get(model) != what:
            self.failures[model] = what
            self._say(f"{model}: the challenger fails in shadow: {what}")

    def _ask(self, question: _Question) -> None:
        champion, model = question.asked.version, question.asked.version.model
        ours = _numbers(question.answer)
        with self._shelf.picked(model, label="challenger") as challenger:
            if challenger.number == champion.number:
                return
            table = _taken(question.table, champion, challenger)
            began = time.perf_counter()
            answer = challenger.predict(table)
            seconds = time.perf_counter() - began
        theirs = _numbers(answer)
        self._agree(model, champion.number, challenger.number, ours, theirs)
        pair = (model, champion.number, challenger.number)

        def make() -> Iterator[tuple[Any, ...]]:
            told = self._journal.features(question.table, range(len(ours)))
            for row, (score, other, features) in enumerate(zip(ours, theirs, told, strict=True)):
                both = (score, other, question.seconds, seconds)
                yield question.time, question.request, row, *pair, *features, *both

        self._journal.add(Entry("shadow", model, len(ours), make))

    def _agree(
        self, model: str, champion: str, challenger: str, ours: Sequence[float], theirs: Sequence[float]
    ) -> None:
        known = self.agreements.get(model)
        if known is None or (known.champion, known.challenger) != (champion, challenger):
            known = Agreement(champion, challenger)
        more = sum(abs(one - other) for one, other in zip(ours, theirs, strict=True))
        now = replace(known, rows=known.rows + len(ours), difference=known.difference + more)
        self.agreements = {**self.agreements, model: now}


class _Lost(Exception):
    """Why rows are not compared."""


def _numbers(answer: Answer) -> list[float]:
    try:
        return scores(answer.outputs[0].values)
    except (ModelFailed, IndexError):
        raise _Lost("the models give no single number a row") from None


def _taken(table: Table, champion: Version, challenger: Version) -> Table:
    """Return what the champion was asked as the challenger takes it. Raises _Lost where it takes something else."""
    theirs = challenger.signature
    if theirs.kinds == champion.signature.kinds and theirs.tensors == champion.signature.tensors:
        return table
    if theirs.tensors or not theirs.kinds or not theirs.kinds.items() <= champion.signature.kinds.items():
        raise _Lost("the challenger takes other columns than the champion")
    return replace(table, frame={name: table.frame[name] for name in theirs.kinds}, kinds=theirs.kinds)
