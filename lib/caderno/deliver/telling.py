"""Decisions, versions and the ledger on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from caderno import report
from caderno.deliver.decisions import DecisionRecord
from caderno.deliver.ledger import Row
from caderno.deliver.standing import Standing, Version
from caderno.deliver.statistics import METRICS
from caderno.run.console import ListingConsole, new_table

if TYPE_CHECKING:
    from caderno.deliver.delivery import Delivery

_STYLES = {"promote": "green", "hold": "yellow", "refuse": "bold red"}


def verdict(outcome: str) -> str:
    """Return an outcome as it is coloured."""
    return f"[{_STYLES.get(outcome, 'dim')}]{outcome or 'not decided'}[/]"


def show_decision(decision: DecisionRecord, new: bool, page: str, option: str) -> None:
    """Print a decision: the outcome, each rule that matters, and where to read more.

    `option` is how the pipeline was named, for the next command; "" where it needed no name.
    """
    console = ListingConsole()
    champion = f"champion: version {decision.champion}" if decision.champion else "no champion yet"
    console.print(
        f"{escape(decision.model)} version {decision.version} ({escape(decision.task)}), {champion}: "
        f"{verdict(decision.outcome)}{'' if new else ', as decided before: nothing has changed since'}\n"
    )
    table = new_table("", "rule", "figures")
    passed = 0
    for one in decision.rules:
        if one.verdict == "promote" and one.kind == "slice":
            passed += 1
            continue
        table.add_row(verdict(one.verdict), escape(one.rule), escape(one.figures))
    if passed:
        table.add_row(verdict("promote"), f"{passed} slices", "not worse by more than allowed for sure")
    console.print(table)
    console.print(f"\nreport: {page}")
    console.print(f"[dim]next:[/] {escape(_next(decision, option))}")


def _next(decision: DecisionRecord, option: str) -> str:
    match decision.outcome:
        case "promote" if decision.approvals:
            return f'read it, then caderno approve {decision.version}{option} --why "…" (or refuse)'
        case "promote":
            return f'caderno promote {decision.version}{option} --why "…"'
        case "hold":
            return "make it better, or gather more test rows; caderno models"
        case _:
            return f"mend what is refused, caderno run{option}, caderno release{option}"


def models(delivery: Delivery, now: Standing, lacking: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the versions of a model as JSON has them, the oldest first; `lacking` is what a version lacks, by number.

    `report` is the page of the last decision, relative to the project's root.
    """
    return {
        "model": delivery.model,
        "champion": now.champion,
        "challenger": now.challenger,
        "approvals": delivery.wanted.approvals,
        "four_eyes": delivery.wanted.four_eyes,
        "versions": [
            {key: version.released.entry.facts[key] for key in ("task", "fingerprint", "run", "commit", "authors")}
            | {"version": number, "released": version.released.entry.time, "lacking": lacking.get(number)}
            | _decided(delivery, version)
            for number, version in sorted(now.versions.items(), key=lambda one: int(one[0]))
        ],
    }


def _decided(delivery: Delivery, version: Version) -> dict[str, Any]:
    if version.decided is None:
        return {"outcome": None}
    entry = version.decided.entry
    page = report.decision_file(delivery.project, delivery.pipeline.name, str(entry.facts["decision"]))
    return {
        "outcome": version.outcome,
        "why": entry.why,
        "metrics": entry.facts["metrics"],
        "report": delivery.project.relative(page),
        "signed": [
            {"action": one.action, "who": one.who, "why": one.why, "time": one.time}
            for one in (row.entry for row in version.signed)
        ],
    }


def show_models(model: str, now: Standing, lacking: Mapping[str, Sequence[str]], option: str) -> None:
    """Print the versions of a model, the newest first: aliases, metrics, gate and approvals."""
    console = ListingConsole()
    if not now.versions:
        console.print(f"{escape(model)}: nothing was released yet (caderno release)")
        return
    table = new_table("version", "alias", "task", "metrics", "gate", "signed", "released")
    for number in sorted(now.versions, key=int, reverse=True):
        version = now.versions[number]
        alias = "champion" if number == now.champion else "challenger" if number == now.challenger else ""
        before = "was champion" if not alias and number in now.champions else ""
        entry = version.released.entry
        table.add_row(
            f"v{number}",
            f"[bold]{alias}[/]" if alias else f"[dim]{before}[/]",
            escape(str(entry.facts["task"])),
            _metrics(version),
            verdict(version.outcome),
            escape("; ".join(f"{_SIGNED[row.entry.action]} {row.entry.who}" for row in version.signed)),
            entry.time[:16].replace("T", " "),
        )
    console.print(table)
    if now.challenger:
        missing = lacking.get(now.challenger, [])
        told = "; ".join(missing) if missing else f"nothing: caderno promote{option}"
        console.print(f"\n[dim]v{now.challenger} lacks:[/] {escape(told)}")


_SIGNED = {"approve": "✓", "refuse": "✕"}


def _metrics(version: Version) -> str:
    metrics: Mapping[str, Any] = version.decided.entry.facts["metrics"] if version.decided else {}
    return "  ".join(f"{name} {metrics[name]:.4f}" for name in METRICS if name in metrics)


def show_history(rows: Sequence[Row]) -> None:
    """Print rows of the ledger, the oldest first: who did what, when and why."""
    console = ListingConsole()
    if not rows:
        console.print("nothing was released yet (caderno release)")
        return
    table = new_table("row", "when (UTC)", "what", "model", "who", "why")
    for row in rows:
        entry = row.entry
        table.add_row(
            str(row.place),
            entry.time[:16].replace("T", " "),
            _what(row),
            escape(f"{entry.model} v{entry.version}"),
            escape(entry.who),
            escape(entry.why),
        )
    console.print(table)


def _what(row: Row) -> str:
    entry = row.entry
    if entry.action == "decide":
        return f"decide: {verdict(str(entry.facts['outcome']))}"
    if entry.new is None:
        return entry.action
    emergency = " [bold red]EMERGENCY[/]" if entry.facts.get("emergency") else ""
    return f"[bold]{entry.action}[/] {f'v{entry.old}' if entry.old else 'none'} → v{entry.new}{emergency}"
