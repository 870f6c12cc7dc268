"""Champion and challenger side by side, and how far features have moved, on the terminal."""

from __future__ import annotations

from rich.markup import escape

from caderno.run.console import ListingConsole, new_table
from caderno.serve.comparison import Agreement, Comparison, Latency
from caderno.serve.drift import MUCH, SOME, Drift, Word

_WORDS: dict[Word, str] = {
    "stable": "[green]stable[/]",
    "chance": "[dim]no more than chance[/]",
    "some": "[yellow]some change[/]",
    "much": "[bold red]much change[/]",
}
_SHOWN = 15  # features


def show_comparison(found: Comparison, every: bool) -> None:
    """Print a comparison: scores, latency, features, what is not in the log, what could not be told."""
    console = ListingConsole()
    against = f" against challenger v{found.challenger}" if found.challenger else ""
    since = found.since[:16].replace("T", " ")
    console.print(f"[bold]{escape(found.model)}[/]: champion v{found.champion}{against}, since {since} (UTC)\n")
    if found.agreement:
        _show_agreement(console, found.agreement, found.requests, found.latency)
    if found.drift:
        _show_drift(console, found, every)
    for lost in found.lost:
        what = "answers in shadow" if lost.kind == "shadow" else "predictions"
        console.print(f"[yellow]lost:[/] {lost.rows:,} rows of {what}: {escape(lost.why)}")
    for note in found.notes:
        console.print(f"[dim]note:[/] {escape(note)}")


def _show_agreement(console: ListingConsole, one: Agreement, requests: int, latency: dict[str, Latency]) -> None:
    console.print(f"{one.rows:,} rows of {requests:,} requests were answered by both")
    table = new_table("", "mean", "median", "90 %", "99 %", "most")
    figures = (f"{value:.4f}" for value in (one.mean, one.median, one.p90, one.p99, one.most))
    table.add_row("difference of scores, absolute", *figures)
    for who, seconds in latency.items():
        table.add_row(f"ms a request, {who}", "", f"{seconds.median * 1000:.1f}", "", f"{seconds.p99 * 1000:.1f}", "")
    console.print(table)
    also = [f"correlation {one.correlation:.4f}"] if one.correlation is not None else []
    also += [f"same side of 0.5: {one.same_side:.2%}"] if one.same_side is not None else []
    console.print("; ".join(also) + "\n")


def _show_drift(console: ListingConsole, found: Comparison, every: bool) -> None:
    console.print(
        f"{found.served:,} logged rows against {found.reference_rows:,} that the champion learned from "
        f"[dim]({escape(', '.join(found.reference))})[/]"
    )
    moved = [one for one in found.drift if one.word in ("some", "much")]
    shown = found.drift if every else found.drift[: max(_SHOWN, len(moved))]
    table = new_table("feature", "PSI", "", "missing then", "now")
    for one in shown:
        table.add_row(*_row(one))
    console.print(table)
    if rest := len(found.drift) - len(shown):
        console.print(f"[dim]and {rest} more (--all), none farther than {shown[-1].psi:.3f}[/]")
    rule = f"below {SOME:g} little has changed, from {MUCH:g} on much (Siddiqi 2006)"
    console.print(f"[dim]PSI: population stability index; {rule}[/]\n")


def _row(one: Drift) -> tuple[str, ...]:
    return escape(one.feature), f"{one.psi:.3f}", _WORDS[one.word], *(f"{share:.1%}" for share in one.missing)
