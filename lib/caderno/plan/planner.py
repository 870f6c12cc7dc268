"""What must run, and why: each task's fingerprint against the store."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from caderno.errors import CadernoError, MissingInput
from caderno.plan import digests
from caderno.plan.cache import StatCache, status_of
from caderno.plan.code import CodeScanner
from caderno.plan.index import ShortRecord
from caderno.plan.records import Code, Input, TaskRecord
from caderno.plan.store import Store
from caderno.project import Project
from caderno.spec import FromFile, FromPrevious, FromTask, FromUrl, Notebook, Pipeline, Task

PlanState = Literal["cached", "run", "wait"]
FORCED = "forced"


@dataclass(frozen=True)
class Resolved:
    """A task whose inputs are all there: what its fingerprint is made of."""

    fingerprint: str
    code: Code
    inputs: dict[str, list[Input]]


@dataclass(frozen=True)
class Planned:
    """A task in a plan. `cached`: its result is there. `run`: it must run. `wait`: known when upstream has run."""

    task: Task
    state: PlanState
    why: str
    resolved: Resolved | None = None
    record: ShortRecord | None = None


@dataclass(frozen=True)
class Plan:
    """What a run of `tasks` of a pipeline would do, each after its upstream."""

    pipeline: Pipeline
    tasks: tuple[Planned, ...]

    @property
    def to_run(self) -> int:
        """How many tasks run, or may have to."""
        return sum(planned.state != "cached" for planned in self.tasks)


class Planner:
    """Resolves tasks against the files and the store of one project.

    With `verify`, every file is read anew, once, where else its unchanged stat is trusted; `cache` counts them.
    """

    def __init__(self, project: Project, pipeline: Pipeline, verify: bool = False) -> None:
        self.project = project
        self.pipeline = pipeline
        self.cache = StatCache(project.state / "cache.json", anew=verify)
        self.store = Store(project, pipeline.name, self.cache)
        self._scanner = CodeScanner(project.lib, self.cache)
        self._code: dict[Path, Code] = {}

    def plan(self, targets: Sequence[str] = (), force: bool = False) -> Plan:
        """Plan the tasks that `targets` name with all upstream; `force` runs those named (or all) anew.

        Raises MissingInput, naming every file that is not there.
        """
        selected = self.pipeline.select(targets)
        self._check_files(selected)
        forced = {task.id for task in selected if force and (not targets or {task.id, task.name} & set(targets))}
        records: dict[str, ShortRecord] = {}
        planned = []
        for task in selected:
            one = self._plan_task(task, records, task.id in forced)
            if one.record:
                records[task.id] = one.record
            planned.append(one)
        self.save()
        return Plan(self.pipeline, tuple(planned))

    def save(self) -> None:
        """Keep for the next plan what was read of files and records."""
        self.cache.save()
        self.store.save_index()

    def newest(self, task: Task) -> tuple[TaskRecord, Path]:
        """Return the newest record of `task` and its directory, be it of a success or a failure."""
        found = [pair for pair in (self.store.latest(task.folder), self.store.failed(task.folder)) if pair]
        if not found:
            raise CadernoError(f"{task.id} has not been run yet", f"run: caderno run {shlex.quote(task.id)}")
        return max(found, key=lambda pair: pair[0].started)

    def _plan_task(self, task: Task, records: Mapping[str, ShortRecord], forced: bool) -> Planned:
        waiting = [other for other in task.upstream if other not in records]
        if waiting:
            more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
            return Planned(task, "wait", FORCED if forced else f"upstream {waiting[0]}{more} runs")
        resolved = self.resolve(task, records)
        if forced:
            return Planned(task, "run", FORCED, resolved)
        record, damage = self.store.find(task.folder, resolved.fingerprint)
        if record:
            return Planned(task, "cached", "cached", resolved, record)
        return Planned(task, "run", damage or self.why(task, resolved), resolved)

    def resolve(self, task: Task, records: Mapping[str, ShortRecord]) -> Resolved:
        """Return what `task`'s fingerprint is made of, given the records of its upstream."""
        code = self.code(task.notebook)
        inputs = {
            name: [found for source in spec.sources if (found := self._input(task, source, records))]
            for name, spec in task.inputs.items()
        }
        counted = {
            name: [[item.source, item.digest] for item in items if not item.source.startswith("previous:")]
            for name, items in inputs.items()
        }
        material = {
            "format": 1,
            "kernel": [task.notebook.kernel, task.notebook.language, code.python],
            "cells": code.cells,
            "modules": code.modules,
            "packages": code.packages,
            "params": dict(task.params),
            "inputs": counted,
            "outputs": dict(task.outputs),
        }
        return Resolved(digests.of_json(material), code, inputs)

    def code(self, notebook: Notebook, anew: bool = False) -> Code:
        """Return the code behind `notebook`, as it was when first asked; `anew`, as it is now."""
        if anew:
            return CodeScanner(self.project.lib, self.cache).scan(notebook)
        if notebook.path not in self._code:
            self._code[notebook.path] = self._scanner.scan(notebook)
        return self._code[notebook.path]

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
            for spec in task.inputs.values()
            for source in spec.sources
            if isinstance(source, FromFile) and not status_of(self.project.file(source.path))
        }
        if missing:
            raise MissingInput(
                "\n".join(sorted(missing)), "make or fetch these files, or mend the paths (from the root)"
            )

    def why(self, task: Task, resolved: Resolved) -> str:
        """Say why there is no result for `resolved`: what differs from the task's latest one."""
        latest = self.store.latest(task.folder)
        if latest is None:
            failed = self.store.failed(task.folder)
            return "failed last time" if failed and failed[0].fingerprint == resolved.fingerprint else "new"
        reasons = list(differences(latest[0], task, resolved))
        return "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")


def differences(old: TaskRecord, task: Task, new: Resolved) -> list[str]:
    """Return in words what of a fingerprint differs between a record and a task as it is now."""
    found = []
    if old.code.cells != new.code.cells:
        changed = [
            index + 1
            for index, pair in enumerate(zip(old.code.cells, new.code.cells, strict=False))
            if pair[0] != pair[1]
        ]
        found.append(f"code cell {changed[0]} changed" if changed else "code cells added or removed")
    found += [f"parameter {text}" for text in _changes(old.params, task.params)]
    old_inputs = {name: [item.digest or item.source for item in items] for name, items in old.inputs.items()}
    new_inputs = {name: [item.digest or item.source for item in items] for name, items in new.inputs.items()}
    counted = [name for name, spec in task.inputs.items() if not any(isinstance(s, FromPrevious) for s in spec.sources)]
    found += [f"input {name} changed" for name in counted if old_inputs.get(name) != new_inputs.get(name)]
    found += [
        f"{name} {_verb(name, old.code.modules, new.code.modules)}"
        for name in sorted(old.code.modules.keys() | new.code.modules.keys())
        if old.code.modules.get(name) != new.code.modules.get(name)
    ]
    found += _changes(old.code.packages, new.code.packages)
    if old.code.python != new.code.python:
        found.append(f"Python {old.code.python} → {new.code.python}")
    return found or ["declared outputs or kernel changed"]


def _verb(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    return "is used now" if name not in old else "is not used any more" if name not in new else "changed"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} {_short(old.get(name))} → {_short(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _short(value: Any) -> str:
    text = "(none)" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
