"""A gate that does not fit its pipeline is told before anything runs."""

from __future__ import annotations

from typing import get_args

import pytest
from workshop import Workshop

from caderno.deliver.statistics import METRICS
from caderno.errors import InvalidPipeline
from caderno.spec.file import GateFile, Metric
from caderno.spec.gating import approvals

TASKS = """
data: {notebook: data.ipynb, outputs: {test: test.csv}}
several: {notebook: data.ipynb, matrix: {n: [1, 2]}, outputs: {test: "test-{n}.csv"}}
train: {notebook: train.ipynb, outputs: {model: mlflow-model}}
"""
GATE = "candidates: train.model, test: data.test, outcome: late, metric: roc_auc"


def problems(shop: Workshop, head: str) -> list[str]:
    shop.notebook("data.ipynb", "test: str = ''\nn: int = 0")
    shop.notebook("train.ipynb", "x: int = 0")
    shop.pipeline(TASKS, head)
    try:
        shop.load()
    except InvalidPipeline as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "head",
    [
        f"gate: {{{GATE}}}\n",
        f"gate: {{{GATE}, unit: day, margin: -0.01, equivalence: 0.002, latency: 50ms, size: 10M}}\n",
        f"gate: {{{GATE}, bounds: {{brier: {{max: 0.2}}}}, slices: {{shop: 0.01}}, contract: 'a.b:C'}}\n",
        f"gate: {{{GATE}, approvals: 0}}\ndelivery: automatic\n",
    ],
)
def test_a_gate_that_fits(shop: Workshop, head: str) -> None:
    assert problems(shop, head) == []


@pytest.mark.parametrize(
    ("head", "line", "told"),
    [
        (f"gate: {{{GATE.replace('train.model', 'trian.model')}}}", 2, "did you mean 'train'?"),
        (f"gate: {{{GATE.replace('train.model', 'train.modle')}}}", 2, "did you mean 'model'?"),
        (f"gate: {{{GATE.replace('train.model', 'data.test')}}}", 2, "data.test is no model"),
        (f"gate: {{{GATE.replace('data.test', 'train.model')}}}", 2, "train.model is a model, not a table"),
        (f"gate: {{{GATE.replace('data.test', 'several.test')}}}", 2, "task several has a matrix"),
        (f"gate: {{{GATE.replace('data.test', 'data')}}}", 2, "write TASK.OUTPUT"),
        (f"gate: {{{GATE}, metrik: brier}}", 2, "did you mean 'metric'?"),
        (f"gate: {{{GATE}, bounds: {{brier: {{most: 0.2}}}}}}", 2, "unknown key 'most' in gate.bounds.brier"),
        (f"gate: {{{GATE}, bounds: {{brier: {{}}}}}}", 2, "bounds nothing"),
        (f"gate: {{{GATE}, contract: checks}}", 2, "gate.contract"),
        (f"gate: {{{GATE}, equivalence: -0.1}}", 2, "gate.equivalence"),
        (f"gate: {{{GATE.replace('roc_auc', 'accuracy')}}}", 2, "'roc_auc', 'brier'"),
        ("gate: {candidates: train.model}", 2, "gate.test is missing"),
        ("delivery: automatic", 2, "nothing is promoted without a gate"),
        (f"gate: {{{GATE}}}\ndelivery: sometimes", 3, "'manual' or 'automatic'"),
    ],
)
def test_a_gate_that_does_not_fit_is_told_with_line_and_hint(shop: Workshop, head: str, line: int, told: str) -> None:
    found = problems(shop, f"{head}\n")
    assert any(f"tiny.yaml:{line}: " in one and told in one for one in found), found


def test_the_metrics_of_the_file_are_those_of_the_gate() -> None:
    assert set(get_args(Metric)) == set(METRICS)


@pytest.mark.parametrize(
    ("given", "delivery", "wanted"),
    [(None, "manual", 1), (None, "automatic", 0), (2, "manual", 2), (1, "automatic", 1)],
)
def test_how_many_must_approve(given: int | None, delivery: str, wanted: int) -> None:
    gate = GateFile(candidates="a.b", test="c.d", outcome="e", metric="brier", approvals=given)
    assert approvals(gate, delivery) == wanted
