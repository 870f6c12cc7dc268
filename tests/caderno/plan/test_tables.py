"""Rows and columns of files of data."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from caderno.plan.records import Table
from caderno.plan.tables import table_of, table_with

FRAME = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y\nz", None]})


def test_parquet_and_feather_tell_rows_and_types(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "t.parquet")
    FRAME.to_feather(tmp_path / "t.feather")
    for name in ("t.parquet", "t.feather"):
        table = table_of(tmp_path / name)
        assert table
        assert table.rows == 3
        assert table.columns == {"a": "int64", "b": table.columns["b"]}


def test_csv_tells_rows_as_a_reader_counts_them(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    FRAME.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    for name in ("t.csv", "t.tsv"):
        assert table_of(tmp_path / name) == Table(rows=3, columns={"a": "", "b": ""})


def test_sqlite_tells_all_its_tables_and_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute('CREATE TABLE "odd ""name" (x INTEGER)')
        database.execute("CREATE TABLE b (y TEXT, z)")
        database.executemany("INSERT INTO b VALUES (?, ?)", [("1", 2)] * 4)
        database.commit()
    before = path.stat().st_mtime_ns
    assert table_of(path) == Table(rows=4, columns={"b.y": "TEXT", "b.z": "", 'odd "name.x': "INTEGER"})
    assert (path.stat().st_mtime_ns, [p.name for p in tmp_path.iterdir()]) == (before, ["t.db"])


@pytest.mark.parametrize("name", ["t.parquet", "t.feather", "t.db", "t.json", "t"])
def test_what_is_no_such_file_has_no_shape(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x00\xff not what it says")
    assert table_of(tmp_path / name) is None


def test_nothing_and_a_folder_have_no_shape(tmp_path: Path) -> None:
    assert table_of(tmp_path) is None
    assert table_of(tmp_path / "gone.csv") is None
    assert table_of(tmp_path / ("x" * 400 + ".csv")) is None


def test_a_content_is_read_once_wherever_it_stands(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    first = table_with("digest", tmp_path / "t.csv")
    assert first == Table(rows=3, columns={"a": "", "b": ""})
    assert table_with("digest", tmp_path / "moved.csv") is first
    assert table_with(None, tmp_path / "t.csv") is None
