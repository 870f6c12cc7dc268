"""Metrics agree with scikit-learn's, under weights too; intervals are as wide as days make them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from flights.calibration import curve, recalibrate
from flights.evaluate import METRICS, Scores, by_group, compare, differences, interval, resamples, written

DAYS = 6


def sample(seed: int, flights: int = 300, distinct: int | None = None, days: int = DAYS):
    """Outcomes, probabilities (with ties where `distinct` says how many values there are) and days."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.02, 0.9, flights)
    if distinct:
        p = np.round(p * distinct) / (distinct + 1)
    return rng.random(flights) < p, p, rng.integers(0, days, flights)


weightings = st.lists(st.integers(0, 4), min_size=DAYS, max_size=DAYS)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([None, 3, 20]), weightings)
def test_metrics_under_weights_of_days_are_those_of_scikit_learn(seed, distinct, weights):
    late, p, day = sample(seed, distinct=distinct)
    weight = np.array(weights)[day]
    if len(set(late[weight > 0])) < 2:
        return
    found = Scores.of(late, p, day).metrics(np.array([weights], float))
    assert found["roc_auc"][0] == pytest.approx(roc_auc_score(late, p, sample_weight=weight), rel=1e-12)
    assert found["brier"][0] == pytest.approx(brier_score_loss(late, p, sample_weight=weight), rel=1e-12)
    expected = log_loss(late, np.clip(p, 1e-6, 1 - 1e-6), sample_weight=weight, labels=[False, True])
    assert found["log_loss"][0] == pytest.approx(expected, rel=1e-9)


def test_weights_mean_repeated_rows():
    late, p, day = sample(1)
    weights = np.array([0, 1, 3, 2, 0, 1])
    rows = np.repeat(np.arange(len(late)), weights[day])
    repeated = Scores.of(late[rows], p[rows], day[rows]).point()
    weighted = Scores.of(late, p, day).metrics(weights[None].astype(float))
    assert {name: values[0] for name, values in weighted.items()} == pytest.approx(repeated, rel=1e-12)


def test_precision_looks_at_the_fifth_with_the_highest_risk():
    p = np.linspace(0, 1, 100)
    late = np.zeros(100, bool)
    late[[99, 98, 97, 85, 40]] = True
    scores = Scores.of(late, p, np.zeros(100))
    assert scores.point()["precision_top20"] == pytest.approx(4 / 20)


def test_a_tie_at_the_edge_of_the_fifth_counts_in_part():
    late = np.array([True] * 10 + [False] * 10 + [True] * 40 + [False] * 40)
    p = np.array([0.9] * 10 + [0.5] * 10 + [0.5] * 40 + [0.1] * 40)  # ten at the top, ten of the fifty tied
    assert Scores.of(late, p, np.zeros(100)).point()["precision_top20"] == pytest.approx((10 + 10 * 40 / 50) / 20)


def test_equal_probabilities_say_nothing():
    late = np.array([True, False, False, False, False])
    found = Scores.of(late, np.full(5, 0.3), np.arange(5)).point()
    assert found["roc_auc"] == 0.5
    assert found["precision_top20"] == pytest.approx(0.2)


def test_a_sample_without_late_flights_has_no_roc_auc():
    late = np.array([True, False, False])
    scores = Scores.of(late, np.array([0.5, 0.4, 0.3]), np.array([0, 1, 1]))
    assert np.isnan(scores.roc_auc(np.array([[0.0, 2.0]]))[0])


def test_each_resample_draws_as_many_days_as_there_are():
    drawn = resamples(30, 50, seed=3)
    assert drawn.shape == (50, 30)
    assert (drawn.sum(axis=1) == 30).all()
    assert (drawn == resamples(30, 50, seed=3)).all()
    assert (drawn != resamples(30, 50, seed=4)).any()


