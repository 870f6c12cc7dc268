"""One run of a plan: ready tasks go to workers, what happens goes out as events, a record stays."""

from __future__ import annotations

import secrets
import signal
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from caderno import report
from caderno.errors import CadernoError
from caderno.events import (
    CellFinished,
    Event,
    RunFinished,
    RunStarted,
    TaskCached,
    TaskFailed,
    TaskFinished,
    TaskSkipped,
    TaskStarted,
    Watcher,
    now,
)
from caderno.plan.planner import Plan, Planned, Planner, Resolved
from caderno.plan.records import RunRecord, RunState, RunTask, RunTaskState, TaskRecord, TrackingRun
from caderno.run import provenance
from caderno.run.journal import Journal, orphans
from caderno.run.kernels import KernelControl
from caderno.spec import Task

_TICK = 0.2  # seconds between looks at the stop flag


@dataclass(frozen=True)
class Options:
    """How to run: at most `jobs` tasks at once of `cores` processors; `fail_fast` stops at the first failure."""

    jobs: int
    cores: int
    fail_fast: bool = False
    force: bool = False
    command: str = "caderno run"


@dataclass
class _Running:
    task: Task
    why: str
    control: KernelControl
    started: datetime


class Stop:
    """Whether the run shall stop, and how: the first signal asks running tasks to end, the second kills them."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.kill = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.kill = self.signal is not None
        self.signal = self.signal or number

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP while inside; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        before = {number: signal.signal(number, self) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Run:
    """One execution of a plan. Use `execute`."""

    def __init__(self, planner: Planner, plan: Plan, options: Options, watchers: Sequence[Watcher]) -> None:
        self.id = f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        self.planner = planner
        self.plan = plan
        self.options = options
        self._watchers = watchers
        self._project = planner.project
        self._records: dict[str, TaskRecord] = {}
        self._left: dict[str, RunTask] = {}
        self._stop = Stop()
        self._emitting = threading.Lock()
        self._started = now()
        self._began = time.monotonic()
        self._parent: TrackingRun | None = None
        self._user = provenance.user_name(self._project.root) if plan.to_run else ""
        self._host = provenance.host_name()
        self._git = provenance.git_state(self._project.root) if plan.to_run else None

    def execute(self) -> RunRecord:
        """Run the plan and return what became of it, whatever becomes of its tasks.

        Raises TrackingError before any kernel starts where MLflow can't be used.
        """
        with self._stop.installed():
            self._emit(
                RunStarted(
                    run=self.id,
                    pipeline=self.plan.pipeline.name,
                    tasks=tuple(planned.task.id for planned in self.plan.tasks),
                    to_run=self.plan.to_run,
                    expected=self._expected(),
                )
            )
            self._close_orphans()
            if self.plan.to_run:
                self._run_tasks()
            else:
                for planned in self.plan.tasks:
                    self._cached(planned.task, planned.record)
            return self._finish()

    @property
    def signal(self) -> int | None:
        """The signal that stopped the run, if one did."""
        return self._stop.signal

    def _emit(self, event: Event) -> None:
        with self._emitting:
            for watcher in self._watchers:
                watcher(event)

    def _expected(self) -> dict[str, float]:
        latest = {p.task.id: self.planner.store.latest(p.task.folder) for p in self.plan.tasks if p.state != "cached"}
        return {id: found[0].seconds for id, found in latest.items() if found}

    def _close_orphans(self) -> None:
        """End in MLflow what engines that were killed left running."""
        for uri, endings in orphans(self._project):
            if endings:
                from caderno.run.tracking import Tracking, tracking_uri

                if uri != tracking_uri(self._project):
                    continue
                tracking = Tracking(self._project, self.plan.pipeline.name)
                for run_id, ending in endings.items():
                    tracking.close_orphan(run_id, ending)

    def _run_tasks(self) -> None:
        """Run what must run. Everything heavy (papermill, MLflow) is imported from here on."""
        from caderno.run.tracking import Tracking, source_tags
        from caderno.run.worker import RunContext

        self._check_kernels()
        tracking = Tracking(self._project, self.plan.pipeline.name)
        tags = source_tags(self._git, self._user) | {
            "caderno.run": self.id,
            "caderno.pipeline": self.plan.pipeline.name,
            "mlflow.source.name": self.options.command,
        }
        journal = Journal(self._project, self.id, tracking.uri)
        self._tracking, self._journal = tracking, journal
        self._parent = tracking.start(f"{self.plan.pipeline.name} {self.id}", tags)
        journal.opened(self._parent.run_id)
        context = RunContext(
            run=self.id,
            planner=self.planner,
            tracking=tracking,
            journal=journal,
            parent=self._parent,
            git=self._git,
            user=self._user,
            host=self._host,
            threads=max(1, self.options.cores // self.options.jobs),
        )
        self._schedule(context)

    def _check_kernels(self) -> None:
        """A kernel that is not installed is an error before anything starts."""
        from jupyter_client.kernelspec import KernelSpecManager

        from caderno.errors import InvalidPipeline, Problem, did_you_mean

        known = KernelSpecManager().find_kernel_specs()
        wanted = {p.task.notebook.name: p.task.notebook.kernel for p in self.plan.tasks if p.state != "cached"}
        problems = [
            Problem(name, f"asks for the kernel {kernel!r}, which is not installed", did_you_mean(kernel, known))
            for name, kernel in sorted(wanted.items())
            if kernel not in known
        ]
        if problems:
            raise InvalidPipeline(problems)

    def _schedule(self, context: object) -> None:
        waiting = {planned.task.id: planned for planned in self.plan.tasks}
        running: dict[Future[tuple[TaskRecord, Path, bool]], _Running] = {}
        with ThreadPoolExecutor(self.options.jobs, thread_name_prefix="task") as pool:
            while waiting or running:
                if self._stop.signal is None:
                    self._start_ready(waiting, running, pool, context)
                else:
                    self._halt(waiting, running)
                if running:
                    done, _ = wait(running, timeout=_TICK, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._ended(running.pop(future), future)
                        if self.options.fail_fast and any(left.state == "failed" for left in self._left.values()):
                            self._skip_all(waiting, "stopped at the first failure")

    def _halt(self, waiting: dict[str, Planned], running: dict[Future[tuple[TaskRecord, Path, bool]], _Running]) -> None:
        self._skip_all(waiting, "the run was stopped")
        for one in running.values():
            if one.control.reason is None:
                one.control.stop("killed")
            if self._stop.kill:
                one.control.kill()

    def _skip_all(self, waiting: dict[str, Planned], why: str) -> None:
        for planned in list(waiting.values()):
            self._skip(planned.task, why)
        waiting.clear()

    def _start_ready(
        self,
        waiting: dict[str, Planned],
        running: dict[Future[tuple[TaskRecord, Path, bool]], _Running],
        pool: ThreadPoolExecutor,
        context: object,
    ) -> None:
        """Settle every task whose upstream is settled: cached, skipped, or handed to a worker while one is free."""
        for id, planned in list(waiting.items()):
            upstream = [self._left.get(other) for other in planned.task.upstream]
            if any(left is None for left in upstream):
                continue
            lost = next((left for left in upstream if left and left.state not in ("succeeded", "cached")), None)
            if lost:
                del waiting[id]
                self._skip(planned.task, f"upstream {lost.task} {lost.state}")
                continue
            if planned.state == "cached":
                del waiting[id]
                self._cached(planned.task, planned.record)
                continue
            if len(running) >= self.options.jobs:
                continue
            del waiting[id]
            resolved, record, why = self._settle(planned)
            if record:
                self._cached(planned.task, record)
                continue
            one = _Running(planned.task, why, KernelControl(), now())
            running[pool.submit(self._work, context, one, resolved, planned.state == "run" and why == "forced")] = one

    def _settle(self, planned: Planned) -> tuple[Resolved, TaskRecord | None, str]:
        """Return what a task resolves to now that its upstream is there, and its result if that is there too."""
        if planned.resolved:
            return planned.resolved, None, planned.why
        resolved = self.planner.resolve(planned.task, self._records)
        record, damage = self.planner.store.find(planned.task.folder, resolved.fingerprint)
        return resolved, record, damage or self.planner.why(planned.task, resolved)

    def _work(self, context: object, one: _Running, resolved: Resolved, force: bool) -> tuple[TaskRecord, Path, bool]:
        from caderno.run.worker import RunContext, run_task

        assert isinstance(context, RunContext)
        task, cells = one.task, sum(bool(cell.source.strip()) for cell in one.task.notebook.cells)
        self._emit(TaskStarted(run=self.id, task=task.id, fingerprint=resolved.fingerprint, why=one.why, cells=cells))

        def on_cell(count: int, seconds: float) -> None:
            self._emit(CellFinished(run=self.id, task=task.id, cell=count, cells=cells, seconds=seconds))

        return run_task(context, task, resolved, one.control, on_cell, force)

    def _ended(self, one: _Running, future: Future[tuple[TaskRecord, Path, bool]]) -> None:
        try:
            record, place, ran = future.result()
        except Exception as error:  # the store or MLflow gave way: this task is lost, the others may go on
            self._lost(one, error)
            return
        if not ran:
            self._cached(one.task, record)
            return
        folder = self._project.relative(place)
        self._leave(one.task, record.state, one.why, record, folder, one.started)
        page = f"{folder}/report.html"
        if record.failure is None:
            self._records[one.task.id] = record
            self._emit(
                TaskFinished(
                    run=self.id, task=record.task, fingerprint=record.fingerprint, seconds=record.seconds, report=page
                )
            )
            return
        self._emit(
            TaskFailed(
                run=self.id,
                task=record.task,
                fingerprint=record.fingerprint,
                seconds=record.seconds,
                error=f"{record.failure.kind}: {record.failure.message}",
                notebook=record.notebook,
                cell=record.failure.cell,
                source=record.failure.source,
                traceback=record.failure.traceback,
                report=page,
                killed=record.state == "killed",
            )
        )

    def _lost(self, one: _Running, error: Exception) -> None:
        """Note a task that left no record, and why."""
        trace = "" if isinstance(error, CadernoError) else "".join(traceback.format_exception(error))
        self._leave(one.task, "failed", f"{type(error).__name__}: {error}", started=one.started)
        self._emit(
            TaskFailed(
                run=self.id,
                task=one.task.id,
                fingerprint="",
                seconds=0.0,
                error=f"{type(error).__name__}: {error}",
                notebook=one.task.notebook.name,
                cell=None,
                source="",
                traceback=trace,
                report="",
            )
        )

    def _cached(self, task: Task, record: TaskRecord | None) -> None:
        assert record is not None
        self._records[task.id] = record
        self.planner.store.point_latest(task.folder, record.fingerprint)
        place = self.planner.store.place(task.folder, record.fingerprint)
        self._leave(task, "cached", "cached", record, self._project.relative(place))
        self._emit(TaskCached(run=self.id, task=task.id, fingerprint=record.fingerprint))

    def _skip(self, task: Task, why: str) -> None:
        self._leave(task, "skipped", why)
        self._emit(TaskSkipped(run=self.id, task=task.id, why=why))

    def _leave(
        self,
        task: Task,
        state: RunTaskState,
        why: str,
        record: TaskRecord | None = None,
        folder: str | None = None,
        started: datetime | None = None,
    ) -> None:
        self._left[task.id] = RunTask(
            task=task.id,
            name=task.name,
            notebook=task.notebook.name,
            state=state,
            why=why,
            upstream=list(task.upstream),
            fingerprint=record.fingerprint if record else None,
            folder=folder,
            started=started,
            seconds=record.seconds if record and state != "cached" else 0.0,
        )

    def _finish(self) -> RunRecord:
        record = self._record()
        counts = dict(Counter(task.state for task in record.tasks))
        path = self.planner.store.save_run(record) if self.plan.to_run else None
        page = self._project.reports / "index.html"
        if path or not page.exists():
            page = report.write_site(self._project.root, self._project.reports, record)
        if self._parent and path:
            self._close_parent(record, path)
        self._emit(
            RunFinished(
                run=self.id,
                state=record.state,
                seconds=record.seconds,
                counts=counts,
                report=self._project.relative(page),
            )
        )
        return record

    def _record(self) -> RunRecord:
        tasks = [self._left[planned.task.id] for planned in self.plan.tasks]
        states = {task.state for task in tasks}
        state: RunState = "succeeded"
        if self._stop.signal is not None:
            state = "killed"
        elif states & {"failed", "killed"}:
            state = "failed"
        return RunRecord(
            run=self.id,
            pipeline=self.plan.pipeline.name,
            description=self.plan.pipeline.description,
            profile=self.plan.pipeline.profile,
            command=self.options.command,
            state=state,
            started=self._started,
            seconds=round(time.monotonic() - self._began, 3),
            user=self._user,
            host=self._host,
            git=self._git,
            tracking=self._parent,
            tasks=tasks,
        )

    def _close_parent(self, record: RunRecord, path: Path) -> None:
        assert self._parent is not None
        status = {"succeeded": "FINISHED", "failed": "FAILED", "killed": "KILLED"}[record.state]
        self._tracking.log_run(self._parent, self._links(record), path, _note(record))
        self._tracking.finish(self._parent.run_id, status)
        self._journal.closed(self._parent.run_id)
        for run_id in self._journal.still_open():
            self._tracking.close_orphan(run_id, "FAILED")
            self._journal.closed(run_id)
        self._journal.end()

    def _links(self, record: RunRecord) -> dict[str, str]:
        """Return for each cached task a tag that names the MLflow run which made its result."""
        return {
            f"caderno.reused/{_tag_name(left.task)}": tracked.run_id
            for left in record.tasks
            if left.state == "cached" and (tracked := self._records[left.task].tracking)
        }


def _tag_name(task: str) -> str:
    """Return a task's id in the characters that MLflow admits in a tag's name."""
    return "".join(char if char.isalnum() or char in "_-. /" else "." for char in task).rstrip(".")


def _note(record: RunRecord) -> str:
    """Return the description of the parent run: a Markdown table of its tasks."""
    rows = [f"| {left.task} | {left.state} | {left.why} | {left.seconds:.1f} |" for left in record.tasks[:200]]
    return "\n".join([f"{record.description}\n", "| task | state | why | seconds |", "|---|---|---|---:|", *rows])


def execute(
    planner: Planner,
    plan: Plan,
    options: Options,
    watchers: Sequence[Callable[[Event], None]] = (),
) -> tuple[RunRecord, int | None]:
    """Run `plan` and return (its record, the signal that stopped it or None)."""
    run = Run(planner, plan, options, watchers)
    record = run.execute()
    return record, run.signal
