"""Where the truth is known: do intervals hold it, and how often is a model promoted that is no better?

`make bench CASE=gate` says the same with more repetitions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import chance
from chance import CHAMPION, Rows


def test_the_true_figures_are_those_of_very_many_days() -> None:
    made = chance.simulate(np.random.default_rng(1), 10_000, 50)
    for auc in (CHAMPION, CHAMPION + 0.05):
        score = made.score(auc)
        assert sk.roc_auc_score(made.late, score) == pytest.approx(auc, abs=0.004)
        said = chance.probability(score, auc)
        assert sk.brier_score_loss(made.late, said) == pytest.approx(chance.brier(auc), abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("days", "gain", "rough"), [(30, 0.0, False), (30, 0.016, False), (30, 0.0, True), (90, 0.01, False)]
)
def test_an_interval_of_95_percent_holds_the_truth_as_often(days: int, gain: float, rough: bool) -> None:
    for share in chance.coverage(days, gain, 600, rough).values():
        assert 0.92 <= share <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the same rows", "new rows"])
def test_asked_20_times_chance_says_yes_in_at_most_5_percent(how: Rows) -> None:
    """Who asked at 95 % each time would be misled far more often, so that this many repetitions can tell."""
    once, ever, careless = chance.misled(how, 200, draws=600)
    assert once <= ever <= 0.05
    assert careless > 0.1


@pytest.mark.slow
def test_a_gain_is_seen_in_a_quarter_of_a_year_and_hardly_in_a_month() -> None:
    assert chance.power(90, 0.016, 60) > 0.85
    assert chance.power(30, 0.005, 60) < 0.25