def test_the_interval_knows_that_flights_of_a_day_are_alike():
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(60), 100)
    late = rng.random(6000) < np.where(rng.random(60) < 0.3, 0.7, 0.1)[day]  # days are bad as a whole
    p = np.full(6000, 0.28)
    by_day = Scores.of(late, p, day).metrics(resamples(60, 400, seed=1))["brier"]
    by_flight = Scores.of(late, p, np.arange(6000)).metrics(resamples(6000, 100, seed=1))["brier"]
    low, high = interval(by_day)
    assert high - low > 5 * np.ptp(interval(by_flight))
    daily = (late - p).reshape(60, 100)
    error = ((daily**2).mean(axis=1)).std() / 60**0.5
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_candidates_are_ranked_and_what_is_only_noise_is_said():
    late, p, day = sample(2, flights=4000, days=40)
    rng = np.random.default_rng(1)
    scores = {
        "useless": Scores.of(late, rng.uniform(size=4000), day),
        "good": Scores.of(late, p, day),
        "nearly": Scores.of(late, np.clip(p + rng.normal(0, 1e-3, 4000), 0, 1), day),
    }
    weights = resamples(40, 300, seed=5)
    table = compare(scores, weights)
    assert list(table["candidate"].unique())[-1] == "useless"
    assert set(table["metric"]) == set(METRICS)
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    gap = differences(scores, "good", weights).query("metric == 'roc_auc'").set_index("candidate")
    assert not gap.loc["useless", "noise"]
    assert gap.loc["nearly", "noise"]
    auc = {name: one.point()["roc_auc"] for name, one in scores.items()}
    assert gap.loc["useless", "value"] == pytest.approx(auc["good"] - auc["useless"])


def test_what_was_found_is_written_with_its_interval_and_a_mark_for_what_may_be_noise():
    rows = [("one", metric, 0.5, 0.25, 0.75) for metric in METRICS]
    table = pd.DataFrame(rows, columns=["candidate", "metric", "value", "low", "high"])
    assert written(table).loc["one", "ROC AUC"] == "0.5000 (0.2500 to 0.7500)"
    signed = written(table.assign(noise=table["metric"] == "brier"), sign="+")
    assert signed.loc["one", "ROC AUC"] == "+0.5000 (+0.2500 to +0.7500)"
    assert signed.loc["one", "Brier"].endswith("(?)")


def test_differences_on_the_same_days_are_narrower_than_on_separate_days():
    late, p, day = sample(3, flights=4000, days=40)
    scores = {"one": Scores.of(late, p, day), "other": Scores.of(late, p**1.2, day)}
    weights = resamples(40, 300, seed=5)
    paired = differences(scores, "one", weights).query("metric == 'brier'").iloc[0]
    single = compare(scores, weights).query("metric == 'brier' and candidate == 'one'").iloc[0]
    assert paired["high"] - paired["low"] < 0.5 * (single["high"] - single["low"])


def test_groups_are_judged_each_by_itself():
    late, p, day = sample(4, flights=2000, days=20)
    frame = pd.DataFrame({"late": late, "day": day, "origin": np.where(np.arange(2000) % 2, "EWR", "JFK")})
    found = by_group(frame, "origin", {"one": p}, number=100, seed=0).set_index("origin")
    for origin in ("EWR", "JFK"):
        here = frame["origin"] == origin
        assert found.loc[origin, "value"] == pytest.approx(roc_auc_score(late[here], p[here]))
        assert found.loc[origin, "flights"] == 1000
        assert found.loc[origin, "low"] < found.loc[origin, "value"] < found.loc[origin, "high"]


def test_the_slope_is_that_of_a_logistic_regression_on_the_logit():
    late, p, day = sample(5, flights=3000)
    x = np.log(p / (1 - p))[:, None]
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(x, late)
    found = recalibrate(late, p, day)
    assert found.slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_probabilities_that_are_too_extreme_have_a_slope_below_one():
    late, p, day = sample(6, flights=20_000)
    logit = np.log(p / (1 - p))
    assert recalibrate(late, p, day).slope == pytest.approx(1, abs=0.06)
    assert recalibrate(late, 1 / (1 + np.exp(-2 * logit)), day).slope == pytest.approx(0.5, abs=0.03)


def test_the_error_of_the_slope_is_that_of_repeated_samples():
    slopes, errors = [], []
    for seed in range(60):
        found = recalibrate(*sample(seed, flights=1500, days=50))
        slopes.append(found.slope)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.3)


def test_the_calibration_curve_holds_every_flight_once():
    late, p, day = sample(7, flights=2000, days=20)
    found = curve(late, p, day, resamples(20, 200, seed=0))
    assert len(found) == 10
    assert found["flights"].sum() == 2000
    assert (found["observed"] * found["flights"]).sum() == pytest.approx(late.sum())
    assert ((found["low"] <= found["observed"]) & (found["observed"] <= found["high"])).all()


def test_the_calibration_curve_keeps_equal_probabilities_together():
    late, p, day = sample(8, flights=2000, distinct=2)
    found = curve(late, p, day, resamples(DAYS, 100, seed=0))
    assert sorted(found["predicted"]) == pytest.approx(sorted(set(p)))
