"""What a plan and a run ask of other machines: which results are there; pull one; push one.

A place that does not answer stops nothing: it is told once, and is asked again after a minute. With `patience` it is
waited for instead: for who runs a pipeline task by task on several machines, where what one can't send another would
compute again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from caderno.errors import RemoteAway, RemoteError, RemoteGone, Stopped
from caderno.plan.cache import StatCache
from caderno.plan.planner import Resolved
from caderno.plan.records import TaskRecord
from caderno.remote import transfer
from caderno.remote.parcel import LARGEST, Parcel, unpacked
from caderno.remote.place import Place
from caderno.spec import Task

T = TypeVar("T")

_AT_ONCE = 16  # parcels that are asked for
_REST = 60.0  # seconds for which a place that does not answer is left alone
_PAUSE = 2.0  # the same, where it is waited for


def _listed(task: str, place: Place) -> Set[str]:
    return place.listed(task)


class Elsewhere:
    """The results of one pipeline at `place`, which is made when it is first asked; workers may ask at once.

    A place that does not answer is waited for `patience` seconds.
    """

    def __init__(self, pipeline: str, shown: str, make: Callable[[], Place], patience: float = 0.0) -> None:
        self.shown = shown
        self.patience = patience
        self._pipeline = pipeline
        self._make = make
        self._place: Place | None = None
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._listed: dict[str, Set[str]] = {}
        self._parcels: dict[str, Parcel] = {}
        self._useless: set[str] = set()  # fingerprints of results there that are damaged
        self._away: RemoteAway | None = None
        self._until = 0.0
        self._said: set[str] = set()
        self._tell: Callable[[str], None] | None = None
        self._untold: list[str] = []

    def listen(self, tell: Callable[[str], None]) -> None:
        """Let `tell` know what goes wrong from now on, and what did before."""
        with self._lock:
            self._tell, untold, self._untold = tell, self._untold, []
        for message in untold:
            tell(message)

    def offers(self, wanted: Sequence[tuple[Task, Resolved]]) -> Mapping[str, tuple[TaskRecord, int]]:
        """Return those of the wanted results that are there: record and bytes by fingerprint.

        One listing for each name of a task, then each parcel that it has. Raises RemoteError where the place refuses.
        """
        try:
            names = {task.name for task, _ in wanted} - self._listed.keys()
            for name in sorted(names):
                self._listed[name] = self._asked(partial(_listed, name))
            there = [one for one in wanted if one[1].fingerprint in self._listed[one[0].name]]
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="remote") as pool:
                found = list(pool.map(lambda one: self._parcel(*one), there))
        except RemoteAway:
            return {}
        return {one.record.fingerprint: (one.record, one.size) for one in found if one}

    def ask(self, task: Task, resolved: Resolved) -> tuple[TaskRecord, int] | None:
        """Return (record, bytes) of one result, if it is there now."""
        try:
            parcel = self._parcel(task, resolved)
        except RemoteAway:
            return None
        except RemoteError as error:
            self._say(error.message)
            return None
        return (parcel.record, parcel.size) if parcel else None

    def pull(self, fingerprint: str, staged: Path, given_up: Callable[[], bool]) -> TaskRecord | None:
        """Bring a result that was found to be there into `staged`, and return its record.

        None where it can't be had after all, which is told; what arrived stays there. Raises Stopped.
        """
        parcel = self._parcels[fingerprint]
        try:
            self._asked(lambda place: transfer.pull(place, parcel, staged, given_up), given_up)
        except RemoteAway:
            return None
        except RemoteError as error:
            self.refuse(fingerprint, error.message)
            return None
        return parcel.record

    def refuse(self, fingerprint: str, why: str) -> None:
        """Ask no more for a result that is of no use; the next one of its fingerprint replaces it there."""
        self._useless.add(fingerprint)
        task = self._parcels[fingerprint].record.task
        self._say(f"{task} can't be fetched from {self.shown}, and is computed: {why}")

    def push(
        self,
        result: Path,
        record: TaskRecord,
        given_up: Callable[[], bool],
        cache: StatCache | None = None,
        anew: bool = False,
    ) -> int | None:
        """Send a result, and return how many bytes went; None where it is there already, save `anew`.

        Raises RemoteError where it can't be sent, Stopped where `given_up()` turns true.
        """
        name = record.task.partition("[")[0]
        anew = anew or record.fingerprint in self._useless
        if not anew and self._asked(lambda place: place.read(name, record.fingerprint, 1), given_up) is not None:
            return None
        return self._asked(lambda place: transfer.push(place, result, record, given_up, cache, anew), given_up)

    def _parcel(self, task: Task, resolved: Resolved) -> Parcel | None:
        """Return the parcel of a result; None where there is none, or none of use, which is told."""
        fingerprint = resolved.fingerprint
        if fingerprint in self._useless:
            return None
        data = self._asked(lambda place: place.read(task.name, fingerprint, LARGEST + 1))
        if data is None:
            return None
        try:
            self._parcels[fingerprint] = unpacked(data, self._pipeline, task, resolved)
        except RemoteError as error:
            self._useless.add(fingerprint)
            self._say(f"{task.id} can't be fetched from {self.shown}, and is computed: {error.message}")
            return None
        return self._parcels[fingerprint]

    def ready(self) -> None:
        """Make sure that the place can be asked. Raises RemoteError where its URL or its driver does not do."""
        with contextlib.suppress(RemoteAway):
            self._asked(lambda place: None)

    def _asked(self, question: Callable[[Place], T], given_up: Callable[[], bool] = lambda: False) -> T:
        """Return what the place answers. Raises RemoteAway where it does not, RemoteGone where patience has ended."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return self._asked_once(question)
            except RemoteAway as error:
                if not self.patience:
                    raise
                if time.monotonic() > end:
                    raise RemoteGone(
                        f"{error.message}, and was waited for {self.patience:.0f} s",
                        "results made here are kept: when it answers, run the same again",
                    ) from None
            if given_up():
                raise Stopped("the run was stopped")
            time.sleep(_PAUSE / 4)

    def _asked_once(self, question: Callable[[Place], T]) -> T:
        """Return what the place answers. Raises RemoteAway, which is told, at once where it did not answer lately."""
        with self._lock:
            if self._away and time.monotonic() < self._until:
                raise self._away
        try:
            with self._making:
                self._place = self._place or self._make()
            return question(self._place)
        except RemoteAway as error:
            rest, then = _REST, "what can't be fetched is computed, what can't be sent is sent by a later run"
            if self.patience:
                rest, then = _PAUSE, f"it is waited for, {self.patience:.0f} s"
            with self._lock:
                self._away, self._until = error, time.monotonic() + rest
            self._say(f"{error.message}; {then}")
            raise

    def _say(self, message: str) -> None:
        """Tell something, once."""
        with self._lock:
            if message in self._said:
                return
            self._said.add(message)
            tell = self._tell
            if tell is None:
                self._untold.append(message)
        if tell:
            tell(message)
