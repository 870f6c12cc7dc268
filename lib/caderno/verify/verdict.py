"""What building a result once more has shown: as data, and on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.markup import escape
from rich.table import Table

from caderno.plan.records import TaskRecord
from caderno.run.console import ListingConsole, clean
from caderno.verify.closeness import State
from caderno.verify.conditions import listed
from caderno.verify.sameness import Printed

VerdictState = Literal["equal", "equal within tolerance", "differs", "failed"]
_MARKS = {
    "equal": ("✓", "green"),
    "equal within tolerance": ("≈", "green"),
    "differs": ("✗", "bold red"),
    "failed": ("✗", "bold red"),
}


@dataclass(frozen=True)
class Finding:
    """How one output, metric or cell of the rebuild compares with the record's. `text` says what differs first."""

    what: str  # "output table (table.parquet)", "metric auc", "cell 3"
    state: State
    text: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.text}"


@dataclass(frozen=True)
class Verdict:
    """What became of a rebuild: findings in order, outputs first; notes on the conditions it was made under.

    `conclusion` says why it differs: not deterministic, or what else is not as it was; empty where nothing differs.
    """

    state: VerdictState
    findings: tuple[Finding, ...]
    conclusion: str = ""
    notes: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the rebuild is what the record says, within tolerance."""
        return self.state in ("equal", "equal within tolerance")


def worst(findings: Iterable[Finding]) -> State:
    """Return the state of all findings together."""
    states = {finding.state for finding in findings}
    order: tuple[State, ...] = ("differs", "equal within tolerance", "equal")
    return next((state for state in order if state in states), "equal")


def first_of(findings: Iterable[Finding]) -> Finding | None:
    """Return what differs first, or None."""
    return next((finding for finding in findings if finding.state == "differs"), None)


def undetermined(between: Finding, printed: Printed | None) -> str:
    """Say that a notebook is not deterministic, given what differs first between two rebuilds of it."""
    text = f"not deterministic: two rebuilds differ from one another, first at {between}"
    if printed and not between.what.startswith("cell "):
        text += f"; the first cell that prints something else is cell {printed.number}: {printed.line}"
    return text


def determined(first: Finding, versions: Sequence[str], code: Sequence[str]) -> str:
    """Say what differs from the record, where two rebuilds are the same, and what may be the cause."""
    text = f"deterministic here: two rebuilds are the same. They differ from the record first at {first}"
    text += f"; versions that differ: {listed(versions)}" if versions else "; all versions are the same"
    return text + (f"; code that differs: {listed(code)}" if code else "")


def show(verdict: Verdict, record: TaskRecord) -> None:
    """Print a verdict on the result of `record`; equal metrics in one line."""
    console = ListingConsole()
    mark, style = _MARKS[verdict.state]
    commit = f", commit {record.git.commit[:12]}" if record.git else ""
    when = f"{record.started.astimezone():%Y-%m-%d %H:%M:%S}"
    console.print(
        f"[{style}]{mark} {verdict.state}[/]: [bold]{escape(record.task)}[/] {record.fingerprint[:16]}, "
        f"made {when} in run {escape(record.run)}{commit}"
    )
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for finding in _folded(verdict.findings):
        mark, style = _MARKS[finding.state]
        text = escape(clean(finding.text or finding.state))
        table.add_row(f"[{style}]{mark}[/]", escape(finding.what), text)
    console.print(table)
    if verdict.conclusion:
        console.print(escape(clean(verdict.conclusion)))
    for note in verdict.notes:
        console.print(f"[dim]note: {escape(clean(note))}[/]")


def _folded(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, with all metrics that are equal as one."""
    same = [one for one in findings if one.what.startswith("metric ") and one.state == "equal"]
    if len(same) <= 1:
        return list(findings)
    return [*(one for one in findings if one not in same), Finding(f"{len(same)} metrics", "equal")]
