"""What a run tells MLflow. What could not be told is kept, and the next run makes up for it.

While a server does not answer, runs are opened in a store of the project's own, .caderno/untold/<run>/, where notebooks
log as they would to the server; `deliver` copies them later (see copying.py). What only the engine could not say, at
the end of a task, stays in its journal, and `make_up` says it.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat

from caderno import report
from caderno.errors import TrackingAway, TrackingError
from caderno.plan.records import Output, RunState, TaskRecord, TrackingRun
from caderno.plan.store import NOTEBOOK, PAGE, RECORD, Store, write_atomically
from caderno.project import Project
from caderno.run.journal import STATUS, UNTOLD, Journal, orphans, record_at
from caderno.run.tracking import Logged, Tracking, tracking_uri

_DATABASE, _SERVER = "mlflow.db", "server"


@dataclass(frozen=True)
class Open:
    """An open run, and the store that it is in."""

    tracking: Tracking
    run: TrackingRun


class Ledger:
    """The open runs of one engine; workers may use it at once. `warn` is told of what MLflow did not take."""

    def __init__(
        self, project: Project, pipeline: str, run: str, warn: Callable[[str], None], folder: Path | None = None
    ) -> None:
        """Open the tracking store; with `folder`, one of its own in there. Raises TrackingError where it refuses."""
        self._project = project
        self._pipeline = pipeline
        self._folder = _untold(project) / run
        self._warn = warn
        self._lock = threading.Lock()
        self._held = contextlib.ExitStack()
        self._aside: Tracking | None = None
        self._server: Tracking | None = None
        try:
            self._server = Tracking(project, pipeline, folder)
        except TrackingAway as error:
            self._turn_aside(error)
        self._journal = Journal(project, run, tracking_uri(project))

    def start(self, name: str, tags: Mapping[str, str], place: Path, parent: Open | None = None) -> Open:
        """Open a run whose record will stand at `place`. Raises TrackingError where the store refuses."""
        above = parent.run if parent else None
        aside = self._aside
        if aside is None:
            assert self._server
            try:
                one = Open(self._server, self._server.start(name, tags, above))
            except TrackingAway as error:
                aside = self._turn_aside(error)
            else:
                self.will_stand(one, place)
                return one
        return Open(aside, aside.start(name, tags, above))

    def will_stand(self, one: Open, place: Path) -> None:
        """Note where the record of a run will stand; one that is kept aside finds its record when it is delivered."""
        if one.tracking is self._server:
            self._journal.opened(one.run.run_id, place)

    def logged(self, one: Open) -> Logged:
        """Return what the notebook logged; nothing where the server does not say."""
        found = Logged({}, frozenset())

        def ask() -> None:
            nonlocal found
            found = one.tracking.logged(one.run)

        self._tell(one, ask)
        return found

    def close(self, one: Open, record: TaskRecord, logged: Logged, place: Path) -> None:
        """Log to a task's run what is known of it, and end it; `place` is where its record stands."""

        def tell() -> None:
            one.tracking.log_task(one.run, record, logged, place)
            one.tracking.finish(one.run.run_id, STATUS[record.state])

        self._close(one, place, tell)

    def end(self, one: Open, state: RunState, tags: Mapping[str, str] | None = None, place: Path | None = None) -> None:
        """End the first run that was opened, and what workers that were lost left open.

        `place` is where its record stands, if it has one.
        """

        def tell() -> None:
            if place:
                one.tracking.log_run(one.run, tags or {}, place)
            one.tracking.finish(one.run.run_id, STATUS[state])

        self._close(one, place, tell)
        for run_id, where in self._journal.still_open().items():
            if record_at(where, run_id) is None:
                with contextlib.suppress(TrackingError):  # it stays in the journal, for a later run
                    self._end_lost(run_id)
        self._journal.end()
        self._held.close()

    def _end_lost(self, run_id: str) -> None:
        if self._server and not self._aside:
            if self._server.is_running(run_id):
                self._server.finish(run_id, STATUS["failed"])
            self._journal.closed(run_id)

    def _close(self, one: Open, place: Path | None, tell: Callable[[], None]) -> None:
        if self._tell(one, tell):
            self._journal.closed(one.run.run_id)
        elif place:
            self.will_stand(one, place)

    def _tell(self, one: Open, tell: Callable[[], None]) -> bool:
        """Do what asks the store of an open run; False where that does not do, which `warn` is told once."""
        if one.tracking is self._server and self._aside:
            return False
        try:
            tell()
        except TrackingAway as error:
            self._turn_aside(error)
        except TrackingError as error:
            self._warn(f"{error.message}; the next run logs what is missing")
        else:
            return True
        return False

    def _turn_aside(self, error: TrackingAway) -> Tracking:
        """From now on, open runs in a store of this run's own."""
        with self._lock:
            if self._aside is None:
                self._folder.mkdir(parents=True)
                self._held.enter_context(_lock(self._folder))
                (self._folder / _SERVER).write_text(tracking_uri(self._project))
                self._aside = Tracking(self._project, self._pipeline, self._folder)
                where = self._project.relative(self._folder)
                self._warn(f"{error.message}; what is logged meanwhile is kept in {where}, for the next run to log")
            return self._aside


