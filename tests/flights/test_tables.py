"""Tables on disk."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from flights import tables


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Three small tables in folders that have to be made, one with a pattern's signs in its name."""
    paths = [str(tmp_path / f"month={month}" / "t.parquet") for month in ("2013-01", "2013-02", "[2013-03]")]
    for number, path in enumerate(paths):
        tables.write(pd.DataFrame({"n": [number, number]}, index=[7, 9]), path)
    return paths


def test_tables_are_read_from_one_path_or_from_many_in_order(paths: list[str]) -> None:
    assert tables.read(paths[1])["n"].tolist() == [1, 1]
    together = tables.read(paths[::-1])
    assert together["n"].tolist() == [2, 2, 1, 1, 0, 0]
    assert together.index.tolist() == list(range(6))
    assert list(together.columns) == ["n"]


def test_a_pattern_stands_for_all_tables_that_match_sorted(paths: list[str], tmp_path: Path) -> None:
    assert tables.read([str(tmp_path / "month=2013-*" / "t.parquet")])["n"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("name", ["nowhere.parquet", "no*.parquet"])
def test_a_table_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no.*\.parquet does not exist. Has the upstream task run"):
        tables.read(tmp_path / name)


def test_an_empty_list_of_tables_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="list of paths is empty"):
        tables.read([])
