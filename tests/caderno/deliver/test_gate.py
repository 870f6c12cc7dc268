"""What the gate decides, rule by rule."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caderno.deliver.gate import Bound, Evidence, Gate, decide
from caderno.deliver.statistics import Difference

NAN = math.nan


def gain(low: float, high: float) -> Difference:
    return Difference((low + high) / 2, low, high, 0.95, 30)


def outcome(evidence: Evidence, **rules: Any) -> str:
    return decide(evidence, Gate(**{"metric": "roc_auc", **rules})).outcome


def against(low: float, high: float, **rules: Any) -> str:
    return outcome(Evidence({}, gain(low, high)), **rules)


def test_the_first_model_has_nobody_to_beat() -> None:
    assert outcome(Evidence({"roc_auc": 0.7})) == "promote"


@pytest.mark.parametrize(
    ("low", "high", "rules", "wanted"),
    [
        (0.01, 0.03, {}, "promote"),
        (-0.01, 0.03, {}, "hold"),
        (-0.03, -0.01, {}, "refuse"),
        (0.0, 0.03, {}, "hold"),  # better for sure is more than nothing
        (0.01, 0.03, {"margin": 0.02}, "hold"),
        (0.021, 0.03, {"margin": 0.02}, "promote"),
        (-0.004, 0.03, {"margin": -0.005}, "promote"),  # not worse within a margin
        (-0.006, 0.03, {"margin": -0.005}, "hold"),
        (-0.03, -0.004, {"margin": -0.005}, "hold"),
        (-0.03, -0.006, {"margin": -0.005}, "refuse"),
        (0.0001, 0.0019, {"equivalence": 0.002}, "hold"),  # sure, but of no use
        (0.0001, 0.0021, {"equivalence": 0.002}, "promote"),
        (-0.0019, -0.0001, {"equivalence": 0.002}, "hold"),
        (NAN, NAN, {}, "hold"),
    ],
)
def test_a_candidate_must_be_better_for_sure(low: float, high: float, rules: dict[str, float], wanted: str) -> None:
    assert against(low, high, **rules) == wanted


@pytest.mark.parametrize(("low", "high", "wanted"), [(-0.03, -0.01, "promote"), (0.01, 0.03, "refuse")])
def test_of_an_error_less_is_better(low: float, high: float, wanted: str) -> None:
    assert against(low, high, metric="brier") == wanted


@pytest.mark.parametrize(
    ("value", "bound", "wanted"),
    [
        (0.7, Bound(0.7, None), "promote"),
        (0.69, Bound(0.7, None), "refuse"),
        (0.2, Bound(None, 0.2), "promote"),
        (0.21, Bound(None, 0.2), "refuse"),
        (1.3, Bound(0.8, 1.25), "refuse"),
        (NAN, Bound(0.7, None), "refuse"),
        (None, Bound(0.7, None), "refuse"),
    ],
)
def test_bounds_refuse_whoever_the_champion_is(value: float | None, bound: Bound, wanted: str) -> None:
    metrics = {} if value is None else {"x": value}
    assert outcome(Evidence(metrics), bounds={"x": bound}) == wanted
    assert outcome(Evidence(metrics, gain(0.01, 0.02)), bounds={"x": bound}) == wanted


def test_a_slice_in_which_it_is_worse_refuses_a_better_candidate() -> None:
    better = Evidence({}, gain(0.01, 0.02), {("origin", "JFK"): gain(-0.05, -0.03), ("origin", "LGA"): gain(0, 0.1)})
    assert outcome(better, slices={"origin": 0.02}) == "refuse"
    assert outcome(better, slices={"origin": 0.04}) == "promote"
    few = Evidence({}, gain(0.01, 0.02), {("origin", "JFK"): gain(NAN, NAN)})
    assert outcome(few, slices={"origin": 0.02}) == "promote"


def test_a_broken_check_refuses() -> None:
    assert outcome(Evidence({}, gain(0.01, 0.02), broken=["does not load in a clean process"])) == "refuse"


def test_each_rule_comes_with_its_figures_and_the_strictest_holds() -> None:
    evidence = Evidence({"roc_auc": 0.65}, gain(-0.01, 0.03))
    decision = decide(evidence, Gate("roc_auc", bounds={"roc_auc": Bound(0.7)}))
    assert [(one.rule, one.verdict) for one in decision.findings] == [
        ("bound of roc_auc", "refuse"),
        ("roc_auc against the champion", "hold"),
    ]
    assert decision.why == "bound of roc_auc: 0.65, wanted at least 0.7"
    assert "+0.0100 (-0.0100 to +0.0300, 95 %, 30 units): not more than 0 for sure" in decision.findings[1].figures


ENDS = st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)).map(sorted)


@given(ENDS, st.floats(0, 0.05), st.floats(-0.05, 0.05), st.floats(0, 0.05))
def test_a_better_interval_is_never_judged_worse(
    ends: list[float], more: float, margin: float, equivalence: float
) -> None:
    order = ["refuse", "hold", "promote"]
    rules = {"margin": margin, "equivalence": equivalence}
    before, after = against(*ends, **rules), against(ends[0] + more, ends[1] + more, **rules)
    assert order.index(after) >= order.index(before)
