"""What must run, and why: each task's fingerprint against the store."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Protocol

from caderno.errors import CadernoError, MissingInput
from caderno.plan import digests
from caderno.plan.cache import StatCache, status_of
from caderno.plan.code import CodeScanner, Seen
from caderno.plan.environment import hidden, recorded
from caderno.plan.index import ShortRecord
from caderno.plan.observed import Observed
from caderno.plan.records import Code, Input, TaskRecord
from caderno.plan.store import Store
from caderno.plan.values import read_values
from caderno.plan.why import Reason, differences, in_words
from caderno.project import Project
from caderno.spec import FromFile, FromPrevious, FromTask, FromUrl, OpenAxis, Pipeline, Task

PlanState = Literal["cached", "fetch", "run", "wait"]
FORCED = "forced"
_NEAR = 8  # so many of a task's earlier results are looked at for the nearest one


@dataclass(frozen=True)
class Resolved:
    """A task whose inputs are all there: what its fingerprint is made of."""

    fingerprint: str
    code: Code
    inputs: dict[str, list[Input]]
    env: dict[str, str | None]


@dataclass(frozen=True)
class Planned:
    """A task in a plan.

    `cached`: its result is there. `fetch`: another machine has made it. `run`: it must run. `wait`: known when upstream
    has run. `reasons` say why, `why` the same on one line; `compared` is the fingerprint of the earlier result that
    they compare with, "" where there is none. `offer` is what the other machine recorded, `size` the bytes to fetch.
    """

    task: Task
    state: PlanState
    reasons: tuple[Reason, ...] = ()
    resolved: Resolved | None = None
    record: ShortRecord | None = None
    compared: str = ""
    offer: ShortRecord | None = None
    size: int = 0

    @property
    def why(self) -> str:
        """Say why on one line."""
        return in_words(self.reasons) if self.reasons else "cached"


@dataclass(frozen=True)
class Plan:
    """What a run of `tasks`, those that `targets` name, would do, each after its upstream."""

    pipeline: Pipeline
    tasks: tuple[Planned, ...]
    targets: tuple[str, ...] = ()
    force: bool = False

    @property
    def to_run(self) -> int:
        """How many tasks run, or may have to, or are fetched."""
        return sum(planned.state != "cached" for planned in self.tasks)

    @property
    def to_compute(self) -> list[Task]:
        """The tasks that run, or may have to."""
        return [planned.task for planned in self.tasks if planned.state in ("run", "wait")]


class Remote(Protocol):
    """What a plan asks of results that other machines made."""

    def offers(self, wanted: Sequence[tuple[Task, Resolved]]) -> Mapping[str, tuple[TaskRecord, int]]:
        """Return those of the wanted results that are there: record and bytes by fingerprint."""


class Planner:
    """Resolves tasks against the files and the store of one project.

    With `verify`, every file is read anew, once, where else its unchanged stat is trusted; `cache` counts them.
    What is not here is looked for at `remote`.
    """

    def __init__(
        self, project: Project, pipeline: Pipeline, verify: bool = False, remote: Remote | None = None
    ) -> None:
        self.project = project
        self.pipeline = pipeline
        self.cache = StatCache(project.state / "cache.json", anew=verify)
        self.store = Store(project, pipeline.name, self.cache)
        self._remote = remote
        self._scanner = CodeScanner(project.lib, self.cache)
        self.observed = Observed(project.data / pipeline.name / ".observed.json")
        self._code: dict[tuple[Path, tuple[str, ...]], tuple[Seen, str]] = {}

    def plan(self, targets: Sequence[str] = (), force: bool = False, detail: bool = False) -> Plan:
        """Plan the tasks that `targets` name with all upstream; `force` runs those named (or all) anew.

        With `detail`, the reasons show how cells changed, which takes reading notebooks.
        Raises MissingInput, naming every file that is not there.
        """
        while True:
            planned, records = self._plan_all(targets, force, detail)
            here = {one.task.id for one in planned if one.record}
            known = [axis for axis, source in self.pipeline.open.items() if source.task in here]
            if not known:
                break
            for axis in known:
                self.close(axis, records, targets)
        self.save()
        return Plan(self.pipeline, tuple(planned), tuple(targets), force)

    def _plan_all(
        self, targets: Sequence[str], force: bool, detail: bool
    ) -> tuple[list[Planned], dict[str, ShortRecord]]:
        """Plan the tasks, as far as the values of their matrices are known; return the records of results, too."""
        selected = self.pipeline.select(targets)
        self._check_files(selected)
        forced = self.forced(targets) if force else set()
        records: dict[str, ShortRecord] = {}
        planned: list[Planned] = []
        for _, group in groupby(selected, key=lambda task: task.name):  # none of which waits for another
            some = self._with_offers([self._plan_task(task, records, task.id in forced, detail) for task in group])
            records |= {one.task.id: record for one in some if (record := one.record or one.offer)}
            planned += some
        return planned, records

    def _with_offers(self, planned: list[Planned]) -> list[Planned]:
        """Return the same with the tasks to fetch that other machines have computed."""
        missing = {
            one.task.id: (one.task, one.resolved)
            for one in planned
            if one.state == "run" and one.resolved and one.why != FORCED
        }
        offers = self._remote.offers(list(missing.values())) if self._remote and missing else {}
        found = {task: offers[one.fingerprint] for task, (_, one) in missing.items() if one.fingerprint in offers}
        return [_fetching(one, *found[one.task.id]) if one.task.id in found else one for one in planned]

    def forced(self, targets: Sequence[str]) -> set[str]:
        """Return the tasks that a forced run of `targets` runs anew: those named, else all."""
        return self.pipeline.named(targets) if targets else set(self.pipeline.tasks)

    def close(self, axis: OpenAxis, records: Mapping[str, ShortRecord], targets: Sequence[str] = ()) -> None:
        """Unfold the pipeline by the values of an open axis, whose source has a result in `records`.

        Raises CadernoError, and leaves the pipeline as it is, where the values don't do, or `targets` name none of
        the tasks that they make.
        """
        source = self.pipeline.open[axis]
        output = self._input(self.pipeline.tasks[source.task], source, records)
        assert output
        values = read_values(self.project.root / output.path, f"{output.source} ({output.path})")
        pipeline = self.pipeline.closed({axis: values})
        self._check_files(pipeline.select(targets))
        self.pipeline = pipeline

    def failed(self) -> list[str]:
        """Return the tasks that failed, were killed or were skipped in the last run, of those that are still there."""
        last = self.store.last_run()
        lost = [task.task for task in last.tasks if task.state in ("failed", "killed", "skipped")] if last else []
        return [task for task in lost if task in self.pipeline.tasks]

    def changed(self) -> list[str]:
        """Return the tasks that have an earlier result, but none for what they are now, or for what is upstream."""
        planned = [one.task for one in self.plan().tasks if one.state != "cached"]
        return [task.id for task in planned if self.store.latest(task.folder)]

    def save(self) -> None:
        """Keep for the next plan what was read of files and records."""
        self.cache.save()
        self.store.save_index()

    def one(self, target: str) -> Task:
        """Return the one task that `target` names, its matrix unfolded as far as values are known."""
        if self.pipeline.open:
            self.plan()
        return self.pipeline.one(target)

    def newest(self, task: Task) -> tuple[TaskRecord, Path]:
        """Return the newest record of `task` and its directory, be it of a success or a failure."""
        found = [pair for pair in (self.store.latest(task.folder), self.store.failed(task.folder)) if pair]
        if not found:
            raise CadernoError(f"{task.id} has not been run yet", f"run: caderno run {shlex.quote(task.id)}")
        return max(found, key=lambda pair: pair[0].started)

    def _plan_task(self, task: Task, records: Mapping[str, ShortRecord], forced: bool, detail: bool) -> Planned:
        waiting = [other for other in task.upstream if other not in records or task.is_open]
        if waiting:
            more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
            return self.waiting(task, forced, f"upstream {waiting[0]}{more} runs", waiting[0])
        return self.look_up(task, records, forced, detail)

    @staticmethod
    def waiting(task: Task, forced: bool, why: str, upstream: str) -> Planned:
        """Plan a task of which more is known only when `upstream` has run."""
        reason = Reason("forced", FORCED, upstream) if forced else Reason("upstream", why, upstream)
        return Planned(task, "wait", (reason,))

    def look_up(
        self, task: Task, records: Mapping[str, ShortRecord], forced: bool = False, detail: bool = False
    ) -> Planned:
        """Plan a task whose upstream is all there in `records`."""
        resolved = self.resolve(task, records)
        if forced:
            return Planned(task, "run", (Reason("forced", FORCED),), resolved)
        record, damage = self.store.find(task.folder, resolved.fingerprint)
        if record:
            return Planned(task, "cached", (), resolved, record)
        if damage:
            return Planned(task, "run", (Reason("damage", damage),), resolved, compared=resolved.fingerprint)
        reasons, compared = self._why(task, resolved, detail)
        return Planned(task, "run", tuple(reasons), resolved, compared=compared)

    def resolve(self, task: Task, records: Mapping[str, ShortRecord]) -> Resolved:
        """Return what `task`'s fingerprint is made of, given the records of its upstream."""
        return self._resolved(
            task,
            {
                name: [found for source in spec.sources if (found := self._input(task, source, records))]
                for name, spec in task.inputs.items()
            },
        )

    def _resolved(self, task: Task, inputs: dict[str, list[Input]]) -> Resolved:
        seen, digest = self._seen(task)
        counted = {
            name: [[item.source, item.digest] for item in items if not item.source.startswith("previous:")]
            for name, items in inputs.items()
        }
        material = {
            "format": 2,
            "kernel": [task.notebook.kernel, task.notebook.language],
            "code": digest,
            "params": dict(task.params),
            "inputs": counted,
            "outputs": dict(task.outputs),
            "env": {name: os.environ.get(name) for name in task.env},
        }
        return Resolved(digests.of_json(material), seen.code, inputs, recorded(task.env))

    def code(self, task: Task, anew: bool = False) -> Code:
        """Return the code behind `task`, as it was when first asked; `anew`, as it is now."""
        if anew:
            return CodeScanner(self.project.lib, self.cache).scan(task.notebook, self.observed.of(task.id)).code
        return self.seen(task).code

    def seen(self, task: Task) -> Seen:
        """Return the code behind `task` with the picture of how it is reached."""
        return self._seen(task)[0]

    def _seen(self, task: Task) -> tuple[Seen, str]:
        """Return the code behind `task` with the picture of it, and the digest of all that counts of it."""
        key = task.notebook.path, self.observed.of(task.id)
        if key not in self._code:
            seen = self._scanner.scan(task.notebook, key[1])
            code = seen.code
            self._code[key] = seen, digests.of_json([code.cells, code.units, code.packages, code.python])
        return self._code[key]

    def observe(self, task: Task, resolved: Resolved, names: Iterable[str]) -> Resolved:
        """Take in that a run of `task` used `names` unseen, and return what its fingerprint is made of now."""
        self.observed.add(task.id, names)
        return self._resolved(task, resolved.inputs)

    def _input(self, task: Task, source: Any, records: Mapping[str, ShortRecord]) -> Input | None:
        match source:
            case FromFile(path=path):
                digest, size = digests.of_path(self.project.file(path), self.cache)
                return Input(source=f"file:{path}", path=path, digest=digest, size=size)
            case FromUrl(url=url):
                return Input(source=url, path=url, digest=None, size=None)
            case FromTask(task=upstream, output=name):
                record = records[upstream]
                output = record.outputs[name]
                place = self.store.relative_place(self.pipeline.tasks[upstream].folder, record.fingerprint)
                return Input(
                    source=f"{upstream}.{name}",
                    path=f"{place}/{output.path}",
                    digest=output.digest,
                    size=output.size,
                    task=upstream,
                    fingerprint=record.fingerprint,
                )
            case FromPrevious(output=name):
                return self._previous(task, name)
        raise TypeError(source)

    def _previous(self, task: Task, name: str) -> Input | None:
        latest = self.store.latest(task.folder)
        if latest is None or name not in latest[0].outputs:
            return None
        record, place = latest
        output = record.outputs[name]
        return Input(
            source=f"previous:{name}",
            path=self.project.relative(place / output.path),
            digest=output.digest,
            size=output.size,
            task=task.id,
            fingerprint=record.fingerprint,
        )

    def _check_files(self, tasks: Sequence[Task]) -> None:
        missing = {
            f"{task.where}: task {task.id} reads {source.path}, which is not there"
            for task in tasks
            if not task.is_open
            for spec in task.inputs.values()
            for source in spec.sources
            if isinstance(source, FromFile) and not status_of(self.project.file(source.path))
        }
        if missing:
            raise MissingInput(
                "\n".join(sorted(missing)), "make or fetch these files, or mend the paths (from the root)"
            )

    def _why(self, task: Task, resolved: Resolved, detail: bool) -> tuple[list[Reason], str]:
        """Say why there is no result for `resolved`: what differs from the nearest earlier one, and which that is."""
        seen = self.seen(task)
        earlier = self.store.earlier(task.folder, _NEAR)
        if not earlier:
            failed = self.store.failed(task.folder)
            if failed and failed[0].fingerprint == resolved.fingerprint:
                return [Reason("failed", "failed last time")], resolved.fingerprint
            return [Reason("new", "new")], ""
        params = hidden(dict(task.params))
        found = [
            (
                differences(record, task, seen, params, resolved.inputs, resolved.env, place if detail else None),
                record.fingerprint,
            )
            for record, place in earlier
        ]
        return min(found, key=lambda pair: len(pair[0]))  # of equally near ones the newest


def _fetching(planned: Planned, record: TaskRecord, size: int) -> Planned:
    """Return a task that was to run, with a result of another machine."""
    text = f"{record.user} computed it on {record.host}"
    reason = Reason("remote", text, record.host, detail=(f"{size / 1e6:,.1f} MB to fetch",))
    return replace(planned, state="fetch", reasons=(reason,), compared="", offer=ShortRecord.of(record), size=size)
