"""The statistics, against definitions and against other people's programs."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression

from caderno.deliver import statistics as own
from caderno.deliver.statistics import Difference, Floats, confidence_of, delong, difference


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


def half(found: Difference) -> float:
    """Return how far the interval goes to either side."""
    assert found.high - found.value == pytest.approx(found.value - found.low)
    return (found.high - found.low) / 2


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999])
def test_the_interval_of_a_mean_is_students(confidence: float) -> None:
    values = np.random.default_rng(3).gamma(2.0, size=12)
    zero = own.mean_of(np.zeros(12), np.arange(12))
    ours = difference(own.mean_of(values, np.arange(12)), zero, 12, confidence, draws=100_000)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert ours.value == pytest.approx(values.mean())
    assert half(ours) == pytest.approx((theirs.high - theirs.low) / 2, rel=0.01)


def test_the_standard_error_is_that_of_scipys_bootstrap() -> None:
    """The root of a mean square, which is no mean: drawn anew by SciPy from the same units of one row."""
    values = np.random.default_rng(3).gamma(2.0, size=200)
    theirs = stats.bootstrap(
        (values,), lambda x, axis: np.sqrt((x**2).mean(axis=axis)), n_resamples=20_000, rng=np.random.default_rng(4)
    )
    metric = own.root_mean_squared_error(np.zeros(200), values, np.arange(200))
    ours = difference(metric, own.mean_of(np.zeros(200), np.arange(200)), 200, draws=20_000)
    assert half(ours) == pytest.approx(stats.t.ppf(0.975, 199) * theirs.standard_error, rel=0.03)


def clustered_error(outcome: Floats, first: Floats, second: Floats, unit: Floats) -> float:
    """Return the standard error of the difference of two areas, each unit having rows of both outcomes.

    By N. A. Obuchowski, "Nonparametric Analysis of Clustered ROC Curve Data", Biometrics 53, 1997, whose sums over a
    cluster are linear in DeLong's components, so that those of the difference are the differences of the components.
    """
    components = []
    for score in (first, second):
        x, y = score[outcome == 1][:, None], score[outcome == 0][None, :]
        kernel = (x > y) + 0.5 * (x == y)
        components.append((kernel.mean(axis=1), kernel.mean(axis=0)))
    above, below = components[0][0] - components[1][0], components[0][1] - components[1][1]
    value, clusters = above.mean(), len(np.unique(unit))
    of_positives, of_negatives = unit[outcome == 1].astype(int), unit[outcome == 0].astype(int)
    x = np.bincount(of_positives, above - value, clusters) / len(above)
    y = np.bincount(of_negatives, below - value, clusters) / len(below)
    return float(np.sqrt(clusters / (clusters - 1) * ((x + y) ** 2).sum()))


def test_the_standard_error_of_areas_is_obuchowskis() -> None:
    outcome, first, second, unit = sample(4000, 80, seed=8)
    found = difference(own.roc_auc(outcome, first, unit), own.roc_auc(outcome, second, unit), 80, draws=20_000)
    error = clustered_error(outcome, first, second, unit)
    assert half(found) == pytest.approx(stats.t.ppf(0.975, 79) * error, rel=0.03)


def test_what_no_draw_shows_is_answered_soon() -> None:
    """The error of the 20th question, shared by five candidates: 2 in 100,000, of 2000 draws of a year's days."""
    outcome, first, second, unit = sample(20_000, 365, seed=9)
    both = own.roc_auc(outcome, first, unit), own.roc_auc(outcome, second, unit)
    began = time.process_time()
    found = [difference(*both, 365, confidence) for confidence in (0.95, 0.9999, 1 - (1 - confidence_of(20)) / 5)]
    assert time.process_time() - began < 10
    widths = [half(one) for one in found]
    assert [width / widths[0] for width in widths] == pytest.approx([1, 2.0006, 2.1770], abs=1e-4)
    assert [one.value for one in found] == [found[0].value] * 3


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
    assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low))


def test_one_unit_says_nothing() -> None:
    metric = own.mean_of([1.0, 2.0], ["a", "a"])
    with pytest.raises(ValueError, match="single unit"):
        difference(metric, metric, 1)


def test_where_draws_often_lack_a_positive_there_is_no_interval() -> None:
    """Of 30 days, 1, 2, 3 or 10 have positives: 36, 13, 4 and 0 of 100 draws have none."""
    random = np.random.default_rng(6)
    unit = np.repeat(np.arange(30), 20)
    zero = own.mean_of(np.zeros(600), unit)
    told = []
    for days in (1, 2, 3, 10):
        outcome = (unit < days) & (np.arange(600) % 2 == 0)
        found = difference(own.roc_auc(outcome, random.normal(size=600), unit), zero, 30)
        assert 0 < found.value < 1
        told.append(bool(np.isfinite(found.low) and np.isfinite(found.high)))
    assert told == [False, False, True, True]


# Calibration.


def test_the_slope_is_that_of_scikit_learns_regression() -> None:
    outcome, score, _, unit = sample(600, 12, seed=2)
    weights = np.random.default_rng(1).integers(0, 4, (4, 12)).astype(float)
    logit = np.log(score / (1 - score))[:, None]
    found = own.calibration_slope(outcome, score, unit)(weights)
    for slope, row in zip(found, weights, strict=True):
        regression = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        regression.fit(logit, outcome, sample_weight=row[unit.astype(int)])
        assert slope == pytest.approx(regression.coef_[0, 0], rel=1e-5)


