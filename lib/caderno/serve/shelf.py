"""What is served: versions that are loaded, and which of them each label names.

All that requests see of it is one object that is replaced whole. A new version is loaded beside the old one, its files
are compared with the ledger, its answers to its own example with those that the gate saw; then it takes its place.
Where one of these fails, what was served goes on being served, and `troubles` says why. A version that is not wanted
any more ends when the requests that had picked it are answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from caderno.errors import CadernoError
from caderno.serve import signature
from caderno.serve.batching import Answer, Batcher, Settings
from caderno.serve.errors import ModelFailed, NotFound, ServiceError, Unavailable
from caderno.serve.processes import Loader, Nursery
from caderno.serve.signature import Signature
from caderno.serve.sources import Source, Wanted, same
from caderno.serve.tables import Table

_AGAIN = 30.0  # seconds until a version that could not be loaded is tried again
_GRACE = 60.0  # seconds that requests have to leave a version


class Version:
    """A version that is loaded. Who asks it holds it, so that it stays until the answer is there."""

    def __init__(self, source: Source, number: str, nursery: Nursery, settings: Settings, watch: Watch) -> None:
        """Load and check it. Raises CadernoError or ServiceError with what is wrong."""
        self.model, self.number = source.name, number
        ranges = source.ranges()
        with source.files(number) as folder:
            self.signature: Signature = signature.read(folder).within(ranges)
            self.example: Sequence[Mapping[str, Any]] = signature.example(folder)
        self.about = source.about(number)
        self.since = time.time()
        self._loader = Loader(lambda: source.files(number), nursery)
        try:
            self._check(source.expected(number), settings.patience)
            self._batcher = Batcher(
                self._loader,
                settings,
                lambda rows, seconds: watch.batch(self, rows, seconds),
                lambda what: watch.trouble(self, what),
            )
        except BaseException:
            self._loader.close()
            raise
        self._held = 0
        self._free = threading.Condition()

    @property
    def classes(self) -> list[str] | None:
        """The classes of a classifier."""
        return self._loader.loaded.classes

    @property
    def load_seconds(self) -> float:
        """How long its process took to load it."""
        return self._loader.loaded.seconds

    def predict(self, table: Table) -> Answer:
        """Return the answer. Raises ModelFailed, TimedOut, Unavailable."""
        return self._batcher.ask(table)

    @property
    def waiting(self) -> int:
        """How many requests wait for it."""
        return self._batcher.waiting

    def memory(self) -> int:
        """Return the bytes that its processes hold."""
        return self._loader.memory()

    @contextmanager
    def held(self) -> Iterator[Version]:
        """Keep it while inside."""
        with self._free:
            self._held += 1
        try:
            yield self
        finally:
            with self._free:
                self._held -= 1
                self._free.notify_all()

    def end(self) -> None:
        """Wait until nobody holds it, and end its processes."""
        with self._free:
            self._free.wait_for(lambda: not self._held, _GRACE)
        self._batcher.close()
        self._loader.close()

    def _check(self, expected: Sequence[float] | None, patience: float) -> None:
        """Raise ModelFailed where the model answers its own example otherwise than the gate saw."""
        if expected is None:
            return
        worker = self._loader.worker()
        try:
            said = worker.ask({"example": True}, patience)
        finally:
            worker.close()
        if "error" in said:
            raise ModelFailed(f"the model fails on its own example: {said['error']}")
        found = [scores(values) for _, _, values in said["outputs"][:1]]
        if not found or not same(found[0], expected):
            raise ModelFailed("the model answers its own example otherwise than when the gate judged it")


class Watch:
    """Who is told what happens to versions; nobody, unless one derives from this."""

    def batch(self, version: Version, rows: int, seconds: float) -> None:
        """A batch was answered."""

    def loaded(self, version: Version) -> None:
        """A version is ready to be asked."""

    def trouble(self, version: Version, what: str) -> None:
        """Something went wrong with a version."""

    def trouble_of(self, model: str, what: str) -> None:
        """Something went wrong with a model; what was served goes on."""

    def swapped(self, model: str, before: Wanted, now: Wanted) -> None:
        """What is served of a model changed."""


@dataclass(frozen=True)
class Shown:
    """What requests see of one model."""

    name: str
    wanted: Wanted = field(default_factory=Wanted)
    versions: Mapping[str, Version] = field(default_factory=dict)

    def version(self, number: str | None = None, label: str | None = None) -> Version:
        """Return the version of this number or label, else the default. Raises NotFound."""
        if label is not None:
            number = self.wanted.labels.get(label)
            if number is None:
                raise NotFound(f"Unrecognized servable version label: {label}")
        if number is None:
            number = self.wanted.default
            if number is None:
                raise NotFound(f"Servable not found for request: Latest({self.name}): it has no champion yet")
        found = self.versions.get(number)
        if found is None:
            raise NotFound(f"Servable not found for request: Specific({self.name}, {number})")
        return found


class Shelf:
    """The models that are served, by name."""

    def __init__(self, sources: Sequence[Source], settings: Settings, watch: Watch | None = None) -> None:
        self._sources = sources
        self._settings = settings
        self._nursery = Nursery(settings.threads)
        self._watch = watch or Watch()
        self._shown: Mapping[str, Shown] = MappingProxyType({one.name: Shown(one.name) for one in sources})
        self._turn = threading.Lock()
        self._picking = threading.Lock()
        self._stopping = threading.Event()
        self._failed: dict[tuple[str, str], float] = {}  # (model, version) -> when it could not be loaded
        self._looked = False  # a first time, at what should be served
        self.troubles: dict[str, str] = {}

    @property
    def shown(self) -> Mapping[str, Shown]:
        """What is served now."""
        return self._shown

    def model(self, name: str) -> Shown:
        """Return what is served of a model. Raises NotFound."""
        found = self._shown.get(name)
        if found is None:
            raise NotFound(f"Servable not found for request: Latest({name})")
        return found

    @contextmanager
    def picked(self, name: str, number: str | None = None, label: str | None = None) -> Iterator[Version]:
        """Give the version that a request names; it stays for as long as inside. Raises NotFound."""
        if not self._looked:
            raise Unavailable("models are being loaded")
        with self._picking:  # nobody ends it between looking and holding
            holding = self.model(name).version(number, label).held()
            version = holding.__enter__()
        try:
            yield version
        finally:
            holding.__exit__(None, None, None)

    @property
    def ready(self) -> bool:
        """Whether each model has a version to answer with."""
        return self._looked and all(one.wanted.default in one.versions for one in self._shown.values())

    def refresh(self) -> None:
        """Load what is wanted and not there, show it, and end what is not wanted any more."""
        with self._turn:
            for source in self._sources:
                try:
                    self._renew(source)
                except Exception as error:  # whatever it is: what is served goes on, and so does this
                    self._trouble(source.name, _told(error))
            self._looked = True

    def _renew(self, source: Source) -> None:
        before, wanted = self._shown[source.name], source.wanted()
        absent = [number for number in wanted.versions if number not in before.versions]
        if wanted == before.wanted and not absent:
            self.troubles.pop(source.name, None)
            return
        loaded: dict[str, Version] = {}
        failed: dict[str, str] = {}
        for number in absent:
            if time.monotonic() - self._failed.get((source.name, number), -_AGAIN) < _AGAIN:
                continue
            try:
                loaded[number] = Version(source, number, self._nursery, self._settings, self._watch)
                self._watch.loaded(loaded[number])
            except Exception as error:
                failed[number] = _told(error)
                self._failed[source.name, number] = time.monotonic()
        there = {**before.versions, **loaded}
        labels = {
            label: number if number in there else before.wanted.labels.get(label, number)
            for label, number in wanted.labels.items()
        }
        default = wanted.default if wanted.default in there or not before.wanted.default else before.wanted.default
        kept = {*wanted.versions, *labels.values(), default}
        now = replace(wanted, labels=labels, default=default)
        shown = Shown(source.name, now, {number: one for number, one in there.items() if number in kept})
        with self._picking:
            self._shown = MappingProxyType({**self._shown, source.name: shown})
        if now != before.wanted:
            self._watch.swapped(source.name, before.wanted, now)
        for number, one in there.items():
            if number not in kept:
                threading.Thread(target=one.end, name="caderno-ending").start()
        if failed:
            told = "; ".join(f"version {number} is not served: {why}" for number, why in failed.items())
            self._trouble(source.name, told)
        elif not set(wanted.versions) - there.keys():
            self.troubles.pop(source.name, None)

    def _trouble(self, model: str, what: str) -> None:
        if self.troubles.get(model) != what:
            self.troubles[model] = what
            self._watch.trouble_of(model, what)

    def follow(self, seconds: float) -> None:
        """Refresh every so many seconds, in a thread of its own, until `end`."""

        def watching() -> None:
            while not self._stopping.wait(seconds):
                self.refresh()

        threading.Thread(target=watching, daemon=True, name="caderno-watching").start()

    def end(self) -> None:
        """End all versions; requests that hold one are waited for."""
        self._stopping.set()
        with self._turn:
            for shown in self._shown.values():
                for version in shown.versions.values():
                    version.end()
        self._nursery.close()


def _told(error: Exception) -> str:
    return error.message if isinstance(error, CadernoError | ServiceError) else repr(error)


def scores(values: Sequence[Any]) -> list[float]:
    """Return one number a row: of probabilities of two classes the second's. Raises ModelFailed where there is none."""
    try:
        found = [float(one[-1] if isinstance(one, list) and len(one) <= 2 else one) for one in values]
    except (TypeError, ValueError, IndexError):
        raise ModelFailed("the model gives no single number a row") from None
    return found
