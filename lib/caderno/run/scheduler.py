"""Which task next: whatever has its upstream settled goes to a free worker, in the plan's order.

What another machine has computed is fetched by threads of their own: that takes no processor.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from caderno.errors import CadernoError
from caderno.events import now
from caderno.plan.index import ShortRecord
from caderno.plan.planner import FORCED, Plan, Planned, Planner, Resolved
from caderno.plan.records import DONE
from caderno.plan.why import Reason
from caderno.run.kernels import KILLED, KernelControl
from caderno.run.outcomes import Done, Outcomes
from caderno.run.stop import Stop
from caderno.spec import Task

_TICK = 0.2  # seconds between looks at the stop flag
_FETCHES = 8  # results that are fetched at once


class Work(Protocol):
    """Runs one task to its record; called in a worker's thread."""

    def __call__(self, task: Task, resolved: Resolved, why: str, control: KernelControl) -> Done:
        """Return the record, its directory, and how it came about."""


class Fetch(Protocol):
    """Fetches one task's result; called in a thread of its own."""

    def __call__(self, planned: Planned, control: KernelControl) -> Done | None:
        """Return the record, its directory, and how it came about; None where it can't be had."""


@dataclass(frozen=True)
class _Running:
    task: Task
    why: str
    control: KernelControl
    started: datetime
    fetched: Planned | None = None  # as it was planned, where it is not computed but fetched


