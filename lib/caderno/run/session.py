"""One run of a plan, from its first event to its record, its page and its MLflow run."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caderno.errors import InvalidPipeline, Problem, RemoteGone, StoreError, TrackingError, did_you_mean
from caderno.events import (
    CellFinished,
    FetchStarted,
    RunFinished,
    RunStarted,
    RunWarned,
    TaskPushed,
    TaskStarted,
    Watcher,
    now,
)
from caderno.plan.planner import FORCED, Plan, Planned, Planner, Resolved
from caderno.plan.records import REUSED, Cell, RunRecord, RunState, RunTask, TaskRecord, TrackingRun
from caderno.run import journal as journals
from caderno.run import provenance
from caderno.run.context import RUN_TAG
from caderno.run.outcomes import Done, Outcomes
from caderno.run.stop import Stop
from caderno.run.tracking import loaded_when_used
from caderno.spec import Task

if TYPE_CHECKING:  # papermill and MLflow take seconds to import: only where something runs
    from caderno.remote import Elsewhere
    from caderno.run.kernels import KernelControl
    from caderno.run.sharing import Sharing
    from caderno.run.warm import Parent
    from caderno.run.worker import RunContext

# jsonschema's grammar of IRIs takes twice as long to import as papermill without it, and no notebook's schema has any.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None: not to be imported


@dataclass(frozen=True)
class Options:
    """How to run: at most `jobs` tasks at once on `cores` processors; `fail_fast` starts nothing after a failure.

    Without `retry` a task that fails is not tried again, whatever its `retries` say. A run that is `kept` has a record
    even if all its results were there. `command` is what a person types to do the same.
    `remote` has results of other machines, and takes those made here.
    """

    jobs: int
    cores: int
    fail_fast: bool = False
    warm: bool = True
    retry: bool = True
    kept: bool = False
    command: str = "caderno run"
    remote: Elsewhere | None = None


def execute(
    planner: Planner, plan: Plan, options: Options, watchers: Sequence[Watcher] = ()
) -> tuple[RunRecord, int | None]:
    """Run `plan` and return (its record, the number of the signal that stopped it or None).

    A task's failure is in the record, not raised. Raises TrackingError, RemoteError or InvalidPipeline before any
    kernel starts, where MLflow or the remote can't be used or a kernel is not installed; RemoteGone at the end, where
    a remote that was to be waited for did not take what was made.
    """
    session = _Session(planner, plan, options, watchers)
    with session.stop.installed():
        return session.run(), session.stop.signal


class _Session:
    def __init__(self, planner: Planner, plan: Plan, options: Options, watchers: Sequence[Watcher]) -> None:
        self.id = f"{now():%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
        self.stop = Stop()
        self._planner = planner
        self._plan = plan
        self._options = options
        self._outcomes = Outcomes(self.id, planner, watchers)
        self._started = now()
        self._began = time.monotonic()
        self._computing = threading.Lock()
        self._warm: Parent | None = None
        self._context: RunContext | None = None  # made when the first task is computed
        self._sharing = self._shared_by(options.remote) if options.remote else None
        self._user = provenance.user_name(planner.project.root) if plan.to_run else ""
        self._host = provenance.host_name()
        self._git = provenance.git_state(planner.project.root) if plan.to_run else None

    def run(self) -> RunRecord:
        if self._plan.to_compute:
            self._check_kernels()
            if self._options.remote:
                self._options.remote.ready()
        self._outcomes.emit(
            RunStarted(
                run=self.id,
                pipeline=self._plan.pipeline.name,
                tasks=tuple(planned.task.id for planned in self._plan.tasks),
                to_run=self._plan.to_run,
                expected=self._expected(),
            )
        )
        self._make_up()
        if self._options.remote:
            self._options.remote.listen(self._warn)
        if self._sharing and self._sharing.any_unsent():
            self._sharing.begin()
        if self._plan.to_run:
            self._run_tasks()
        else:
            for planned in self._plan.tasks:
                if planned.record:
                    self._outcomes.cached(planned.task, planned.record)
        return self._finish()

    def _expected(self) -> dict[str, float]:
        """Return the seconds that each task which may run took in its latest record."""
        latest = {p.task.id: self._planner.store.latest(p.task.folder) for p in self._plan.tasks if not p.record}
        return {task: found[0].seconds for task, found in latest.items() if found}

    def _make_up(self) -> None:
        """Tell MLflow what earlier runs could not."""
        if journals.any_left(self._planner.project):
            from caderno.run.ledger import make_up

            try:
                make_up(self._planner.project, self._plan.pipeline.name, self._warn)
            except TrackingError as error:  # it is kept, for a later run
                self._warn(f"{error.message}; what earlier runs had to log there is still kept")

    def _run_tasks(self) -> None:
        from caderno.run.scheduler import Scheduler

        try:
            if self._plan.to_compute:
                self._computed_in()
            options = self._options
            scheduler = Scheduler(
                self._planner, self._outcomes, self._work, options.jobs, options.fail_fast, self.stop, self._fetch
            )
            scheduler.run(self._plan)
        finally:
            if self._warm:
                self._warm.close()

    def _computed_in(self) -> RunContext:
        """Return what tasks are computed in: with MLflow's run, and the parent of warm kernels."""
        with self._computing:
            if self._context is None:
                self._warm = self._parent()  # it loads while papermill and MLflow are imported here
                self._context = self._new_context(self._warm)
                if self._sharing:
                    self._sharing.begin()
            return self._context

    def _new_context(self, warm: Parent | None) -> RunContext:
        from caderno.run.ledger import Ledger
        from caderno.run.tracking import parent_tags, source_tags
        from caderno.run.worker import RunContext

        project, name = self._planner.project, self._plan.pipeline.name
        ledger = Ledger(project, name, self.id, self._warn)
        tags = source_tags(self._git, self._user) | parent_tags() | {RUN_TAG: self.id, "caderno.pipeline": name}
        tags["mlflow.source.name"] = self._options.command
        return RunContext(
            run=self.id,
            planner=self._planner,
            ledger=ledger,
            parent=ledger.start(f"{name} {self.id}", tags, self._planner.store.run_file(self.id)),
            git=self._git,
            user=self._user,
            host=self._host,
            machine=provenance.machine(),
            warm=warm,
            threads=max(1, self._options.cores // self._options.jobs),
            retry=self._options.retry,
            remote=self._options.remote,
        )

    def _parent(self) -> Parent | None:
        """Start the parent of warm kernels, if a task wants one."""
        from caderno.run.preload import wanted
        from caderno.run.warm import Parent

        planned = self._plan.to_compute or [one.task for one in self._plan.tasks if not one.record]
        tasks = [task for task in planned if not task.cold]
        if not tasks or not self._options.warm or sys.platform != "linux":
            return None
        notebooks = {task.notebook.path: (task.notebook, self._planner.seen(task)) for task in tasks}
        project = self._planner.project
        environment = {**os.environ, "PYTHONPATH": project.python_path}
        modules = self._plan.pipeline.preload
        if modules is None:
            modules = tuple(wanted(notebooks.values()))
            modules += loaded_when_used(project) if "mlflow" in modules else ()
        return Parent(modules, project.root, environment)

    def _check_kernels(self) -> None:
        """A kernel that is not installed is an error before anything starts."""
        from jupyter_client.kernelspec import KernelSpecManager

        known = KernelSpecManager().find_kernel_specs()
        wanted = {task.notebook.name: task.notebook.kernel for task in self._plan.to_compute}
        problems = [
            Problem(name, f"asks for the kernel {kernel!r}, which is not installed", did_you_mean(kernel, known))
            for name, kernel in sorted(wanted.items())
            if kernel not in known
        ]
        if problems:
            raise InvalidPipeline(problems)

    def _shared_by(self, remote: Elsewhere) -> Sharing:
        from caderno.run.sharing import Sharing

        def sent(record: TaskRecord, seconds: float, size: int) -> None:
            self._outcomes.emit(
                TaskPushed(
                    run=self.id, task=record.task, fingerprint=record.fingerprint, seconds=round(seconds, 3), size=size
                )
            )

        planner = self._planner
        return Sharing(
            planner.project, planner.store, remote, self.id, sent, self._warn, lambda: self.stop.signal is not None
        )

    def _fetch(self, planned: Planned, control: KernelControl) -> Done | None:
        from caderno.run.fetching import fetch

        task, resolved = planned.task, planned.resolved
        assert resolved
        assert self._options.remote
        self._outcomes.emit(
            FetchStarted(
                run=self.id, task=task.id, fingerprint=resolved.fingerprint, why=planned.why, size=planned.size
            )
        )
        store = self._planner.store
        return fetch(store, self._options.remote, task, resolved, lambda: control.reason is not None)

    def _work(self, task: Task, resolved: Resolved, why: str, control: KernelControl) -> Done:
        from caderno.run.worker import run_task

        context = self._computed_in()
        cells = sum(bool(cell.source.strip()) for cell in task.notebook.cells)
        self._outcomes.emit(
            TaskStarted(run=self.id, task=task.id, fingerprint=resolved.fingerprint, why=why, cells=cells)
        )

        def on_cell(count: int, cell: Cell) -> None:
            self._outcomes.emit(
                CellFinished(
                    run=self.id,
                    task=task.id,
                    cell=count,
                    cells=cells,
                    seconds=cell.seconds,
                    cpu=cell.cpu,
                    peak=cell.peak,
                )
            )

        done = run_task(context, task, resolved, control, on_cell, force=why == FORCED)
        record, place, how = done
        if self._sharing and how == "computed" and record.state == "succeeded":
            self._sharing.send(record, place, anew=why == FORCED)
        return done

    def _finish(self) -> RunRecord:
        parent = self._context.parent if self._context else None
        record = self._record(parent.run if parent else None)
        project = self._planner.project
        page = project.reports / "index.html"
        unwritten: Exception | None = None
        try:
            missing = self._planner.store.last_run() is None  # a full disk may have kept it
            told = self._plan.to_run > 0 or missing or self._options.kept
            if told:
                self._planner.store.save_run(record)
                self._planner.save()
            if told or not page.exists():
                from caderno import report

                page = report.write_site(project, record)
        except Exception as error:  # MLflow is told all the same
            unwritten = error
        if self._context and parent:
            tags = self._links(record.tasks) | {"mlflow.note.content": _note(record)}
            place = self._planner.store.run_file(self.id)
            self._context.ledger.end(parent, record.state, tags, place if place.exists() else None)
        sent = self._sharing.wait() if self._sharing else True
        self._outcomes.emit(
            RunFinished(
                run=self.id,
                state=record.state,
                seconds=record.seconds,
                counts=dict[str, int](Counter(task.state for task in record.tasks)),
                report=project.relative(page),
            )
        )
        if unwritten:
            why = getattr(unwritten, "strerror", None) or repr(unwritten)
            raise StoreError(
                f"the run's record or its pages can't be written: {why}",
                "make room; results of tasks that finished are there: run it again, or caderno report",
            )
        if not sent and self._options.remote and self._options.remote.patience and self.stop.signal is None:
            raise RemoteGone(
                f"results could not be sent to {self._options.remote.shown}, where others look for them",
                "they are kept here: run the same again when it answers",
            )
        return record

    def _warn(self, message: str) -> None:
        self._outcomes.emit(RunWarned(run=self.id, message=message))

    def _record(self, parent: TrackingRun | None) -> RunRecord:
        state: RunState = "failed" if self._outcomes.failed else "succeeded"
        if self.stop.signal is not None:
            state = "killed"
        return RunRecord(
            run=self.id,
            pipeline=self._plan.pipeline.name,
            description=self._plan.pipeline.description,
            profile=self._plan.pipeline.profile,
            day=self._plan.pipeline.day,
            command=self._options.command,
            state=state,
            started=self._started,
            seconds=round(time.monotonic() - self._began, 3),
            user=self._user,
            host=self._host,
            git=self._git,
            tracking=parent,
            tasks=[self._outcomes.left[task.id] for task in self._planner.pipeline.select(self._plan.targets)],
        )

    def _links(self, tasks: Sequence[RunTask]) -> dict[str, str]:
        """Return for each task that was not computed a tag that names the MLflow run which made its result."""
        return {
            f"caderno.reused/{_tag_name(left.task)}": run
            for left in tasks
            if left.state in REUSED and (run := self._outcomes.records[left.task].mlflow_run)
        }


def _tag_name(task: str) -> str:
    """Return a task's id in the characters that MLflow admits in a tag's name."""
    return "".join(char if char.isalnum() or char in "_-. /" else "." for char in task).rstrip(".")


def _note(record: RunRecord) -> str:
    """Return the description of the parent run: a Markdown table of its tasks."""
    rows = [f"| {left.task} | {left.state} | {left.why} | {left.seconds:.1f} |" for left in record.tasks[:200]]
    return "\n".join([f"{record.description}\n", "| task | state | why | seconds |", "|---|---|---|---:|", *rows])
