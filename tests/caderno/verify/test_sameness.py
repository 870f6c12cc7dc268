"""Whether two outputs are the same: files, tables, folders, models, what cells print."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caderno.verify.closeness import Sameness, Tolerance, distance, gap, metric
from caderno.verify.models import judge
from caderno.verify.sameness import outputs, printed

EXACT = "equal"
NEAR = "equal within tolerance"
OTHER = "differs"
SAME_VALUES = "the same values; the file's bytes are others"
Write = Callable[[Any, Path], object]


def written(write: Write, folder: Path, old: Any, new: Any, name: str) -> Sameness:
    """Write two things under one name each in a folder of its own, and compare them."""
    for side, content in (("old", old), ("new", new)):
        (folder / side).mkdir()
        write(content, folder / side / name)
    return outputs(folder / "old" / name, folder / "new" / name, Tolerance())


def sqlite(rows: Any, path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE t (x REAL, word TEXT)")
        database.executemany("INSERT INTO t VALUES (?, ?)", rows)
    database.close()


def parquet(content: dict[str, list[Any]], path: Path) -> None:
    pd.DataFrame(content).to_parquet(path)


def as_json(content: Any, path: Path) -> None:
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("old", "new", "state", "text"),
    [
        ({"x": [1.0, 2.0]}, {"x": [1.0, 2.0]}, EXACT, ""),
        ({"x": [1.0, 2.0]}, {"x": [1.0, 2.0 + 1e-9]}, NEAR, "largest difference 1e-09 in column x"),
        ({"x": [1.0, 2.0]}, {"x": [1.0, 2.1]}, OTHER, "column x, row 2: 2.0 → 2.1"),
        ({"x": [1.0, 2.0]}, {"x": [9.0, 2.1]}, OTHER, "column x, row 1: 1.0 → 9.0, and 1 more of its rows"),
        ({"x": [1.0]}, {"x": [1.0, 2.0]}, OTHER, "+1 rows"),
        ({"x": [1.0]}, {"y": [1.0]}, OTHER, "column y is new, column x is gone"),
        ({"x": [1.0]}, {"x": ["a"]}, OTHER, "column x: double → large_string"),
        ({"n": [10**9]}, {"n": [10**9 + 1]}, OTHER, "column n, row 1: 1000000000 → 1000000001"),
        ({"x": [math.nan, 1.0]}, {"x": [math.nan, 1.0]}, EXACT, ""),
        ({"x": [1.0, math.nan]}, {"x": [1.0 + 1e-12, math.nan]}, NEAR, "largest difference 1e-12 in column x"),
        ({"x": [1.0, 2.0]}, {"x": [1.0, None]}, OTHER, "column x, row 2: 2.0 → None"),
        ({"x": [math.inf]}, {"x": [1e300]}, OTHER, "column x, row 1: inf → 1e+300"),
        ({"x": [[1.0, 2.0]]}, {"x": [[1.0, 2.0 + 1e-9]]}, NEAR, "largest difference 1e-09 in column x"),
    ],
)
def test_parquet_is_compared_by_columns_rows_and_values(
    tmp_path: Path, old: dict[str, list[Any]], new: dict[str, list[Any]], state: str, text: str
) -> None:
    found = written(parquet, tmp_path, old, new, "t.parquet")
    assert (found.state, found.text) == (state, text)


def test_the_same_table_written_otherwise_is_equal(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [0.5]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_parquet(tmp_path / "b.parquet", compression="gzip")
    assert outputs(tmp_path / "a.parquet", tmp_path / "b.parquet", Tolerance()) == Sameness("equal", SAME_VALUES)


def test_a_folder_named_like_a_value_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "x=7"
    folder.mkdir()
    assert written(parquet, folder, {"x": [1.0]}, {"x": [2.0]}, "t.parquet").text == "column x, row 1: 1.0 → 2.0"


@pytest.mark.parametrize(
    ("old", "new", "state", "text"),
    [
        ("x,w\n0.1,a\n", "x,w\n0.1000000001,a\n", NEAR, "largest difference 1e-10 in column x"),
        ("x,w\n0.1,a\n", "x,w\n0.1,b\n", OTHER, "column w, row 1: 'a' → 'b'"),
        ("n\n10000000\n", "n\n10000001\n", OTHER, "column n, row 1: '10000000' → '10000001'"),
        ("x\n1\n", "x\n1.0\n", EXACT, SAME_VALUES),
        ("x\n1\n", "x\n1\n\n", EXACT, SAME_VALUES),
        ("x\n1\n", "x\n1,2\n", OTHER, "differs at byte 4 of 4, which are 6 now"),
    ],
)
def test_csv_likewise(tmp_path: Path, old: str, new: str, state: str, text: str) -> None:
    found = written(lambda content, path: path.write_text(content), tmp_path, old, new, "t.csv")
    assert (found.state, found.text) == (state, text)


def test_sqlite_likewise(tmp_path: Path) -> None:
    found = written(sqlite, tmp_path, [(0.5, "a")], [(0.5 + 1e-12, "a")], "t.db")
    assert (found.state, found.text) == (NEAR, "largest difference 1e-12 in column t.x")


@pytest.mark.parametrize(
    ("old", "new", "state", "text"),
    [
        ({"a": [1, {"auc": 0.5}]}, {"a": [1, {"auc": 0.6}]}, OTHER, "at a[1].auc: 0.5 → 0.6"),
        ({"a": 1.0, "b": 2}, {"b": 2, "a": 1.0 + 1e-9}, NEAR, "largest difference 1e-09"),
        ({"a": 1}, {"a": 1, "b": 2}, OTHER, "at its top: {'a': 1} → {'a': 1, 'b': 2}"),
        ([1], [True], OTHER, "at [0]: 1 → True"),
    ],
)
def test_json_is_compared_part_by_part(tmp_path: Path, old: Any, new: Any, state: str, text: str) -> None:
    found = written(as_json, tmp_path, old, new, "t.json")
    assert (found.state, found.text) == (state, text)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"abc", b"abd", "differs at byte 3 of 3"),
        (b"abc", b"abcd", "differs at byte 4 of 3, which are 4 now"),
        (b"x" * (1 << 20) + b"a", b"x" * (1 << 20) + b"b", "differs at byte 1,048,577 of 1,048,577"),
    ],
)
def test_other_files_are_compared_by_bytes(tmp_path: Path, old: bytes, new: bytes, text: str) -> None:
    assert written(lambda content, path: path.write_bytes(content), tmp_path, old, new, "t.bin").text == text


def test_what_only_looks_like_a_table_is_compared_by_bytes(tmp_path: Path) -> None:
    found = written(lambda content, path: path.write_text(content), tmp_path, "PAR1", "PARX", "t.parquet")
    assert found.text == "differs at byte 4 of 4"


def folder(files: dict[str, str], path: Path) -> None:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)


ABOUT = "run_id: {}\nflavors: {{x: {}}}\n"
OF_MODELS = "its files are the same, but for ids and times in MLmodel"


@pytest.mark.parametrize(
    ("old", "new", "state", "text"),
    [
        ({"a/x": "1"}, {"a/x": "2"}, OTHER, "a/x: differs at byte 1 of 1"),
        ({"x": "1", "y": "1"}, {"x": "1"}, OTHER, "the rebuild has no y"),
        ({"x": "1"}, {"x": "1", "y": "1"}, OTHER, "only the rebuild has y"),
        ({"x.csv": "a\n0.1"}, {"x.csv": "a\n0.10000000001"}, NEAR, "x.csv: largest difference 1e-11 in column a"),
        ({"MLmodel": ABOUT.format("a", 1)}, {"MLmodel": ABOUT.format("b", 1)}, EXACT, ""),
        ({"MLmodel": ABOUT.format("a", 1)}, {"MLmodel": "{flavors: {x: 1}, run_id: b}"}, EXACT, OF_MODELS),
        ({"MLmodel": ABOUT.format("a", 1)}, {"MLmodel": ABOUT.format("b", 2)}, OTHER, "MLmodel: flavors is another"),
        ({"MLmodel": "run_id: a", "m": "1"}, {"MLmodel": "run_id: b", "m": "2"}, OTHER, "m: differs at byte 1 of 1"),
        ({"MLmodel": "run_id: a", "m": "1"}, {"MLmodel": "run_id: b"}, OTHER, "the rebuild has no m"),
    ],
)
def test_folders_are_compared_by_files(
    tmp_path: Path, old: dict[str, str], new: dict[str, str], state: str, text: str
) -> None:
    found = written(folder, tmp_path, old, new, "made")
    assert (found.state, found.text) == (state, text)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    assert outputs(tmp_path, tmp_path / "x", Tolerance()).text == "a folder → a file"


@pytest.mark.parametrize(
    ("old", "new", "state", "text"),
    [
        ({"example": [1], "rows": [0.5, 0.6]}, {"example": [1], "rows": [0.5, 0.6]}, EXACT,
         "its predictions of 1 row of its example and 2 rows of t.csv are the same; m: other"),
        ({"rows": [0.5]}, {"rows": [0.5 + 1e-9]}, NEAR,
         "its predictions of 1 row of t.csv differ by 1e-09 at most; m: other"),
        ({"rows": [[0.5, 0.5]]}, {"rows": [[0.4, 0.6]]}, OTHER,
         "m: other; and so do its predictions, row 1 of t.csv: [0.5, 0.5] → [0.4, 0.6]"),
        ({"rows": [1, 2]}, {"rows": [1]}, OTHER, "m: other; and it predicts 2 → 1 rows of t.csv"),
        ({}, {}, OTHER, "m: other; there is no example and no table to compare predictions by"),
    ],
)  # fmt: skip
def test_models_whose_files_differ_are_compared_by_predictions(
    old: dict[str, Any], new: dict[str, Any], state: str, text: str
) -> None:
    found = judge(old, new, "m: other", "t.csv", Tolerance())
    assert (found.state, found.text) == (state, text)


def test_the_same_predictions_of_an_example_alone_are_no_equality() -> None:
    assert judge({"example": [1]}, {"example": [1]}, "m: other", "", Tolerance()).state == NEAR


def test_metrics_are_compared_by_value() -> None:
    assert metric(0.5, 0.5, Tolerance()) == Sameness("equal")
    assert metric(0.5, 0.5 + 1e-8, Tolerance()) == Sameness("equal within tolerance", "difference 1e-08")
    assert metric(math.nan, math.nan, Tolerance()).state == EXACT
    assert metric(0.5, 0.6, Tolerance()).text == "0.5 → 0.6"
    assert metric(None, 0.6, Tolerance()).text == "the record does not have it"
    assert metric(0.5, None, Tolerance()).text == "the rebuild did not log it"


def cell(source: str, *outputs: dict[str, Any], tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "metadata": {"tags": [*tags]}, "outputs": [*outputs]}


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def test_cells_that_print_something_else_are_named_as_people_count_them() -> None:
    before = [
        {"cell_type": "markdown", "source": "# T", "metadata": {}},
        cell("seed = 2", tags=("injected-parameters",)),
        cell("warn()", stream("it took 1 s", "stderr")),
        cell("f", {"output_type": "execute_result", "data": {"text/plain": ["<function at 0x7f00aa11>"]}}),
        cell("\nprint(x)\n", stream("a\nb\n")),
    ]
    after = json.loads(json.dumps(before).replace("1 s", "2 s").replace("7f00", "7f01").replace("a\\nb", "a\\nc"))
    [found] = printed({"cells": before}, {"cells": after})
    assert (found.number, found.line, found.text) == (4, "print(x)", "'b' → 'c'")


def test_a_long_line_is_shown_where_it_differs() -> None:
    pair = [{"cells": [cell("x", stream("a" * 90 + end))]} for end in ("b", "c")]
    [found] = printed(*pair)
    assert found.text == f"'…{'a' * 20}b' → '…{'a' * 20}c'"


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(st.tuples(finite, finite)))
def test_arrays_are_compared_as_single_values_are(pairs: list[tuple[float, float]]) -> None:
    old, new = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    fast = gap(pd.Series(old, dtype=float).to_numpy(), pd.Series(new, dtype=float).to_numpy(), Tolerance())
    assert list(fast.beyond) == [i for i, pair in enumerate(pairs) if distance(*pair, Tolerance()) is None]
    assert fast == gap(old, new, Tolerance())