class Scheduler:
    """Settles every task of a plan, at most `jobs` of them running at once."""

    def __init__(
        self,
        planner: Planner,
        outcomes: Outcomes,
        work: Work,
        jobs: int,
        fail_fast: bool,
        stop: Stop,
        fetch: Fetch | None = None,
    ) -> None:
        self._planner = planner
        self._outcomes = outcomes
        self._work = work
        self._fetch = fetch
        self._jobs = jobs
        self._fail_fast = fail_fast
        self._stop = stop
        self._plan = Plan(planner.pipeline, ())
        self._waiting: dict[str, Planned] = {}
        self._running: dict[Future[Done | None], _Running] = {}

    def run(self, plan: Plan) -> None:
        """Run until every task of `plan` is settled."""
        self._plan = plan
        self._waiting = {planned.task.id: planned for planned in plan.tasks}
        with (
            ThreadPoolExecutor(self._jobs, thread_name_prefix="task") as pool,
            ThreadPoolExecutor(_FETCHES, thread_name_prefix="fetch") as fetching,
        ):
            while self._waiting or self._running:
                if self._stop.signal is not None:
                    self._halt()
                elif self._fail_fast and self._outcomes.failed:
                    self._skip_waiting("stopped at the first failure")
                else:
                    self._start_ready(pool, fetching)
                if self._running:
                    done, _ = wait(self._running, timeout=_TICK, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._settle(self._running.pop(future), future)

    def _start_ready(self, pool: ThreadPoolExecutor, fetching: ThreadPoolExecutor) -> None:
        """Settle or start each task whose upstream is settled, while a worker is free."""
        for task_id, planned in list(self._waiting.items()):
            if self._waiting.get(task_id) is not planned:  # a matrix was unfolded meanwhile: it is looked at next time
                continue
            upstream = [self._outcomes.left.get(other) for other in planned.task.upstream]
            if any(left is None for left in upstream):
                continue
            lost = next((left for left in upstream if left and left.state not in DONE), None)
            if lost:
                del self._waiting[task_id]
                self._outcomes.skipped(planned.task, f"upstream {lost.task} {lost.state}")
            elif planned.record:
                del self._waiting[task_id]
                self._outcomes.cached(planned.task, planned.record)
            elif planned.task.is_open:  # its values were not to be had
                del self._waiting[task_id]
                self._outcomes.skipped(planned.task, "the values of its matrix are not known")
            elif planned.state == "fetch":
                assert self._fetch
                del self._waiting[task_id]
                one = _Running(planned.task, planned.why, KernelControl(), now(), planned)
                self._running[fetching.submit(self._fetch, planned, one.control)] = one
            elif self._has_room(planned.task):
                del self._waiting[task_id]
                self._start(planned, pool)

    def _has_room(self, task: Task) -> bool:
        """Whether what `task` takes is free; one that takes more cpus than there are jobs runs alone."""
        running = [one.task for one in self._running.values() if not one.fetched]
        free = self._jobs - sum(min(other.cpus, self._jobs) for other in running)
        return min(task.cpus, self._jobs) <= free and all(
            amount + sum(other.resources.get(resource, 0) for other in running)
            <= self._plan.pipeline.resources[resource]
            for resource, amount in task.resources.items()
        )

    def _start(self, planned: Planned, pool: ThreadPoolExecutor) -> None:
        """Hand a task to a worker, unless its inputs turn out the same as before and so its result is there."""
        task, resolved, why = planned.task, planned.resolved, planned.why
        if resolved is None:
            now_known = self._planner.look_up(task, self._outcomes.records, forced=why == FORCED)
            if now_known.record:
                self._outcomes.cached(task, now_known.record)
                self._grow(task)
                return
            resolved, why = now_known.resolved, now_known.why
        assert resolved
        one = _Running(task, why, KernelControl(), now())
        self._running[pool.submit(self._work, task, resolved, why, one.control)] = one

    def _settle(self, one: _Running, future: Future[Done | None]) -> None:
        try:
            done = future.result()
        except Exception as error:  # this task is lost, the others may go on
            self._outcomes.lost(one.task, error, one.started)
            return
        if done is None:
            assert one.fetched
            self._compute_after_all(one.fetched)
            return
        record, place, how = done
        if how == "computed":
            self._outcomes.executed(one.task, one.why, record, place)
        elif how == "fetched":
            self._outcomes.fetched(one.task, record, place, one.started)
        else:
            self._outcomes.cached(one.task, ShortRecord.of(record))
        self._grow(one.task)

    def _compute_after_all(self, planned: Planned) -> None:
        """Let a task run whose result could not be fetched; what was planned by that result is looked at anew."""
        reason = Reason("remote", "its result could not be fetched", planned.task.id)
        self._waiting = {planned.task.id: replace(planned, state="run", reasons=(reason,)), **self._waiting}
        doubtful = {planned.task.id}
        for task_id, other in self._waiting.items():  # each after its upstream
            if doubtful.intersection(other.task.upstream):
                doubtful.add(task_id)
                why = f"upstream {planned.task.id} runs"
                self._waiting[task_id] = self._planner.waiting(other.task, other.why == FORCED, why, planned.task.id)

    def _grow(self, source: Task) -> None:
        """Unfold the matrices whose values come from `source`, which is settled."""
        opened = [axis for axis, other in self._planner.pipeline.open.items() if other.task == source.id]
        if not opened or source.id not in self._outcomes.records:
            return
        for axis in opened:
            try:
                self._planner.close(axis, self._outcomes.records, self._plan.targets)
            except CadernoError as error:
                for task_id in [one for one, planned in self._waiting.items() if planned.task.name == axis[0]]:
                    self._outcomes.lost(self._waiting.pop(task_id).task, error, now())
        before, self._waiting = self._waiting, {}
        known = {*self._outcomes.left, *(one.task.id for one in self._running.values())}
        forced = self._planner.forced(self._plan.targets) if self._plan.force else set()
        for task in self._planner.pipeline.select(self._plan.targets):
            if task.id in before:
                self._waiting[task.id] = replace(before[task.id], task=task)  # its upstream may be unfolded
            elif task.id not in known:
                why = f"value of {source.id}"
                self._waiting[task.id] = self._planner.waiting(task, task.id in forced, why, source.id)
        self._outcomes.unfolded(source, before, self._waiting)

    def _halt(self) -> None:
        self._skip_waiting("the run was stopped")
        for one in self._running.values():
            if one.control.reason is None:
                one.control.stop(KILLED)
            if self._stop.now:
                one.control.kill()

    def _skip_waiting(self, why: str) -> None:
        for planned in self._waiting.values():
            self._outcomes.skipped(planned.task, why)
        self._waiting.clear()
