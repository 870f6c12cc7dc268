"""Which of the models that a run made is the best, and what else belongs to it: its test rows, its authors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from caderno.deliver.statistics import GREATER_IS_BETTER
from caderno.errors import CadernoError
from caderno.plan.digests import of_path
from caderno.plan.records import DONE, RunRecord, RunTask, TaskRecord
from caderno.plan.store import Store, read_record
from caderno.project import Project
from caderno.run.provenance import git
from caderno.spec.file import GateFile


@dataclass(frozen=True)
class Candidate:
    """A model that a run made, with all that a release needs of it.

    `others` are all candidates of the run by task, with what each logged of the gate's metric; None where it did not.
    """

    run: str
    profile: str | None
    record: TaskRecord
    folder: str  # of its result, relative to the project's root
    output: str  # the model's path in that
    model: Path
    uri: str
    test: Path
    test_task: str
    test_path: str  # relative to the project's root
    test_digest: str
    others: Mapping[str, float | None]
    authors: tuple[str, ...]


def best(project: Project, store: Store, gate: GateFile) -> Candidate:
    """Return the best candidate of the last run that made any, by what their notebooks logged of the gate's metric.

    That was measured on other rows than the gate's, so choosing does not use these up. Raises CadernoError where there
    is no candidate, or no telling which is best.
    """
    task, _, output = gate.candidates.partition(".")
    run, made = _last(project, store, task)
    logged = {one.task: one.metrics.get(gate.metric) for one, _ in made}
    if len(made) > 1 and None in logged.values():
        silent = [name for name, value in logged.items() if value is None]
        raise CadernoError(
            f"which candidate is best is not known: {', '.join(silent)} logged no {gate.metric}",
            f"log it to MLflow in the notebook, measured on validation rows: mlflow.log_metric({gate.metric!r}, …)",
        )
    sign = 1 if gate.metric in GREATER_IS_BETTER else -1
    record, place = max(made, key=lambda one: sign * (one[0].metrics.get(gate.metric) or 0.0))
    model = record.outputs[output]
    if of_path(place / model.path) != (model.digest, model.size):
        raise CadernoError(
            f"the model of {record.task} is not what the run made: {project.relative(place / model.path)}",
            "make it anew: caderno run --verify",
        )
    if model.model_uri is None:
        raise CadernoError(f"the model of {record.task} is not in MLflow", f"caderno run --force {record.task!r}")
    test_task, test = _test(project, run, gate)
    return Candidate(
        run=run.run,
        profile=run.profile,
        record=record,
        folder=project.relative(place),
        output=model.path,
        model=place / model.path,
        uri=model.model_uri,
        test=test,
        test_task=test_task.task,
        test_path=project.relative(test),
        test_digest=of_path(test)[0],
        others=logged,
        authors=_authors(project, record),
    )


def _last(project: Project, store: Store, task: str) -> tuple[RunRecord, list[tuple[TaskRecord, Path]]]:
    for run in store.runs():
        made = []
        for one in run.tasks:
            if one.name == task and one.state in DONE and one.folder:
                place = project.root / one.folder
                if record := read_record(place):
                    made.append((record, place))
        if made:
            return run, made
    raise CadernoError(f"no run has made a candidate yet: {task} has no result", "caderno run")


def _test(project: Project, run: RunRecord, gate: GateFile) -> tuple[RunTask, Path]:
    task, _, output = gate.test.partition(".")
    for one in run.tasks:
        if one.name == task and one.state in DONE and one.folder:
            place = project.root / one.folder
            record = read_record(place)
            if record and output in record.outputs:
                return one, place / record.outputs[output].path
    raise CadernoError(f"run {run.run} has no test rows: {task} has no result in it", "caderno run")


def _authors(project: Project, record: TaskRecord) -> tuple[str, ...]:
    """Return who wrote what made a result: the commit's author, and who ran it where files differed from that."""
    if record.git is None:
        return (record.user,)
    author = git(project.root, "show", "-s", "--format=%an <%ae>", record.git.commit)
    return (*([author] if author else []), *([record.user] if record.git.dirty or not author else []))
