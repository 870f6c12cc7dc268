"""What the helpers promise."""

import numpy as np
import pandas as pd
import pytest

from caderno_project.patients import MEASURES, TARGET, check
from caderno_project.uncertainty import interval


@pytest.fixture
def table() -> pd.DataFrame:
    numbers = np.random.default_rng(1).normal(size=(20, len(MEASURES) + 1))
    return pd.DataFrame(numbers, columns=[*MEASURES, TARGET])


def test_a_sound_table_passes_as_it_is(table: pd.DataFrame) -> None:
    assert check(table) is table


def test_a_missing_column_is_named(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="bmi"):
        check(table.drop(columns="bmi"))


def test_a_gap_is_named_with_its_column(table: pd.DataFrame) -> None:
    table.loc[3, "bp"] = np.nan
    with pytest.raises(ValueError, match="'bp': 1"):
        check(table)


def test_a_patient_who_stands_there_twice_is_noticed(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="1 patients"):
        check(pd.concat([table, table.head(1)]))


def test_the_interval_holds_the_mean_and_narrows_with_more_values() -> None:
    values = np.random.default_rng(1).normal(10, 2, size=400)
    low, high = interval(values, seed=1)
    few_low, few_high = interval(values[:25], seed=1)
    assert low < values.mean() < high
    assert high - low < few_high - few_low


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="1 values"):
        interval([1.0], seed=1)