@pytest.mark.parametrize("times", [0.02, 0.5, 1.0, 3.0, 8.0])
def test_who_is_too_sure_has_a_smaller_slope(times: float) -> None:
    """A logit that is taken `times` its true value has a slope of 1 / `times`, whatever else."""
    random = np.random.default_rng(5)
    logit = random.normal(-1, 1.5, 20_000)
    outcome = random.random(20_000) < 1 / (1 + np.exp(-logit))
    said = 1 / (1 + np.exp(-np.clip(times * logit, -33, 33)))
    slope = own.calibration_slope(outcome, said, np.zeros(20_000))(np.ones((1, 1)))[0]
    assert slope == pytest.approx(1 / times, rel=0.05)


def test_a_table_has_the_slope_of_its_odds() -> None:
    """Of two probabilities, the slope is the difference of the seen log odds over that of the said ones."""
    said = np.repeat([0.2, 0.6], [50, 40])
    outcome = np.concatenate([np.arange(50) < 20, np.arange(40) < 30])
    slope = own.calibration_slope(outcome, said, np.zeros(90))(np.ones((1, 1)))[0]
    assert slope == pytest.approx((np.log(30 / 10) - np.log(20 / 30)) / (np.log(0.6 / 0.4) - np.log(0.2 / 0.8)))


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ([1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4]),  # nothing but positives
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]),  # parted
        ([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3]),  # always the same
        ([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]),  # certain, and right
    ],
)
def test_where_no_slope_fits_best_there_is_none(outcome: list[int], said: list[float]) -> None:
    assert np.isnan(own.calibration_slope(outcome, said, np.zeros(4))(np.ones((1, 1)))[0])
    assert np.isnan(own.calibration_slope(outcome, said, np.zeros(4))(np.zeros((1, 1)))[0])


def test_calibration_in_the_large_is_by_how_much_is_said_too_much() -> None:
    found = own.calibration_in_the_large([0, 1, 0, 0], [0.5, 0.5, 0.2, 0.4], ["a", "a", "b", "b"])
    np.testing.assert_allclose(found(np.array([[1.0, 1.0], [0.0, 1.0]])), [0.15, 0.3])


def test_what_describes_does_not_decide() -> None:
    assert not set(own.DESCRIBING) & set(own.METRICS)


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


# The 43 complete rows (albumin, total protein, K-G score, popind) of the paper's own example, and what is published of
# them: SAS/STAT User's Guide, "The LOGISTIC Procedure", example "Comparing Receiver Operating Characteristic Curves".
OVARIAN = """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
    3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
    2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
    3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
    3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
    3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""
ALBUMIN, PROTEIN, SCORE, POPIND = np.array(OVARIAN.split(), float).reshape(-1, 4).T


@pytest.mark.parametrize(
    ("test", "area", "error", "low", "high"),
    [
        (-ALBUMIN, 0.7366, 0.0927, 0.5549, 0.9182),
        (SCORE, 0.7258, 0.1028, 0.5243, 0.9273),
        (-PROTEIN, 0.6478, 0.1000, 0.4518, 0.8439),
    ],
)
def test_delong_gives_the_published_areas(test: Floats, area: float, error: float, low: float, high: float) -> None:
    """Against a score that says nothing, whose area is 0.5 without error."""
    found = delong(POPIND == 0, test, np.zeros(43))
    assert (found.value + 0.5, found.low + 0.5, found.high + 0.5) == pytest.approx((area, low, high), abs=5e-5)
    assert half(found) / stats.norm.ppf(0.975) == pytest.approx(error, abs=5e-5)


@pytest.mark.parametrize(
    ("test", "value", "error", "low", "high", "p"),
    [(-ALBUMIN, 0.0108, 0.0953, -0.1761, 0.1976, 0.9102), (-PROTEIN, -0.0780, 0.1046, -0.2830, 0.1271, 0.4561)],
)
def test_delong_gives_the_published_differences(
    test: Floats, value: float, error: float, low: float, high: float, p: float
) -> None:
    """Each test of nutrition against the K-G score."""
    found = delong(POPIND == 0, test, SCORE)
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high), abs=5e-5)
    spread = half(found) / stats.norm.ppf(0.975)
    assert spread == pytest.approx(error, abs=5e-5)
    assert 2 * stats.norm.sf(abs(found.value) / spread) == pytest.approx(p, abs=5e-5)


def test_delong_gives_the_published_area_of_ratings() -> None:
    """109 CT images rated 1 to 5 in J. A. Hanley, B. J. McNeil, Radiology 143, 1982, whose table has the area 0.893.

    DeLong's standard error of it is 0.0307 in Stata's manual of `roctab`.
    """
    normal, abnormal = (np.repeat(np.arange(1, 6), count) for count in ([33, 6, 6, 11, 2], [3, 2, 2, 11, 33]))
    outcome = np.repeat([0, 1], [len(normal), len(abnormal)])
    found = delong(outcome, np.concatenate([normal, abnormal]), np.zeros(len(outcome)))
    assert found.value + 0.5 == pytest.approx(0.8932, abs=5e-5)
    assert half(found) / stats.norm.ppf(0.975) == pytest.approx(0.0307, abs=5e-5)


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
