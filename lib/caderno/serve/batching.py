"""Questions of many callers to one version, answered together: what comes while the model works makes the next batch.

A batch that fails is taken apart, so that only the row that kills or upsets the model fails.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

from caderno.serve.errors import ModelFailed, TimedOut, Unavailable
from caderno.serve.processes import Died, Loader, Worker
from caderno.serve.tables import Table

REPLACED = "a worker is replaced: "  # what is said begins so, then why
_TRIES = 3  # a worker may die of something else than the request that it has
_LOOK = 5.0  # seconds between looks at a worker's memory


@dataclass(frozen=True)
class Output:
    """One output of a model: a value a row, of NumPy's `kind`, or "bytes" for texts and all else."""

    name: str | None
    kind: str
    values: list[Any]


@dataclass(frozen=True)
class Answer:
    """The outputs for one table; `seconds` the model took for the batch of `batch` rows that it was part of.

    `by_name`: the model gave an object of its outputs, not a table.
    """

    outputs: tuple[Output, ...]
    rows: int
    seconds: float
    batch: int
    by_name: bool = False

    @property
    def values(self) -> list[Any]:
        """What the model says row by row: a value, or an object where it has several outputs."""
        if len(self.outputs) == 1:
            return self.outputs[0].values
        return self.objects

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What the model says row by row, as objects by the outputs' names."""
        names = [str(one.name) for one in self.outputs]
        return [dict(zip(names, row, strict=True)) for row in zip(*(one.values for one in self.outputs), strict=True)]


@dataclass(frozen=True)
class Settings:
    """How a version is asked: see the options of `caderno serve`."""

    window: float = 0.0  # seconds to wait for others
    most_rows: int = 1024  # in a batch
    waiting: int = 2000  # requests that may wait
    patience: float = 30.0  # seconds for an answer
    memory: int | None = None  # bytes a worker may hold
    workers: int = 1
    threads: int = 1  # native ones, of each worker


@dataclass
class _Question:
    table: Table
    future: Future[Answer] = field(default_factory=Future)
    deaths: int = 0  # of workers that were asked this alone


