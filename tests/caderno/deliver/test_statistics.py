"""The statistics, against definitions and against other people's programs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from caderno.deliver import statistics as own
from caderno.deliver.statistics import Floats, bca, confidence_of, delong, difference


def sample(rows: int, units: int, seed: int = 0, ties: bool = False) -> tuple[Floats, Floats, Floats, Floats]:
    """Return outcome, two predictions and unit of each row; with `ties`, predictions of few values."""
    random = np.random.default_rng(seed)
    unit = random.integers(0, units, rows)
    truth = random.normal(size=rows) + random.normal(size=units)[unit]
    outcome = (random.random(rows) < 1 / (1 + np.exp(-truth))).astype(float)
    first, second = (1 / (1 + np.exp(-(truth + random.normal(size=rows)))) for _ in range(2))
    if ties:
        first, second = first.round(1).clip(0.05, 0.95), second.round(1).clip(0.05, 0.95)
    return outcome, first, second, unit


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("roc_auc", sk.roc_auc_score),
        ("brier", sk.brier_score_loss),
        ("log_loss", sk.log_loss),
        ("mean_absolute_error", sk.mean_absolute_error),
        ("root_mean_squared_error", sk.root_mean_squared_error),
    ],
)
def test_metrics_are_scikit_learns_under_any_weights_of_the_units(name: str, reference: object, ties: bool) -> None:
    outcome, score, _, unit = sample(400, 12, ties=ties)
    weights = np.random.default_rng(1).integers(0, 4, (5, 12)).astype(float)
    found = own.METRICS[name](outcome, score, unit)(weights)
    wanted = [reference(outcome, score, sample_weight=row[unit.astype(int)]) for row in weights]  # type: ignore[operator]
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_a_metric_that_is_not_defined_is_no_number() -> None:
    metric = own.roc_auc([1, 0, 1], [0.9, 0.1, 0.8], ["a", "a", "b"])
    np.testing.assert_array_equal(metric(np.array([[1.0, 1.0], [0.0, 1.0]])), [1.0, np.nan])


def test_the_interval_is_scipys_where_that_has_one() -> None:
    """SciPy's BCa bootstrap of a mean over units, with its own normal quantiles: many units, so that ours are those."""
    values = np.random.default_rng(3).gamma(2.0, size=400)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(4))
    zero = own.mean_of(np.zeros(400), np.arange(400))
    ours = difference(own.mean_of(values, np.arange(400)), zero, 400, draws=20_000)
    assert ours.value == pytest.approx(values.mean())
    low, high = theirs.confidence_interval
    width = high - low
    assert (ours.low, ours.high) == (pytest.approx(low, abs=0.03 * width), pytest.approx(high, abs=0.03 * width))


def test_models_are_judged_on_the_same_draws() -> None:
    """Two models that err alike on a hard day differ by far less than each varies."""
    outcome, first, _, unit = sample(3000, 30)
    other = own.brier(outcome, np.clip(first + 0.001, 0, 1), unit)
    found = difference(other, own.brier(outcome, first, unit), 30)
    alone = difference(own.brier(outcome, first, unit), own.mean_of(np.zeros(3000), unit), 30)
    assert found.high - found.low < (alone.high - alone.low) / 20


def test_the_same_model_differs_in_nothing() -> None:
    outcome, first, _, unit = sample(300, 10)
    metric = own.roc_auc(outcome, first, unit)
    found = difference(metric, metric, 10)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_the_interval_turns_with_the_question() -> None:
    outcome, first, second, unit = sample(2000, 25)
    a, b = own.log_loss(outcome, first, unit), own.log_loss(outcome, second, unit)
    one, other = difference(a, b, 25), difference(b, a, 25)
    assert other.value == pytest.approx(-one.value)
    assert other.low == pytest.approx(-one.high, abs=1e-3)


def test_one_unit_says_nothing() -> None:
    metric = own.mean_of([1.0, 2.0], ["a", "a"])
    with pytest.raises(ValueError, match="single unit"):
        difference(metric, metric, 1)


def test_no_draws_give_no_interval() -> None:
    assert all(np.isnan(bca(0.0, np.array([]), np.array([0.0, 1.0]), 0.95)))


# DeLong.


def brute_force(outcome: Floats, first: Floats, second: Floats) -> tuple[float, float]:
    """Return (difference of areas, its standard error) by the structural components of the paper's definition."""
    components = []
    for score in (first, second):
        x, y = score[outcome == 1][:, None], score[outcome == 0][None, :]
        kernel = (x > y) + 0.5 * (x == y)
        components.append((kernel.mean(axis=1), kernel.mean(axis=0)))
    (v1, w1), (v2, w2) = components
    s10, s01 = np.cov(np.array([v1, v2])), np.cov(np.array([w1, w2]))
    s = s10 / len(v1) + s01 / len(w1)
    return float(v1.mean() - v2.mean()), float(np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1]))


@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_what_the_paper_defines(ties: bool) -> None:
    outcome, first, second, _ = sample(300, 300, seed=5, ties=ties)
    found = delong(outcome, first, second)
    value, error = brute_force(outcome, first, second)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.high - found.low == pytest.approx(2 * stats.norm.ppf(0.975) * error, rel=1e-9)


def test_delong_and_the_bootstrap_agree_where_rows_are_independent() -> None:
    outcome, first, second, _ = sample(600, 600, seed=6)
    rows = np.arange(600)
    drawn = difference(own.roc_auc(outcome, first, rows), own.roc_auc(outcome, second, rows), 600)
    exact = delong(outcome, first, second)
    assert drawn.low == pytest.approx(exact.low, abs=0.1 * (exact.high - exact.low))
    assert drawn.high == pytest.approx(exact.high, abs=0.1 * (exact.high - exact.low))


def test_delong_needs_two_of_each() -> None:
    with pytest.raises(ValueError, match="two positives"):
        delong([1, 0, 0], [1, 2, 3], [1, 2, 3])


# Asked again and again.


def test_the_errors_of_all_looks_add_up_to_the_one_that_is_allowed() -> None:
    errors = [1 - confidence_of(look) for look in range(1, 10_001)]
    assert errors[0] == pytest.approx(0.025)
    assert sum(errors) == pytest.approx(0.05, rel=1e-3)
    assert sum(errors) < 0.05


@given(st.integers(1, 50), st.floats(0.001, 0.5))
def test_each_look_is_judged_more_strictly_than_the_one_before(look: int, error: float) -> None:
    assert confidence_of(look + 1, error) > confidence_of(look, error) >= 1 - error
