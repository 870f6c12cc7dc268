"""What people see of delivery in reports/: the page of a model, and marks on the runs that its versions came from."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from caderno import report, spec
from caderno.deliver import decisions
from caderno.deliver.decisions import DECISIONS
from caderno.deliver.ledger import GENESIS, Row, ledger_of
from caderno.deliver.standing import Standing, Version, standing
from caderno.deliver.statistics import METRICS
from caderno.errors import CadernoError
from caderno.plan.store import write_atomically
from caderno.project import Project


def write(project: Project, pipeline: str, model: str, rows: Sequence[Row]) -> None:
    """Write the page of a model from its rows in the ledger, and the index with marks on its runs. Raises OSError."""
    now = standing(rows)
    marks: dict[str, dict[str, str]] = {}
    for number, version in now.versions.items():
        entry = version.released.entry
        if said := mark(now, version):
            text = f"{said} v{number}"
            marks[str(entry.facts["run"])] = {"text": text, "decision": _decision(version)}
    folder = project.data / pipeline / DECISIONS
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / report.MARKS, json.dumps(marks, indent=1))
    report.write_models(
        project,
        pipeline,
        {
            "model": model,
            "champion": now.champion,
            "challenger": now.challenger,
            "versions": [_version(now, now.versions[one]) for one in sorted(now.versions, key=int, reverse=True)],
            "history": [_row(one) for one in reversed(rows)],
            "head": rows[-1].hash if rows else GENESIS,
        },
    )
    report.renew_index(project)


def write_all(project: Project) -> None:
    """Write the pages of all models and decisions anew, from the ledger and what is kept. Raises OSError."""
    for name in project.pipelines():
        try:
            loaded = spec.load(project, name)
        except CadernoError:  # one that can't be loaded has told so elsewhere
            continue
        if loaded.gate is None:
            continue
        rows = ledger_of(project).rows(loaded.model)
        for row in rows:
            if row.entry.action == "decide":
                with contextlib.suppress(FileNotFoundError):
                    decisions.show(project, name, str(row.entry.facts["decision"]))
        if rows:
            write(project, name, loaded.model, rows)


def mark(now: Standing, version: Version) -> str:
    """Return what a version is, in a word or two; nothing where that is nothing special."""
    actions = [row.entry.action for row in version.signed]
    if version.number == now.champion:
        return "champion"
    if "refuse" in actions:
        return "refused"
    if version.number == now.challenger:
        return "approved" if actions else "challenger"
    return "was champion" if version.number in now.champions else ""


def _decision(version: Version) -> str:
    return str(version.decided.entry.facts["decision"]) if version.decided else ""


def _version(now: Standing, version: Version) -> dict[str, Any]:
    entry = version.released.entry
    metrics = version.decided.entry.facts["metrics"] if version.decided else {}
    return {
        "version": version.number,
        "mark": mark(now, version),
        "outcome": version.outcome,
        "decision": f"decisions/{_decision(version)}.html",
        "task": entry.facts["task"],
        "fingerprint": entry.facts["fingerprint"],
        "metrics": [(name, f"{metrics[name]:.4f}") for name in METRICS if name in metrics],
        "signed": [{"action": row.entry.action, "who": row.entry.who, "why": row.entry.why} for row in version.signed],
        "released": entry.time,
        "who": entry.who,
    }


def _row(row: Row) -> dict[str, Any]:
    entry = row.entry
    return {
        "place": row.place,
        "time": entry.time,
        "action": entry.action,
        "version": entry.version,
        "outcome": entry.facts.get("outcome"),
        "old": entry.old,
        "new": entry.new,
        "emergency": entry.facts.get("emergency", False),
        "who": entry.who,
        "why": entry.why,
    }
