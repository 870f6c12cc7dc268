"""How far features have moved: figures that are known, and what must hold for any."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from caderno.serve.drift import MUCH, SOME, drift, drifts, index

COUNTS = some.lists(some.integers(0, 10_000), min_size=2, max_size=20).filter(sum)
RANDOM = np.random.default_rng(5)


def numbers(shift: float, rows: int) -> pd.Series[float]:
    return pd.Series(np.random.default_rng(rows).normal(shift, 1, rows), name="x")


def test_the_index_is_the_sum_of_differences_times_logarithms_of_ratios() -> None:
    before, after = [499_999, 499_999], [249_999, 749_999]  # half a row is added to each bin
    wanted = (0.25 - 0.5) * math.log(0.25 / 0.5) + (0.75 - 0.5) * math.log(0.75 / 0.5)
    assert index(before, after) == pytest.approx(wanted, rel=1e-5)


@given(COUNTS)
def test_equal_counts_have_an_index_of_nothing(counts: list[int]) -> None:
    assert index(counts, counts) == pytest.approx(0, abs=1e-12)


@given(COUNTS, some.randoms())
def test_the_index_is_the_same_in_both_directions_and_never_negative(counts: list[int], random: object) -> None:
    other = list(counts)
    random.shuffle(other)  # type: ignore[attr-defined]
    assert index(counts, other) == pytest.approx(index(other, counts))
    assert index(counts, other) >= 0


@given(some.floats(-1e6, 1e6), some.floats(1e-3, 1e3))
def test_the_same_sample_does_not_drift_wherever_it_lies_and_however_wide(centre: float, width: float) -> None:
    sample = numbers(0, 500) * width + centre
    found = drift(sample, sample)
    assert found.psi == pytest.approx(0, abs=1e-12)
    assert found.word == "stable"


def test_the_index_grows_with_the_shift() -> None:
    found = [drift(numbers(0, 5000), numbers(shift, 4000)).psi for shift in (0, 0.2, 0.5, 1, 2)]
    assert found == sorted(found)
    assert found[0] < 0.01
    assert found[-1] > MUCH


def test_words_follow_the_rule_of_thumb() -> None:
    words = [drift(numbers(0, 20_000), numbers(shift, 10_000)).word for shift in (0, 0.4, 1)]
    assert words == ["stable", "some", "much"]


def test_few_rows_are_not_called_changed_for_what_chance_explains() -> None:
    reference = pd.DataFrame(RANDOM.normal(size=(5000, 100)), columns=[f"f{one}" for one in range(100)])
    found = drifts(reference, dict(reference.sample(60, random_state=1).items()))
    assert max(one.psi for one in found) > SOME
    assert {one.word for one in found} <= {"stable", "chance"}


def test_a_shift_is_seen_in_few_rows_too() -> None:
    assert drift(numbers(0, 5000), numbers(3, 60), among=100).word == "much"


def test_how_much_chance_explains_is_exceeded_as_seldom_as_is_said() -> None:
    beyond = 0
    for _ in range(400):
        found = drift(pd.Series(RANDOM.normal(size=2000)), pd.Series(RANDOM.normal(size=500)))
        beyond += found.psi > found.chance
    assert 4 <= beyond <= 36  # 5 % of 400 are 20


def test_missing_values_have_a_bin_of_their_own() -> None:
    half = numbers(0, 2000).where(np.arange(2000) % 2 == 0)
    found = drift(numbers(0, 2000), half)
    assert found.word == "much"
    assert found.missing == (0, 0.5)


def test_texts_are_told_apart_by_value_and_new_ones_are_a_change() -> None:
    letters = pd.Series(list("abc") * 300, name="letter")
    assert drift(letters, pd.Series(list("cab") * 100)).psi == pytest.approx(0, abs=1e-3)
    assert drift(letters, pd.Series(list("xyz") * 100)).word == "much"


def test_rare_texts_are_one_bin() -> None:
    tails = pd.Series([f"N{one}" for one in range(5000)], name="tail")
    found = drift(tails, pd.Series([f"M{one}" for one in range(1000)]))
    assert found.bins == 1
    assert found.word == "stable"


def test_numbers_of_few_values_are_told_apart_by_value() -> None:
    before, after = pd.Series([0] * 900 + [1] * 100, name="flag"), pd.Series([0.0] * 500 + [1.0] * 500)
    found = drift(before, after)
    assert found.bins == 2
    assert found.word == "much"


def test_many_equal_values_among_numbers_are_seen() -> None:
    rain = pd.Series(np.where(np.arange(2000) % 2, 0.0, RANDOM.random(2000)), name="rain")
    assert drift(rain, rain.sample(1000, random_state=1)).word == "stable"
    assert drift(rain, pd.Series(RANDOM.random(1000))).word == "much"


def test_what_json_makes_of_values_is_compared_with_what_tables_hold() -> None:
    moments = pd.date_range("2026-01-01", periods=1000, freq="h")
    reference = pd.DataFrame({"at": moments, "yes": np.arange(1000) % 2 == 0, "n": np.arange(1000) % 3})
    served = pd.DataFrame(
        {
            "at": [one.isoformat() for one in moments],
            "yes": [bool(one) for one in reference["yes"]],
            "n": [float(one) for one in reference["n"]],
        }
    )
    assert {one.feature: one.psi for one in drifts(reference, dict(served.items()))} == {"at": 0, "n": 0, "yes": 0}


def test_features_are_sorted_by_how_far_they_moved() -> None:
    reference = pd.DataFrame({name: numbers(0, 1000) for name in "abc"})
    served = pd.DataFrame({"a": numbers(0, 1000), "b": numbers(2, 1000), "c": numbers(1, 1000), "other": 1})
    assert [one.feature for one in drifts(reference, dict(served.items()))] == ["b", "c", "a"]
