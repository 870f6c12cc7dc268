"""The page of a decision of the gate: what follows, from which figures, and what a reviewer would sign.

It is made once, from the decision's record as JSON; it is what people read and sign, so nobody renews it later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caderno.project import Project
from caderno.report.disk import write
from caderno.report.frame import render
from caderno.report.text import file_name, number, result_name

SIGNS = {"promote": "✓", "hold": "‖", "refuse": "✕"}
_WIDTH = 320  # of the picture of intervals, in pixels
_EDGE = 6  # pixels that stay free at both sides; intervals of small slices may run over them
_LARGE = 0.02  # of the test rows: the scale fits the intervals of slices that have as many
_KNOWN = {  # how metrics are called
    "roc_auc": "ROC AUC",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "mean_absolute_error": "Mean absolute error",
    "root_mean_squared_error": "Root mean squared error",
    "calibration_slope": "Calibration slope",
    "calibration_in_the_large": "Calibration in the large",
}


@dataclass(frozen=True)
class Line:
    """One interval: its name, how many rows it is of, its ends as text, and in pixels; None where there is none."""

    name: str
    rows: int
    text: str
    low: float | None
    value: float | None
    high: float | None
    head: bool = False  # of all rows, before the slices


@dataclass(frozen=True)
class Picture:
    """Intervals on one scale: where 0 and the margin stand, and from where to where a difference counts as none."""

    lines: Sequence[Line]
    zero: float
    margin: float | None
    same: tuple[float, float] | None
    ends: tuple[str, str]
    width: int = _WIDTH


def decision_file(project: Project, pipeline: str, name: str) -> Path:
    """Return where the page of a decision stands in reports/, or will; its record as JSON stands beside it."""
    return project.reports / file_name(pipeline) / "decisions" / file_name(f"{name}.html")


def decision_page(decision: Mapping[str, Any]) -> str:
    """Return the page of a decision, given its record."""
    return render(
        "decision.html.j2",
        decision=decision,
        metric=_KNOWN.get(decision["metric"], decision["metric"]),
        picture=_picture(decision),
        figures=_figures(decision),
        verdicts=SIGNS,
        told=[one for one in decision["rules"] if not _passed_slice(one)],
        passed=sum(map(_passed_slice, decision["rules"])),
        page=result_name(decision["task"], decision["fingerprint"]),
    )


def write_models(project: Project, pipeline: str, told: Mapping[str, Any]) -> Path:
    """Write and return the page of a pipeline's model: its versions, and who did what."""
    page = project.reports / file_name(pipeline) / "models.html"
    versions = [{**one, "page": result_name(one["task"], one["fingerprint"])} for one in told["versions"]]
    write(page, render("models.html.j2", verdicts=SIGNS, **{**told, "versions": versions}))
    return page


def _passed_slice(rule: Mapping[str, Any]) -> bool:
    return bool(rule["kind"] == "slice" and rule["verdict"] == "promote")


def _figures(decision: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (metric, of the candidate, of the champion): first what was measured on the same rows, then the logged."""
    mine, other = decision["metrics"], decision["champion_metrics"]
    names = sorted(mine, key=lambda name: (name not in _KNOWN, name != decision["metric"]))
    told = [name for name in names if name in _KNOWN or name in decision["gate"]["bounds"]]
    return [(_KNOWN.get(name, name), _number(mine[name]), _number(other.get(name))) for name in told]


def _picture(decision: Mapping[str, Any]) -> Picture | None:
    """Return the intervals of all rows and of each slice on one scale; None without a champion.

    What is out of the scale is cut off at its edge; the figures stand beside it.
    """
    if decision["difference"] is None:
        return None
    every = [("all test rows", decision["test"]["rows"], decision["difference"], True)]
    every += [(f"{one['column']} {one['value']}", one["rows"], one["figures"], False) for one in decision["slices"]]
    margin, same = decision["gate"]["margin"], decision["gate"]["equivalence"]
    ends = [0.0, margin, same, -same]
    large = [one for _, rows, one, _ in every if rows >= _LARGE * decision["test"]["rows"]]
    ends += [float(one[end]) for one in large for end in ("low", "high") if one[end] is not None]
    least, most = min(ends), max(ends)
    scale = (_WIDTH - 2 * _EDGE) / ((most - least) or 1.0)

    def place(value: float | None) -> float | None:
        return None if value is None else round(min(max(_EDGE + (value - least) * scale, 0.0), _WIDTH), 1)

    lines = [
        Line(name, rows, _told(one), place(one["low"]), place(one["value"]), place(one["high"]), head)
        for name, rows, one, head in every
    ]
    zero = place(0.0) or 0.0
    return Picture(
        lines,
        zero,
        place(margin) if margin else None,
        (place(-same) or 0.0, place(same) or 0.0) if same else None,
        (f"{least:+.3f}", f"{most:+.3f}"),
    )


def _told(one: Mapping[str, Any]) -> str:
    if one["low"] is None:
        return "too few rows to tell"
    return f"{one['value']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})"


def _number(value: Any) -> str:
    return "" if value is None else number(float(value))