def _untold(project: Project) -> Path:
    return project.state / UNTOLD


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the kernel's lock on a folder. Raises BlockingIOError where a living engine holds it."""
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def make_up(project: Project, pipeline: str, say: Callable[[str], None]) -> None:
    """Tell MLflow what earlier runs could not, and end what engines that were killed left open.

    `say` is told what was done. Raises TrackingError where the store does not answer: all is kept for a later run.
    """
    for run, still_open in orphans(project, tracking_uri(project)):
        tracking = Tracking(project, pipeline)
        for run_id, place in still_open.items():
            _make_up_for(tracking, run_id, place)
        for run_id in tracking.running(run):  # opened, and the engine was killed before it could note so
            tracking.finish(run_id, STATUS["killed"])
    for server in sorted(_untold(project).glob(f"*/{_SERVER}")):
        _deliver(project, server.parent, say)


def _make_up_for(tracking: Tracking, run_id: str, place: Path) -> None:
    """Say of one run how it ended, and if it was a task's, all that its engine could not say."""
    if not tracking.is_running(run_id):
        return
    record = record_at(place, run_id)
    if isinstance(record, TaskRecord):
        run = tracking.handle(run_id)
        logged = tracking.logged(run)
        if logged.metrics != record.metrics:
            record = record.model_copy(update={"metrics": logged.metrics})
            amend(place, record)
        tracking.log_task(run, record, logged, place)
    tracking.finish(run_id, STATUS[record.state if record else "killed"])


def amend(place: Path, record: TaskRecord) -> None:
    """Put into a result's record, and on its page, what only MLflow's answer told."""
    write_atomically(place / RECORD, record.model_dump_json(indent=1))
    earlier = Store.before(place.parent, record.started, report.EARLIER)
    page = report.render_task(record, nbformat.read(place / NOTEBOOK, as_version=4), earlier)
    (place / PAGE).write_text(page, encoding="utf-8")  # the same file: the site has it under another name


def _deliver(project: Project, folder: Path, say: Callable[[str], None]) -> None:
    """Copy to the server what was kept aside while it did not answer, and remove it here."""
    try:
        with _lock(folder):
            if (folder / _SERVER).read_text() != tracking_uri(project):
                return
            count = sum(_copy(project, name, folder) for name in _experiments(folder))
            shutil.rmtree(folder)
    except BlockingIOError:  # its run is going on
        return
    if count:
        say(f"MLflow did not answer in run {folder.name}, and now has what was kept: {count} runs")


def _experiments(folder: Path) -> list[str]:
    """Return the names of the experiments that have runs in the store of `folder`."""
    path = folder / _DATABASE
    if not path.exists():
        return []
    query = "SELECT DISTINCT experiments.name FROM experiments JOIN runs USING (experiment_id)"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute(query)]


def _copy(project: Project, pipeline: str, folder: Path) -> int:
    """Copy the runs of one experiment, and make the records name the copies; return how many."""
    from caderno.run.copying import Copy

    source, target = Tracking(project, pipeline, folder), Tracking(project, pipeline)
    copied = target.guard(lambda: Copy(source, target))
    store = Store(project, pipeline)
    for place, record in store.every():
        old = record.tracking.run_id if record.tracking else None
        if old in copied.runs:
            run = target.handle(copied.runs[old])
            record = record.model_copy(update={"tracking": run, "outputs": _renamed(record.outputs, copied.models)})
            amend(place, record)
            target.log_task(run, record, target.logged(run), place)
            copied.finish(old, STATUS[record.state])
    for one in store.runs():
        old = one.tracking.run_id if one.tracking else None
        if old in copied.runs:
            run = target.handle(copied.runs[old])
            store.save_run(one.model_copy(update={"tracking": run}))
            target.log_run(run, {}, store.run_file(one.run))
            copied.finish(old, STATUS[one.state])
    copied.finish_rest()
    return len(copied.runs)


def _renamed(outputs: Mapping[str, Output], models: Mapping[str, str]) -> dict[str, Output]:
    """Return outputs whose models are named by their copies."""
    return {
        name: one.model_copy(update={"model_uri": f"models:/{models[old]}"})
        if (old := (one.model_uri or "").removeprefix("models:/")) in models
        else one
        for name, one in outputs.items()
    }
