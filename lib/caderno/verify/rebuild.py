"""A past result built once more from its record, and what differs.

The code of its commit stands in a git worktree, its inputs are those files of the store and of the project that the
record names, by digest, and MLflow logs into a store of its own. All of that is in a folder that goes away: nothing of
it becomes a result. Kernels are cold and have one thread for each cpu of the task, as in a run of as many jobs as
cores.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from caderno.errors import CadernoError, Stopped
from caderno.plan.cache import StatCache
from caderno.plan.code import CodeScanner
from caderno.plan.digests import of_path
from caderno.plan.environment import MASKED, is_secret
from caderno.plan.planner import Planner, Resolved
from caderno.plan.records import Cell, Code, Failure, Output, TaskRecord
from caderno.plan.store import NOTEBOOK
from caderno.project import Project
from caderno.report.notebook import written
from caderno.run.kernels import KILLED, KernelControl
from caderno.run.ledger import Ledger, Open
from caderno.run.stop import Stop
from caderno.run.worker import RunContext, execute_in, made, tags_of
from caderno.spec import InputSpec, Notebook, Pipeline, Task
from caderno.spec import notebook as notebooks
from caderno.verify import conditions, models
from caderno.verify.closeness import Tolerance, metric
from caderno.verify.inputs import bring
from caderno.verify.sameness import Printed, outputs, printed
from caderno.verify.tree import standing, workplace
from caderno.verify.verdict import Finding, Verdict, determined, first_of, undetermined, worst

Tell = Callable[[str], None]  # what is being done


@dataclass
class Made:
    """What an execution made: outputs in `folder`, metrics, the executed notebook.

    `other` is the code that is not what the record names; `lost` says of outputs that are not whole what they are.
    """

    folder: Path
    outputs: Mapping[str, Output]
    metrics: Mapping[str, float]
    notebook: Mapping[str, Any]
    failure: Failure | None = None
    code: Code | None = None
    other: list[str] = field(default_factory=list)
    lost: Mapping[str, str] = field(default_factory=dict)


def rebuild(
    project: Project,
    record: TaskRecord,
    place: Path,
    *,
    tolerance: Tolerance = Tolerance(),  # noqa: B008  # frozen
    cpus: int = 1,
    tell: Tell = lambda _: None,
) -> Verdict:
    """Build the result of `record`, which stands at `place`, once more, and say how the two compare.

    Where they differ, it is built a second time, to see whether it is deterministic at all. Raises CadernoError where
    it can't be built from what is here: the commit, an input, a secret.
    """
    if record.state != "succeeded":
        raise CadernoError(f"{record.task} {record.fingerprint[:8]} {record.state}: there is no result to verify")
    control = KernelControl()
    stop = Stop(lambda: control.kill() if stop.now else control.stop(KILLED))
    with stop.installed(), workplace(project) as home, _variables(record):
        return _Rebuilding(project, record, place, home, tolerance, cpus, tell, control, stop).verdict()


@dataclass
class _Rebuilding:
    project: Project
    record: TaskRecord
    place: Path
    home: Path
    tolerance: Tolerance
    cpus: int
    tell: Tell
    control: KernelControl
    stop: Stop
    notes: list[str] = field(default_factory=list)

    def verdict(self) -> Verdict:
        old = self._recorded()
        with standing(self.project, self.record, self.home) as tree:
            new = self._build(tree, "rebuilding")
            assert new.code
            versions = conditions.versions(self.record, new.code)
            self._note(new.other, versions)
            if new.failure:
                return Verdict("failed", (_of_failure(new.failure),), notes=tuple(self.notes))
            found = self._compare(old, new, tree)
        first = first_of(found)
        conclusion = self._conclusion(first, new, versions) if first else ""
        cell = next(printed(old.notebook, new.notebook), None)
        if cell and f"cell {cell.number}" not in conclusion:
            self.notes.append(f"cell {cell.number} ({cell.line}) prints something else: {cell.text}")
        return Verdict(worst(found), tuple(found), conclusion, tuple(self.notes))

    def _conclusion(self, first: Finding, new: Made, versions: list[str]) -> str:
        """Build a second time, and say whether that is the same as the first time."""
        with standing(self.project, self.record, self.home) as tree:
            again = self._build(tree, "rebuilding a second time")
            if again.failure:
                return f"not deterministic: a second rebuild failed, {_of_failure(again.failure)}"
            between = first_of(self._compare(new, again, tree))
        if between:
            return undetermined(between, next(printed(new.notebook, again.notebook), None))
        return determined(first, versions, new.other)

    def _note(self, other: list[str], versions: list[str]) -> None:
        git = self.record.git
        if git is None or git.dirty:
            said = "the result was made without git: its code is taken as it is in the folder now"
            if git:
                said = f"the commit {git.commit[:12]} alone does not say what ran: files differed from it"
            if not other:
                said += "; but the cells and helpers that the record names are the same"
            self.notes.append(said)
        if other:
            self.notes.append(f"code that is not what ran: {conditions.listed(other)}")
        if versions:
            self.notes.append(f"versions that differ: {conditions.listed(versions)}")
        self.notes += conditions.surroundings(self.record)

    def _recorded(self) -> Made:
        """Return what stands in the store; outputs that were changed there since are named."""
        lost = {}
        for name, output in self.record.outputs.items():
            try:
                whole = of_path(self.place / output.path)[0] == output.digest
            except OSError:
                lost[name] = "gone"
            else:
                lost |= {} if whole else {name: "changed"}
            if name in lost:
                self.notes.append(f"output {name} in the store is {lost[name]}: it is not what the record says")
        record = self.record
        return Made(self.place, record.outputs, record.metrics, self._executed, lost=lost)

    @cached_property
    def _executed(self) -> dict[str, Any]:
        """The executed notebook of the result. Raises CadernoError where it is gone or damaged."""
        path = self.place / NOTEBOOK
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict):
            where = self.project.relative(path)
            raise CadernoError(f"the executed notebook of the result can't be read: {where}", "name another: --result")
        return found

    def _build(self, tree: Project, doing: str) -> Made:
        """Execute the notebook in `tree`, and keep what it makes in the folder around that."""
        record = self.record
        for path in bring(record, self.project, tree, self._read, self._go_on):
            note = f"{path} was read undeclared: it is taken as it is now"
            self.notes += [note] if note not in self.notes else []
        notebook = self._notebook(tree)
        task = self._task(notebook)
        planner = Planner(tree, Pipeline(record.pipeline, "", record.profile, {task.id: task}))
        resolved = Resolved(record.fingerprint, planner.code(task), record.inputs, record.env)
        number = len([*self.home.glob("made-*")])
        logs = self.home / f"mlflow-{number}"
        logs.mkdir()
        ledger = Ledger(tree, record.pipeline, f"verify-{number}", self.notes.append, logs)
        context = RunContext(
            run=f"verify-{number}",
            planner=planner,
            ledger=ledger,
            parent=None,
            git=record.git,
            user=record.user,
            host=record.host,
            machine=record.machine,
            warm=None,
            threads=1,
        )
        staged = planner.store.stage(self._folder, record.fingerprint)
        tracked = ledger.start(record.task, tags_of(context, task, resolved), staged)
        found = self._execute(staged, context, task, resolved, tracked, doing)
        ledger.end(tracked, "failed" if found.failure else "succeeded")
        found.folder = staged.rename(self.home / f"made-{number}")
        found.code, found.other = resolved.code, self._other(task, planner)
        return found

    def _execute(
        self, staged: Path, context: RunContext, task: Task, resolved: Resolved, tracked: Open, doing: str
    ) -> Made:
        cells = sum(bool(cell.source.strip()) for cell in task.notebook.cells)

        def on_cell(count: int, _cell: Cell) -> None:
            self.tell(f"{doing}: cell {min(count + 1, cells)} of {cells}")

        self.tell(f"{doing}: cell 1 of {cells}")
        execution, mask = execute_in(staged, context, task, resolved, tracked, self.control, on_cell)
        self._go_on()
        files: Mapping[str, Output] = {}
        failure = execution.failure
        if failure is None:
            files, failure = made(context, task, tracked, staged)
        self.tell("comparing")
        metrics = context.ledger.logged(tracked).metrics
        return Made(staged, files, metrics, mask.notebook(execution.notebook), failure)

    def _go_on(self) -> None:
        """Raise Stopped where a signal came."""
        if self.stop.signal is not None:
            error = Stopped("stopped: nothing of the rebuild is left")
            error.exit_code = 128 + self.stop.signal
            raise error

    @property
    def _folder(self) -> str:
        return self.place.parent.relative_to(self.project.data / self.record.pipeline).as_posix()

    @cached_property
    def _read(self) -> StatCache:
        """Digests, each file read anew once."""
        return StatCache(self.home / "cache.json", anew=True)

    def _notebook(self, tree: Project) -> Notebook:
        """Return the notebook as it was; the result's own cells where the commit does not say."""
        path = tree.root / self.record.notebook
        if self.record.git is None or self.record.git.dirty or not path.exists():
            cells = [{**raw, "source": source} for raw, source in written(self._executed)]
            for cell in cells:
                cell |= {"outputs": [], "execution_count": None} if cell.get("cell_type") == "code" else {}
            metadata = {name: value for name, value in self._executed["metadata"].items() if name != "papermill"}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**self._executed, "cells": cells, "metadata": metadata}), encoding="utf-8")
        return notebooks.read(path, self.record.notebook)

    def _task(self, notebook: Notebook) -> Task:
        """Return the task as the record has it. Raises CadernoError where that does not hold a secret it was given."""
        record = self.record
        injected = self._executed.get("metadata", {}).get("papermill", {}).get("parameters") or {}
        given = {name: value for name, value in record.params.items() if name in injected}
        paths = {name: [item.path for item in items] for name, items in record.inputs.items()}
        hidden = [name for name, value in (given | paths).items() if MASKED in json.dumps(value)]
        if hidden:
            raise CadernoError(
                f"{record.task} was given a secret as {hidden[0]}, which no record holds",
                "hand secrets over by environment variables: list them under env",
            )
        return Task(
            id=record.task,
            name=record.task.partition("[")[0],
            axes={},
            notebook=notebook,
            params=record.params,
            given=given,
            inputs={name: InputSpec("", (), isinstance(injected.get(name), list)) for name in record.inputs},
            outputs={name: output.path for name, output in record.outputs.items()},
            models=frozenset(name for name, output in record.outputs.items() if output.model_uri),
            upstream=(),
            where=record.notebook,
            cpus=self.cpus,
            env=tuple(record.env),
        )

    def _other(self, task: Task, planner: Planner) -> list[str]:
        """Return the code that is not what the record names; what later runs saw used counts as it did then."""
        code = planner.code(task)
        other = conditions.code(self.record, task.notebook, code.cells, code.units)
        if other and planner.observed.of(task.id):
            bare = CodeScanner(planner.project.lib, planner.cache).scan(task.notebook).code
            other = conditions.code(self.record, task.notebook, code.cells, {**bare.units, **code.units})
        return other

    def _compare(self, old: Made, new: Made, tree: Project) -> list[Finding]:
        """Compare outputs and metrics; where there are neither, what cells print."""
        found = [self._of_output(name, old, new, tree) for name in old.outputs]
        for name in (*old.metrics, *(name for name in new.metrics if name not in old.metrics)):
            same = metric(old.metrics.get(name), new.metrics.get(name), self.tolerance)
            found.append(Finding(f"metric {name}", same.state, same.text))
        return found or [_of_cells(next(printed(old.notebook, new.notebook), None))]

    def _of_output(self, name: str, old: Made, new: Made, tree: Project) -> Finding:
        before, after = old.outputs[name], new.outputs[name]
        what = f"output {name}" + (f" ({before.path})" if before.path != name else "")
        if before.digest == after.digest:
            return Finding(what, "equal")
        if name in old.lost:
            return Finding(what, "differs", f"has another digest; that in the store is {old.lost[name]}")
        predict = partial(
            models.compare, tolerance=self.tolerance, tables=self._tables(), environment=self._environment(tree)
        )
        same = outputs(old.folder / before.path, new.folder / after.path, self.tolerance, predict)
        return Finding(what, same.state, same.text)

    def _tables(self) -> list[tuple[Path, list[str]]]:
        """Return the tables among the inputs, each with its columns."""
        items = [item for items in self.record.inputs.values() for item in items]
        return [(Path(self.project.file(item.path)), [*item.table.columns]) for item in items if item.table]

    def _environment(self, tree: Project) -> dict[str, str]:
        """Return the environment in which models are compared: the commit's lib/, behind all else, and no server."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(tree.lib)]))
        store = f"sqlite:///{self.home / 'mlflow-0' / 'mlflow.db'}"
        return kept | {"PYTHONPATH": path, "MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true"}


def _of_failure(failure: Failure) -> Finding:
    what = f"cell {failure.number}" if failure.number is not None else "the notebook"
    return Finding(what, "differs", f"{failure.kind}: {failure.message}")


def _of_cells(cell: Printed | None) -> Finding:
    if cell is None:
        return Finding("what cells print", "equal")
    return Finding(f"cell {cell.number} ({cell.line})", "differs", f"prints {cell.text}")


@contextmanager
def _variables(record: TaskRecord) -> Iterator[None]:
    """Set the environment variables that count as they were; secret ones stay as they are."""
    before = dict(os.environ)
    for name, value in record.env.items():
        if value is None:
            os.environ.pop(name, None)
        elif not is_secret(name):
            os.environ[name] = value
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
