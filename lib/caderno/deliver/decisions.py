"""A decision of the gate as it is kept: `decision.json` and the page that people read and sign.

They stand in data/<pipeline>/.decisions/<model>.v<version>.<n>/, made once and never rewritten, and under the same name
in reports/<pipeline>/decisions/ for people. What is signed are the digests of all that was judged.
"""

from __future__ import annotations

import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from caderno import report
from caderno.deliver.candidates import Candidate
from caderno.deliver.evidence import Measured
from caderno.deliver.gate import Decision, Kind, Outcome, improvement
from caderno.deliver.standing import Version, Wanted
from caderno.deliver.statistics import Difference
from caderno.errors import StoreError
from caderno.plan.digests import of_file
from caderno.plan.store import NOTEBOOK, write_atomically
from caderno.project import Project
from caderno.spec.file import GateFile

DECISIONS = ".decisions"  # beside the tasks of a pipeline
RECORD, PAGE = "decision.json", "report.html"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Figures(_Model):
    """A difference, candidate minus champion, turned so that more is better; None where these rows do not tell."""

    value: float | None
    low: float | None
    high: float | None
    confidence: float
    units: int


class Rule(_Model):
    """One rule of the gate, and what follows from it alone."""

    rule: str
    verdict: Outcome
    figures: str
    kind: Kind


class Slice(_Model):
    """The difference among the test rows in which a column has this value."""

    column: str
    value: str
    rows: int
    margin: float
    figures: Figures


class Rows(_Model):
    """The test rows: where they are, how many, and from which to which unit."""

    task: str
    path: str  # relative to the project's root
    digest: str
    rows: int
    units: int
    span: str


class DecisionRecord(_Model):
    """`decision.json`: what was asked, what was measured, what follows."""

    schema_version: int = 1
    name: str  # "flights.v2.1": the model's version, and the how many-th decision on it
    model: str
    version: str
    pipeline: str
    profile: str | None
    run: str
    task: str
    fingerprint: str
    folder: str  # of the candidate's result, relative to the project's root
    others: dict[str, float | None]  # by candidate, what each logged of the gate's metric
    champion: str | None
    champion_task: str | None
    outcome: Outcome
    why: str  # the rules that led to it, in one line
    rules: list[Rule]
    metric: str
    metrics: dict[str, float]
    champion_metrics: dict[str, float]
    difference: Figures | None
    slices: list[Slice]
    test: Rows
    look: int
    changed: str | None  # the page of what changed since the champion, relative to the pipeline's folder in reports/
    gate: dict[str, Any]
    approvals: int
    four_eyes: bool
    files: dict[str, str]  # the model's, with their SHA-256
    packaged: dict[str, Any]  # of the packaged model in a clean process
    authors: list[str]
    who: str
    when: datetime


def record_of(
    *,
    name: str,
    model: str,
    version: Version,
    champion: Version | None,
    candidate: Candidate,
    measured: Measured,
    decided: Decision,
    look: int,
    changed: str | None,
    gate: GateFile,
    wanted: Wanted,
    who: str,
) -> DecisionRecord:
    """Return the record of a decision, from all that led to it."""
    found = measured.evidence
    slices = [
        Slice(
            column=column,
            value=value,
            rows=measured.sizes[column, value],
            margin=gate.slices[column],
            figures=_figures(one, gate.metric),
        )
        for (column, value), one in found.slices.items()
    ]
    return DecisionRecord(
        name=name,
        model=model,
        version=version.number,
        pipeline=candidate.record.pipeline,
        profile=candidate.profile,
        run=candidate.run,
        task=candidate.record.task,
        fingerprint=candidate.record.fingerprint,
        folder=candidate.folder,
        others=dict(candidate.others),
        champion=champion.number if champion else None,
        champion_task=str(champion.released.entry.facts["task"]) if champion else None,
        outcome=decided.outcome,
        why=decided.why,
        rules=[
            Rule(rule=one.rule, verdict=one.verdict, figures=one.figures, kind=one.kind) for one in decided.findings
        ],
        metric=gate.metric,
        metrics=dict(found.metrics),
        champion_metrics=dict(measured.champion),
        difference=_figures(found.difference, gate.metric) if found.difference else None,
        slices=slices,
        test=Rows(
            task=candidate.test_task,
            path=candidate.test_path,
            digest=candidate.test_digest,
            rows=measured.rows,
            units=measured.units,
            span=measured.span,
        ),
        look=look,
        changed=changed,
        gate=gate.model_dump(mode="json"),
        approvals=wanted.approvals,
        four_eyes=wanted.four_eyes,
        files=dict(version.released.entry.facts["files"]),
        packaged=dict(measured.packaged),
        authors=list(candidate.authors),
        who=who,
        when=datetime.now(UTC),
    )


def _figures(found: Difference, metric: str) -> Figures:
    turned = improvement(found, metric)
    told = {name: None if math.isnan(value := getattr(turned, name)) else value for name in ("value", "low", "high")}
    return Figures(**told, confidence=found.confidence, units=found.units)


def save(project: Project, decision: DecisionRecord) -> None:
    """Write a decision and its page. Raises StoreError where the disk refuses."""
    folder = folder_of(project, decision.pipeline, decision.name)
    try:
        shutil.rmtree(folder, ignore_errors=True)  # what a killed command left has no row in the ledger
        folder.mkdir(parents=True)
        write_atomically(folder / PAGE, report.decision_page(decision.model_dump(mode="json")))
        write_atomically(folder / RECORD, decision.model_dump_json(indent=1))
        show(project, decision.pipeline, decision.name)
    except OSError as error:
        raise StoreError(f"{project.relative(folder)} can't be written: {error.strerror}") from None


def show(project: Project, pipeline: str, name: str) -> Path:
    """Put a decision into reports/, and return its page there."""
    folder = folder_of(project, pipeline, name)
    page = report.decision_file(project, pipeline, name)
    for source, target in ((folder / PAGE, page), (folder / RECORD, page.with_suffix(".json"))):
        report.link(source, target)
    return page


def folder_of(project: Project, pipeline: str, name: str) -> Path:
    """Return where a decision stands, or will."""
    return project.data / pipeline / DECISIONS / name


def read(project: Project, pipeline: str, name: str) -> DecisionRecord | None:
    """Return a decision, or None where there is none that can be read."""
    try:
        return DecisionRecord.model_validate_json((folder_of(project, pipeline, name) / RECORD).read_bytes())
    except (OSError, ValueError):
        return None


def digests(project: Project, pipeline: str, name: str, result: str) -> dict[str, str]:
    """Return the digests of what a decision was made on and is read by, as they are now; "gone" where a file is.

    `report` is the decision's page, `record` its figures, `notebook` the candidate's executed notebook in `result`.
    """
    folder = folder_of(project, pipeline, name)
    found = {
        "report": _digest(folder / PAGE),
        "record": _digest(folder / RECORD),
        "notebook": _digest(project.root / result / NOTEBOOK),
    }
    shown = report.decision_file(project, pipeline, name)
    if shown.exists() and _digest(shown) != found["report"]:
        found["report"] = "what people read is not what is kept"
    return found


def _digest(path: Path) -> str:
    try:
        return of_file(path)
    except OSError:
        return "gone"
