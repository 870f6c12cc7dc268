"""The gate: whether a candidate may follow the champion. Pure: what was measured goes in, a decision comes out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from caderno.deliver.statistics import GREATER_IS_BETTER, Difference
from caderno.spec.file import GateFile

Outcome = Literal["promote", "hold", "refuse"]
Kind = Literal["check", "bound", "better", "slice"]


@dataclass(frozen=True)
class Bound:
    """What a metric must not fall below or rise above; None where that is free."""

    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Gate:
    """The rules of a pipeline.

    `metric` decides between candidate and champion. `margin` is by how much the candidate must be better for sure; a
    negative one lets in who is not worse by more than that. A difference that is for sure within ±`equivalence` counts
    as none. `bounds` are by metric, of the candidate alone. `slices` say by column how much worse the candidate may be
    within each of its values; it is refused where it is worse than that for sure.
    """

    metric: str
    margin: float = 0.0
    equivalence: float = 0.0
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    slices: Mapping[str, float] = field(default_factory=dict)


def rules(gate: GateFile) -> Gate:
    """Return the rules as the pipeline file has them."""
    bounds = {name: Bound(bound.min, bound.max) for name, bound in gate.bounds.items()}
    return Gate(gate.metric, gate.margin, gate.equivalence, bounds, gate.slices)


@dataclass(frozen=True)
class Evidence:
    """What was measured. Differences are candidate minus champion, on the same rows; None without a champion.

    `slices` are by column and value. `broken` are the checks that failed whatever the figures say: a contract of the
    data, the packaged model in a clean process; each in words.
    """

    metrics: Mapping[str, float]
    difference: Difference | None = None
    slices: Mapping[tuple[str, str], Difference] = field(default_factory=dict)
    broken: Sequence[str] = ()


@dataclass(frozen=True)
class Finding:
    """One rule with its figures: `verdict` is what follows from it alone."""

    rule: str
    verdict: Outcome
    figures: str
    kind: Kind = "bound"


@dataclass(frozen=True)
class Decision:
    """What the gate says, with each of its rules: the strictest verdict holds."""

    outcome: Outcome
    findings: tuple[Finding, ...]

    @property
    def why(self) -> str:
        """The findings that led to it, in one line; of a promotion the comparison, for all the others passed too."""
        telling = [one for one in self.findings if one.verdict == self.outcome]
        if self.outcome == "promote":
            telling = [one for one in telling if one.kind == "better"]
        return "; ".join(f"{one.rule}: {one.figures}" for one in telling)


_STRICTEST: tuple[Outcome, ...] = ("refuse", "hold", "promote")


def decide(evidence: Evidence, gate: Gate) -> Decision:
    """Return promote, hold or refuse.

    Refused is who breaks a bound or a check, or is worse for sure; held back is who may be better by chance alone, or
    is practically the same; the first model has nobody to beat.
    """
    findings = [
        *(Finding("check", "refuse", what, "check") for what in evidence.broken),
        *(_within(name, bound, evidence.metrics.get(name)) for name, bound in gate.bounds.items()),
        _better(evidence.difference, gate),
        *(_no_worse(where, found, gate) for where, found in evidence.slices.items()),
    ]
    outcome = next(verdict for verdict in _STRICTEST if any(one.verdict == verdict for one in findings))
    return Decision(outcome, tuple(findings))


def _within(name: str, bound: Bound, value: float | None) -> Finding:
    least = f"at least {bound.min:g}" if bound.min is not None else ""
    most = f"at most {bound.max:g}" if bound.max is not None else ""
    wanted = " and ".join(filter(None, (least, most)))
    if value is None or math.isnan(value):
        return Finding(f"bound of {name}", "refuse", f"not measured, wanted {wanted}")
    low = -math.inf if bound.min is None else bound.min
    high = math.inf if bound.max is None else bound.max
    verdict: Outcome = "promote" if low <= value <= high else "refuse"
    return Finding(f"bound of {name}", verdict, f"{value:.4g}, wanted {wanted}")


def _better(found: Difference | None, gate: Gate) -> Finding:
    rule = f"{gate.metric} against the champion"
    if found is None:
        return Finding(rule, "promote", "there is no champion yet", "better")
    gain = improvement(found, gate.metric)
    figures = _told(gain)
    if math.isnan(gain.low):
        return Finding(rule, "hold", "the interval is not defined on these rows", "better")
    if gate.equivalence > 0 and -gate.equivalence <= gain.low and gain.high <= gate.equivalence:
        return Finding(rule, "hold", f"{figures}: practically the same, within ±{gate.equivalence:g}", "better")
    if gain.low > gate.margin:
        return Finding(rule, "promote", f"{figures}: more than {gate.margin:g} for sure", "better")
    if gain.high < min(gate.margin, 0.0):
        return Finding(rule, "refuse", f"{figures}: worse for sure", "better")
    return Finding(rule, "hold", f"{figures}: not more than {gate.margin:g} for sure", "better")


def _no_worse(where: tuple[str, str], found: Difference, gate: Gate) -> Finding:
    column, value = where
    rule, margin, gain = (
        f"{gate.metric} where {column} is {value}",
        gate.slices[column],
        improvement(found, gate.metric),
    )
    if math.isnan(gain.low):
        return Finding(rule, "promote", "too few rows to tell", "slice")
    worse = gain.high < -margin
    end = f"worse by more than {margin:g} for sure" if worse else f"not worse by more than {margin:g} for sure"
    return Finding(rule, "refuse" if worse else "promote", f"{_told(gain)}: {end}", "slice")


def improvement(found: Difference, metric: str) -> Difference:
    """Return a difference turned so that more is better."""
    if metric in GREATER_IS_BETTER:
        return found
    return Difference(-found.value, -found.high, -found.low, found.confidence, found.units)


def _told(gain: Difference) -> str:
    return f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}, {100 * gain.confidence:.4g} %, {gain.units} units)"