class Batcher:
    """The queue before one version's workers. `watch` is told rows and seconds of each batch, `say` what failed."""

    def __init__(
        self, loader: Loader, settings: Settings, watch: Callable[[int, float], None], say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._queue: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        lanes = [_Lane(self._queue, loader, settings, watch, say) for _ in range(settings.workers)]
        self._threads = [threading.Thread(target=lane.run, daemon=True, name="caderno-batches") for lane in lanes]
        for thread in self._threads:
            thread.start()

    def ask(self, table: Table) -> Answer:
        """Return the model's answer. Raises ModelFailed, TimedOut, Unavailable."""
        if self._queue.qsize() >= self._settings.waiting:
            raise Unavailable(f"{self._settings.waiting} requests are waiting: try again in a moment")
        question = _Question(table)
        self._queue.put(question)
        try:
            return question.future.result(self._settings.patience + self._settings.window)
        except (TimeoutError, CancelledError):
            question.future.cancel()
            raise TimedOut(f"no answer within {self._settings.patience:g} s") from None

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._queue.qsize()

    def close(self) -> None:
        """End the threads when what was asked is answered."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(self._settings.patience)


class _Lane:
    """One thread with its worker."""

    def __init__(
        self,
        questions: queue.SimpleQueue[_Question | None],
        loader: Loader,
        settings: Settings,
        watch: Callable[[int, float], None],
        say: Callable[[str], None],
    ) -> None:
        self._queue, self._loader, self._settings, self._watch, self._say = questions, loader, settings, watch, say
        self._worker: Worker | None = loader.worker()

    def run(self) -> None:
        """Answer until None comes."""
        kept: _Question | None = None
        looked = time.monotonic()
        while True:
            first = kept or self._queue.get()
            if first is None:
                break
            batch, kept, ends = self._gather(first)
            self._settle([one for one in batch if one.future.set_running_or_notify_cancel()])
            if self._settings.memory and time.monotonic() - looked > _LOOK:
                looked = time.monotonic()
                self._bound(self._settings.memory)
            if ends:
                break
        if self._worker:
            self._worker.close()

    def _gather(self, first: _Question) -> tuple[list[_Question], _Question | None, bool]:
        """Return what is answered together with `first`; what came after it and does not fit; whether all ends then."""
        batch, rows, until = [first], first.table.rows, time.monotonic() + self._settings.window
        while not first.table.alone:
            try:
                left = until - time.monotonic()
                found = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if found is None:
                return batch, None, True
            other = found.table
            if other.alone or other.key != first.table.key or rows + other.rows > self._settings.most_rows:
                return batch, found, False
            batch.append(found)
            rows += other.rows
        return batch, None, False

    def _settle(self, batch: Sequence[_Question]) -> None:
        """Give each question its answer or its error."""
        if not batch:
            return
        try:
            answers = self._asked([one.table for one in batch])
        except (TimedOut, Unavailable) as error:
            for one in batch:
                one.future.set_exception(error)
        except (Died, ModelFailed) as error:
            if len(batch) > 1:
                for one in batch:
                    self._settle([one])
            elif isinstance(error, Died) and batch[0].deaths < _TRIES - 1:
                batch[0].deaths += 1
                self._settle(batch)
            else:
                failed = ModelFailed("the model's process died of this request") if isinstance(error, Died) else error
                batch[0].future.set_exception(failed)
        except Exception as error:  # whatever it is: this thread goes on
            self._say(f"{len(batch)} requests failed: {error!r}")
            for one in batch:
                one.future.set_exception(ModelFailed("the service could not ask the model; its log says why"))
        else:
            for one, answer in zip(batch, answers, strict=True):
                one.future.set_result(answer)

    def _asked(self, tables: Sequence[Table]) -> list[Answer]:
        """Return the worker's answers. Raises Died or TimedOut after the worker was ended."""
        first = tables[0]
        request = {"frames": [one.frame for one in tables], "kinds": first.kinds, "params": first.params}
        worker = self._ready()
        try:
            said = worker.ask(request, self._settings.patience)
        except (Died, TimedOut) as error:
            self._say(f"{REPLACED}{'it died' if isinstance(error, Died) else error}")
            self._replace(worker)
            raise
        rows = sum(one.rows for one in tables)
        self._watch(rows, said["seconds"])
        if "error" in said:
            raise ModelFailed(f"the model failed: {said['error']}")
        return _divided(said, tables, rows)

    def _ready(self) -> Worker:
        if self._worker is None:
            try:
                self._worker = self._loader.worker()
            except Exception as error:  # whatever keeps a model from being loaded: files, memory, its own code
                self._say(f"no worker can be had: {error}")
                raise Unavailable("the model can't be loaded at the moment") from None
        return self._worker

    def _replace(self, worker: Worker) -> None:
        worker.close()
        self._worker = None
        try:
            self._worker = self._loader.worker(instead_of=worker.pid)
        except Exception as error:
            self._say(f"no worker can be had: {error}")

    def _bound(self, limit: int) -> None:
        worker = self._worker
        if worker and (held := worker.memory()) > limit:
            self._say(f"{REPLACED}it holds {held / 1e6:.0f} MB, more than {limit / 1e6:.0f} MB")
            self._replace(worker)


def _divided(said: dict[str, Any], tables: Sequence[Table], rows: int) -> list[Answer]:
    """Return each table's part of what a model said for all of them."""
    outputs = said["outputs"]
    lengths = {len(values) if isinstance(values, list) else None for _, _, values in outputs}
    if lengths != {rows}:
        got = ", ".join("no list" if one is None else str(one) for one in lengths) or "nothing"
        raise ModelFailed(f"the model gave {got} for {rows} rows: it must give one answer a row")
    answers, begin = [], 0
    for one in tables:
        end = begin + one.rows
        own = outputs if len(tables) == 1 else [(name, kind, values[begin:end]) for name, kind, values in outputs]
        parts = tuple(Output(*part) for part in own)
        answers.append(Answer(parts, one.rows, said["seconds"], rows, said.get("by_name", False)))
        begin = end
    return answers
