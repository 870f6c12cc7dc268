"""What became of each task of a run: kept for the record, told to the watchers."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from caderno.errors import CadernoError, Stopped
from caderno.events import (
    Event,
    RunWarned,
    TaskCached,
    TaskFailed,
    TaskFetched,
    TaskFinished,
    TaskSkipped,
    TasksUnfolded,
    Watcher,
    now,
)
from caderno.plan.index import ShortRecord
from caderno.plan.planner import Planner
from caderno.plan.records import RunTask, RunTaskState, TaskRecord
from caderno.plan.store import PAGE
from caderno.spec import Task

# A task's record, its directory, and how it came by its result.
Done = tuple[TaskRecord, Path, Literal["computed", "fetched", "cached"]]


class Outcomes:
    """The settled tasks of the run `run`: `left` by id in order of settling, `records` of those with a result."""

    def __init__(self, run: str, planner: Planner, watchers: Sequence[Watcher]) -> None:
        self.run = run
        self.records: dict[str, ShortRecord] = {}
        self.left: dict[str, RunTask] = {}
        self._planner = planner
        self._watchers = watchers
        self._emitting = threading.Lock()

    @property
    def failed(self) -> bool:
        """Whether a task failed."""
        return any(left.state in ("failed", "killed") for left in self.left.values())

    def emit(self, event: Event) -> None:
        """Hand `event` to every watcher; workers may call this at once."""
        with self._emitting:
            for watcher in self._watchers:
                watcher(event)

    def cached(self, task: Task, record: ShortRecord) -> None:
        """Settle a task whose result was there."""
        store = self._planner.store
        self.records[task.id] = record
        store.point_latest(task.folder, record.fingerprint)
        folder = store.relative_place(task.folder, record.fingerprint)
        self._leave(task, "cached", "cached", record.fingerprint, folder)
        self.emit(
            TaskCached(
                run=self.run,
                task=task.id,
                fingerprint=record.fingerprint,
                report=f"{folder}/report.html",
                mlflow_run=record.mlflow_run,
            )
        )

    def fetched(self, task: Task, record: TaskRecord, place: Path, started: datetime) -> None:
        """Settle a task whose result has come from another machine."""
        self.records[task.id] = ShortRecord.of(record)
        folder = self._planner.project.relative(place)
        seconds = round(max((now() - started).total_seconds(), 0.0), 3)
        why = f"{record.user} computed it on {record.host}"
        self._leave(task, "fetched", why, record.fingerprint, folder, started, seconds)
        page = f"{folder}/{PAGE}"
        self.emit(TaskFetched(run=self.run, task=task.id, fingerprint=record.fingerprint, seconds=seconds, report=page))

    def skipped(self, task: Task, why: str) -> None:
        """Settle a task that does not run."""
        self._leave(task, "skipped", why)
        self.emit(TaskSkipped(run=self.run, task=task.id, why=why))

    def unfolded(self, source: Task, before: Collection[str], now: Collection[str]) -> None:
        """Tell that a result of `source` gave values of matrices: the tasks to settle `before`, and those `now`."""
        added, gone = (tuple(one for one in some if one not in other) for some, other in ((now, before), (before, now)))
        self.emit(TasksUnfolded(run=self.run, task=source.id, tasks=added, instead_of=gone))

    def executed(self, task: Task, why: str, record: TaskRecord, place: Path) -> None:
        """Settle a task that ran, be it to its end or not."""
        folder = self._planner.project.relative(place)
        self._leave(task, record.state, why, record.fingerprint, folder, record.started, record.seconds)
        page = f"{folder}/{PAGE}"
        common: dict[str, Any] = {
            "run": self.run,
            "task": task.id,
            "fingerprint": record.fingerprint,
            "seconds": record.seconds,
            "mlflow_run": record.tracking.run_id if record.tracking else None,
        }
        for warning in _warnings(record):
            self.emit(RunWarned(run=self.run, message=f"{task.id} {warning}"))
        if record.failure is None:
            self.records[task.id] = ShortRecord.of(record)
            self.emit(TaskFinished(**common, report=page, cpu=record.cpu, peak=record.peak))
            return
        self.emit(
            TaskFailed(
                **common,
                error=f"{record.failure.kind}: {record.failure.message}",
                notebook=record.notebook,
                cell=record.failure.number,
                source=record.failure.source,
                traceback=record.failure.traceback,
                report=page,
                killed=record.state == "killed",
            )
        )

    def lost(self, task: Task, error: Exception, started: datetime) -> None:
        """Settle a task that left no record, because the store or MLflow gave way."""
        text = f"{type(error).__name__}: {error}"
        trace = "" if isinstance(error, CadernoError) else "".join(traceback.format_exception(error))
        killed = isinstance(error, Stopped)
        self._leave(task, "killed" if killed else "failed", text, started=started)
        self.emit(
            TaskFailed(
                run=self.run,
                task=task.id,
                fingerprint=None,
                seconds=0.0,
                error=text,
                notebook=task.notebook.name,
                cell=None,
                source="",
                traceback=trace,
                report=None,
                killed=killed,
            )
        )

    def _leave(
        self,
        task: Task,
        state: RunTaskState,
        why: str,
        fingerprint: str | None = None,
        folder: str | None = None,
        started: datetime | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.left[task.id] = RunTask(
            task=task.id,
            name=task.name,
            notebook=task.notebook.name,
            state=state,
            why=why,
            upstream=list(task.upstream),
            fingerprint=fingerprint,
            folder=folder,
            started=started,
            seconds=seconds,
        )


def _warnings(record: TaskRecord) -> list[str]:
    """Return what a reader should know of an execution beside its outcome."""
    found = []
    if record.undeclared and (record.failure is None or record.failure.kind != "undeclared read"):
        paths, more = record.undeclared[:3], len(record.undeclared) - 3
        listed = ", ".join(paths) + (f" and {more} more" if more > 0 else "")
        hint = f'declare it under inputs: "file:{paths[0]}"'
        found.append(f"read {listed} undeclared: a change of it would go unnoticed; {hint}")
    if record.unseen:
        found.append(f"used {', '.join(record.unseen[:5])} without being seen to: from now on that module counts whole")
    return found
