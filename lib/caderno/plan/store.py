"""The store of results: data/<pipeline>/<task>/[<key>=<value>/…]<fingerprint>/.

A result is staged beside its place and renamed into it when whole, its record inside; so a directory
that bears a fingerprint's name is complete, whatever was killed when. `latest` beside the fingerprints is
a symlink for people and for notebooks run by hand; nothing is decided by it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from caderno.errors import Stopped, StoreError
from caderno.plan.cache import DIGEST, StatCache, status_of
from caderno.plan.digests import files_in, of_path
from caderno.plan.index import Index, ShortRecord
from caderno.plan.records import Output, RunRecord, TaskRecord
from caderno.project import Project

RECORD = "task.json"
NOTEBOOK = "notebook.ipynb"
PAGE = "report.html"
RUNS = ".runs"  # beside the tasks of a pipeline
LOG = "log.txt"
LATEST = "latest"
FAILED = "failed"  # beside the results of a task: its last failed attempt
LOGGING = ".log-"  # how the name of a folder begins in which files are gathered for MLflow
_LAST = "last"  # among the records of runs: the one that ended last
_PLACE = re.compile(r"[0-9a-f]{16}(\.part|\.old)?|failed\.old")
_POLL = 0.1  # seconds between two tries to get a lock
_SHORT = 16  # hex digits of the fingerprint in a directory's name; the record holds it whole


class Store:
    """Results and records of one pipeline. `cache` holds digests of outputs; without one they are read each time."""

    def __init__(self, project: Project, pipeline: str, cache: StatCache | None = None) -> None:
        self.pipeline = pipeline
        self._project = project
        self._root = project.data / pipeline
        self._relative = project.relative(self._root)
        self._cache = cache
        self._index = Index(project.state / f"results-{pipeline}.json", anew=cache is None or cache.anew)
        self._runs = self._root / RUNS

    @property
    def root(self) -> Path:
        """The root of the project, to which paths in records are relative."""
        return self._project.root

    def home(self, folder: str) -> Path:
        """Return the directory of a task, given its place ("train/model=forest")."""
        return self._root / folder

    def place(self, folder: str, fingerprint: str) -> Path:
        """Return where the result of `fingerprint` stands, or would."""
        return self.home(folder) / fingerprint[:_SHORT]

    def relative_place(self, folder: str, fingerprint: str) -> str:
        """Return the same relative to the project's root, as records name it."""
        return f"{self._relative}/{folder}/{fingerprint[:_SHORT]}"

    def find(self, folder: str, fingerprint: str) -> tuple[ShortRecord | None, str]:
        """Return (record, "") of the whole result of `fingerprint`; else (None, why it is not usable)."""
        place = f"{self._root}/{folder}/{fingerprint[:_SHORT]}"
        record = self._index.get(f"{place}/{RECORD}", lambda: read_record(Path(place)))
        if record is None:
            return None, "its record is damaged" if status_of(place) else ""
        if record.fingerprint != fingerprint or not record.succeeded:
            return None, "its record is of something else"
        for name, output in record.outputs.items():
            damage = self._damage(f"{place}/{output.path}", output)
            if damage:
                return None, f"output {name} is {damage}"
        return record, ""

    def _damage(self, path: str, output: Output) -> str:
        status = status_of(path)
        if status is None:
            return "missing"
        if stat.S_ISREG(status.st_mode) and status.st_size != output.size:
            return "damaged"
        try:
            return "" if of_path(path, self._cache) == (output.digest, output.size) else "damaged"
        except OSError as error:
            return f"not readable ({error.strerror})"

    def latest(self, folder: str) -> tuple[TaskRecord, Path] | None:
        """Return the newest usable result of a task by its record's time, or None."""
        home = self.home(folder)
        link = home / LATEST
        with contextlib.suppress(OSError):
            pointed = home / os.readlink(link)
            record = read_record(pointed)
            if record:
                return record, pointed
        found = [(record, place) for place in self.results(home) if (record := read_record(place))]
        return max(found, key=lambda pair: pair[0].started) if found else None

    def earlier(self, folder: str, most: int) -> list[tuple[TaskRecord, Path]]:
        """Return the newest results of a task, at most `most`, the newest first."""
        found = self.before(self.home(folder), None, most + 1)
        return [one for one in found if one[1].name != FAILED][:most]

    def all_of(self, folder: str) -> list[tuple[TaskRecord, Path]]:
        """Return all results of a task, the last failed attempt among them, the newest first."""
        return self.before(self.home(folder), None, sys.maxsize)

    @staticmethod
    def before(home: Path, when: datetime | None, most: int) -> list[tuple[TaskRecord, Path]]:
        """Return a task's results that began before, the last failed attempt among them: `most`, the newest first."""
        places = [*Store.results(home), home / FAILED]
        stated = [(status.st_mtime_ns, place) for place in places if (status := status_of(place))]
        found: list[tuple[TaskRecord, Path]] = []
        for _, place in sorted(stated, reverse=True):
            if len(found) < most and (record := read_record(place)) and (when is None or record.started < when):
                found.append((record, place))
        return sorted(found, key=lambda one: one[0].started, reverse=True)

    def failed(self, folder: str) -> tuple[TaskRecord, Path] | None:
        """Return the record of the last failed attempt, if no later attempt succeeded."""
        place = self.home(folder) / "failed"
        record = read_record(place)
        return (record, place) if record else None

    def homes(self) -> Iterator[Path]:
        """Yield the directories of all tasks that have, or had, results: also of those that are gone from the file."""
        for folder, names, _ in os.walk(self._root):
            names[:] = [name for name in names if not _is_left(name, folder == str(self._root))]
            yield Path(folder)

    @staticmethod
    def results(home: Path) -> Iterator[Path]:
        """Yield the directories of a task's results, in no order."""
        if home.is_dir():
            for child in home.iterdir():
                if len(child.name) == _SHORT and child.is_dir() and not child.is_symlink():
                    yield child

    def every(self) -> Iterator[tuple[Path, TaskRecord]]:
        """Yield all results of all tasks, the last failed attempts among them, with their records."""
        for home in self.homes():
            for place in [*self.results(home), home / FAILED]:
                if record := read_record(place):
                    yield place, record

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold off whoever wants to remove results, while inside."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a project that can only be read
                fcntl.flock(stack.enter_context(self._users().open("a")), fcntl.LOCK_SH)
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold off runs while inside. Raises StoreError where one is going on."""
        with self._users().open("a") as file:
            if not _locked(file):
                raise StoreError("a run is going on, and may need what would be removed", "try again when it has ended")
            yield

    def _users(self) -> Path:
        self._project.state.mkdir(parents=True, exist_ok=True)
        return self._project.state / f"users-{self.pipeline}.lock"

    def running(self, folder: str) -> Path | None:
        """Return the directory in which a task is being computed, by this or another run; None where it is not."""
        return self.running_at(self.home(folder))

    def running_at(self, home: Path) -> Path | None:
        """Return the same, given the directory of the task."""
        for staged in home.glob("*.part"):
            with contextlib.suppress(FileNotFoundError), self._lock_file(staged.stem).open("a") as file:
                if not _locked(file):
                    return staged
        return None

    def _lock_file(self, fingerprint: str) -> Path:
        return self._project.state / "locks" / fingerprint[:_SHORT]

    @contextmanager
    def lock(self, fingerprint: str, given_up: Callable[[], bool]) -> Iterator[None]:
        """Hold the kernel's lock on a fingerprint: of two runs that want it, one computes and the other waits.

        Raises Stopped where `given_up()` turns true while waiting.
        """
        path = self._lock_file(fingerprint)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            while not _locked(file):
                if given_up():
                    raise Stopped("stopped while another run computes the same task")
                time.sleep(_POLL)
            yield

    def stage(self, folder: str, fingerprint: str, keep: bool = False) -> Path:
        """Return a directory beside the result's place: a new, empty one, or with `keep` what an attempt left."""
        staged = self.home(folder) / f"{fingerprint[:_SHORT]}.part"
        try:
            if not keep:
                shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True, exist_ok=keep)
        except OSError as error:
            raise StoreError(f"{self._project.relative(staged)} can't be made: {error.strerror}") from None
        return staged

    def commit(self, staged: Path, record: TaskRecord) -> Path:
        """Write the record into `staged` and rename it into place: from then on the result exists."""
        (staged / RECORD).write_text(record.model_dump_json(indent=1), encoding="utf-8")
        place = staged.with_name(record.fingerprint[:_SHORT] if record.state == "succeeded" else "failed")
        _sync_tree(staged)
        _replace_directory(staged, place)
        self._know(record, staged, place)
        if record.state == "succeeded":
            shutil.rmtree(staged.with_name("failed"), ignore_errors=True)
        return place

    def _know(self, record: TaskRecord, staged: Path, place: Path) -> None:
        """Keep the digests that were taken of outputs while they were staged."""
        if self._cache is None:
            return
        for output in record.outputs.values():
            one = place / output.path
            for file in files_in(one) if one.is_dir() else [one]:
                self._cache.moved(DIGEST, staged / file.relative_to(place), file)

    def save_index(self) -> None:
        """Keep for the next plan what was read of records."""
        self._index.save()

    def point_latest(self, folder: str, fingerprint: str) -> None:
        """Make `latest` of a task name the result of `fingerprint`."""
        target = fingerprint[:_SHORT]
        with contextlib.suppress(OSError):
            if os.readlink(f"{self._root}/{folder}/{LATEST}") == target:
                return
        _point(self.home(folder) / LATEST, target)

    def run_file(self, run: str) -> Path:
        """Return where the record of a run stands, or will."""
        return self._runs / f"{run}.json"

    def save_run(self, record: RunRecord) -> None:
        """Write a run's record, and note that it is the last one: its time says so only where no clock was set back."""
        self._runs.mkdir(parents=True, exist_ok=True)
        write_atomically(self.run_file(record.run), record.model_dump_json(indent=1))
        _point(self._runs / _LAST, f"{record.run}.json")

    def run_names(self) -> list[str]:
        """Return the ids of all runs, the newest first."""
        return sorted((path.stem for path in self._runs.glob("[!.]*.json")), reverse=True)

    def read_run(self, run: str) -> RunRecord | None:
        """Return the record of a run, or None where it can't be read."""
        return read_run(self.run_file(run))

    def runs(self) -> Iterator[RunRecord]:
        """Yield the records of all runs that can be read, the newest first."""
        for name in self.run_names():
            if record := self.read_run(name):
                yield record

    def last_run(self) -> RunRecord | None:
        """Return the record of the run that ended last, else of the newest that can be read, or None."""
        return read_run(self._runs / _LAST) or next(self.runs(), None)


def _is_left(name: str, top: bool) -> bool:
    """Whether a directory of this name is what an attempt left, and not the home of a task."""
    return bool(_PLACE.fullmatch(name)) or (name == "failed" and not top) or name.startswith((".", "debug-"))


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_record(place: Path) -> TaskRecord | None:
    """Return the record in a result's directory, or None where there is none that can be read."""
    try:
        return TaskRecord.model_validate_json((place / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def read_run(path: Path) -> RunRecord | None:
    """Return a run's record, or None where there is none that can be read."""
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def write_atomically(path: Path, text: str) -> None:
    """Replace the file at `path` by `text` as one step that survives a crash."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _point(link: Path, target: str) -> None:
    """Make a symlink name another target, in one step."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    temporary.symlink_to(target)
    os.replace(temporary, link)


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if not (path.is_file() or path.is_dir()):  # a link that leads nowhere, a pipe
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace_directory(staged: Path, place: Path) -> None:
    if place.exists():
        old = place.with_name(f"{place.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(place, old)
        os.rename(staged, place)
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(staged, place)
    descriptor = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
