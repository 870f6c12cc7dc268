"""What can be wrong with data from elsewhere.

    FlightsError
    ├── DayError               the day of a run is none, or there are no data for it
    ├── SourceError            a source cannot be read as what it should be: missing, empty, cut off, of another shape
    │   └── UnavailableError   a service or database did not answer, after all attempts
    └── ContractError          it can be read, but its content breaks the contract; lists every breach

All are `ValueError`s too. Each says which file, URL or day, what is wrong with it, and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass


class FlightsError(ValueError):
    """Anything that stops work on flights because of the data, not of the code."""


class DayError(FlightsError):
    """A run of the day `day` can't be: `problem` says why, `remedy` what to do."""

    def __init__(self, day: str, problem: str, remedy: str) -> None:
        super().__init__(f"{day}: {problem}\nWhat to do: {remedy}")
        self.day, self.problem, self.remedy = day, problem, remedy


class SourceError(FlightsError):
    """A source (`source`: path or URL) cannot be read: `problem` says why, `remedy` what to do."""

    def __init__(self, source: object, problem: str, remedy: str) -> None:
        super().__init__(f"{source}: {problem}\nWhat to do: {remedy}")
        self.source, self.problem, self.remedy = str(source), problem, remedy


class UnavailableError(SourceError):
    """A service or a database did not answer in time, however often it was asked."""


@dataclass(frozen=True)
class Breach:
    """One rule that a table breaks: in which column (None: the table), how often (None: once for all), examples."""

    column: str | None
    rule: str
    count: int | None = None
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        thing = "value" if self.column else "row"
        times = "" if self.count is None else f" ({self.count:,} {thing if self.count == 1 else f'{thing}s'})"
        shown = f", e.g. {'; '.join(self.examples)}" if self.examples else ""
        return f"{self.column or 'table'}: {self.rule}{times}{shown}"


class ContractError(FlightsError):
    """A table from `source` breaks the contract named `contract`; `breaches` holds all of them."""

    def __init__(self, source: object, contract: str, breaches: tuple[Breach, ...]) -> None:
        one = len(breaches) == 1
        head = f"{source}: breaks the contract “{contract}” in {len(breaches)} {'point' if one else 'points'}"
        tail = (
            "What to do: ask for a corrected delivery; if the change is meant to stay, adapt the contract "
            "in lib/flights/schemas.\nNothing was written."
        )
        super().__init__("\n".join([head, *(f"  - {breach}" for breach in breaches), tail]))
        self.source, self.contract, self.breaches = str(source), contract, breaches
