"""What a run computed, on its way to where other machines can fetch it.

Results are sent beside the run, by threads of their own; at its end the run waits for them. While a run computes, a
file in .caderno/unsent/ names it: what it could not send, or was killed before it did, is sent by the next run, which
knows such results by the run that their records name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from caderno.plan.records import TaskRecord
from caderno.plan.store import Store
from caderno.project import Project
from caderno.remote import Elsewhere

_THREADS = 4
_TICK = 0.2  # seconds between looks at whether the run was stopped

Told = Callable[[TaskRecord, float, int], None]  # of a result that was sent: its record, seconds, bytes


class Sharing:
    """Sends the results of the run `run` to `remote`; `sent` is told of each, `warn` of those that stay here."""

    def __init__(
        self,
        project: Project,
        store: Store,
        remote: Elsewhere,
        run: str,
        sent: Told,
        warn: Callable[[str], None],
        given_up: Callable[[], bool],
    ) -> None:
        self._folder = project.state / "unsent" / store.pipeline
        self._store = store
        self._remote = remote
        self._runs = [run]
        self._path = self._folder / f"{run}.json"
        self._sent = sent
        self._warn = warn
        self._given_up = given_up
        self._held: IO[str] | None = None
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[Path, TaskRecord, bool] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._left: dict[str, str] = {}  # tasks whose result could not be sent, and why

    def any_unsent(self) -> bool:
        """Whether an earlier run left results that were to be sent."""
        return any(self._folder.glob("*.json"))

    def begin(self) -> None:
        """Note that this run has results to send; those that earlier runs were to send are sent now."""
        if self._held:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            earlier = [path for path in sorted(self._folder.glob("*.json")) if self._take(path, stack)]
            runs = {run for path in earlier for run in _named(path)}
            self._held = self._note([*self._runs, *sorted(runs)])
            for path in earlier:
                path.unlink()
        if runs:
            for place, record in self._store.every():
                if record.run in runs and record.state == "succeeded":
                    self.send(record, place)

    def _note(self, runs: list[str]) -> IO[str]:
        """Write the file that names the runs, and return it open: it is locked from its first moment on."""
        made = self._path.with_suffix(".new")
        file = made.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(runs, file)
        file.flush()
        os.replace(made, self._path)
        return file

    @staticmethod
    def _take(path: Path, stack: contextlib.ExitStack) -> bool:
        """Lock the file of an earlier run; False where that is still going on, or another run has taken it over."""
        try:
            file = stack.enter_context(path.open())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return path.exists()

    def send(self, record: TaskRecord, place: Path, anew: bool = False) -> None:
        """Send a result when its turn comes; `anew`, also where another of its fingerprint is there."""
        if len(self._threads) < _THREADS:
            self._threads.append(threading.Thread(target=self._work, daemon=True, name="push"))
            self._threads[-1].start()
        with self._lock:
            self._left[record.task] = "the run was stopped"
        self._queue.put((place, record, anew))

    def wait(self) -> bool:
        """Wait until all is sent, or the run is stopped; what is not is told, and left to the next run.

        Return whether all was sent.
        """
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            while thread.is_alive() and not self._given_up():
                thread.join(_TICK)
        with self._lock:
            left = dict(self._left)
        if left:
            first = next(iter(left))
            others = f" and {len(left) - 1:,} more" if len(left) > 1 else ""
            self._warn(
                f"{first}{others} could not be sent to {self._remote.shown} ({left[first]}): the next run sends it"
            )
        elif self._held:
            self._path.unlink(missing_ok=True)
        if self._held:
            self._held.close()
        return not left

    def _work(self) -> None:
        while (one := self._queue.get()) is not None:
            place, record, anew = one
            began = time.monotonic()
            try:
                if self._given_up():
                    continue
                size = self._remote.push(place, record, self._given_up, anew=anew)
            except Exception as error:  # the run's results are there all the same
                with self._lock:
                    self._left[record.task] = getattr(error, "message", repr(error))
                continue
            with self._lock:
                del self._left[record.task]
            if size is not None:
                self._sent(record, time.monotonic() - began, size)


def _named(path: Path) -> list[str]:
    """Return the runs that a file names; that of its own name where it can't be read."""
    try:
        return [str(run) for run in json.loads(path.read_bytes())]
    except (ValueError, TypeError):
        return [path.stem]
