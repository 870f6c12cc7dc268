"""The short ways through a table take and refuse what the long ones do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caderno.serve import predictor
from caderno.serve.errors import BadRequest
from caderno.serve.signature import Column, Range, Signature
from caderno.serve.tables import from_columns, from_rows

RANGES = (Range(), Range(-1, 10), Range(low=0), Range(high=0.5, nullable=False), Range(allowed=frozenset({1.0, 2.5})))
MANY = 40  # rows: enough to be judged as a whole


def judged(signature: Signature, values: list[Any]) -> list[Any] | None:
    """Return what becomes of values as a column of rows; None if one is refused."""
    try:
        found = from_rows(signature, [{"a": value, "b": "x"} for value in values], 100).frame["a"]
    except BadRequest:
        return None
    return [None if isinstance(one, float) and math.isnan(one) else one for one in found]


VALUES = st.one_of(
    st.floats(), st.integers(-20, 20), st.none(), st.booleans(), st.text(max_size=2), st.lists(st.none())
)


@given(value=VALUES, limits=st.sampled_from(RANGES), kind=st.sampled_from(["double", "long", "boolean"]))
@example(value=1.7e308, limits=Range(), kind="double")
@example(value=math.inf, limits=Range(), kind="double")
@example(value=10.0, limits=Range(-1, 10), kind="double")
def test_one_row_is_judged_as_many_are_and_as_columns_are(value: Any, limits: Range, kind: str) -> None:
    signature = Signature((Column("a", kind, range=limits), Column("b", "string")))
    one = judged(signature, [value])
    many = judged(signature, [value] * MANY)
    assert many == (one and one * MANY)
    try:
        column = from_columns(signature, {"a": [value], "b": ["x"]}, 100).frame["a"]
    except BadRequest:
        assert one is None
    else:
        assert one is not None
        assert all(a == b or (a is None and b != b) for a, b in zip(one, column, strict=True))


@pytest.mark.parametrize("rows", [1, MANY])
def test_fields_may_come_in_any_order_and_columns_keep_the_models(rows: int) -> None:
    signature = Signature((Column("a", "double"), Column("b", "string"), Column("c", "long")))
    found = from_rows(signature, [{"c": row, "a": row / 2, "b": str(row)} for row in range(rows)], 100)
    assert list(found.frame) == ["a", "b", "c"]
    assert [list(values) for values in found.frame.values()] == [
        [row / 2 for row in range(rows)],
        [str(row) for row in range(rows)],
        list(range(rows)),
    ]


def test_of_rows_with_unlike_fields_the_wrong_one_is_told() -> None:
    signature = Signature((Column("a", "double"), Column("b", "string")))
    with pytest.raises(BadRequest, match=r"row 1, b: is missing; row 1, bb: the model takes no such field"):
        from_rows(signature, [{"a": 1.0, "b": "x"}, {"a": 1.0, "bb": "x"}], 100)


def test_a_field_that_may_be_lacking_may_be_there_in_some_rows() -> None:
    signature = Signature((Column("a", "double"), Column("b", "string", required=False)))
    found = from_rows(signature, [{"a": 1.0, "b": "x"}, {"a": 2.0}], 100)
    assert found.frame["b"] == ["x", None]


@pytest.mark.parametrize("texts", [0, 1, predictor._FEW, predictor._FEW + 1])
@pytest.mark.parametrize("sizes", [[1], [1, 3], [50]])
def test_a_batch_is_the_table_that_its_columns_make(texts: int, sizes: list[int]) -> None:
    kinds = {f"t{n}": "str" for n in range(texts)} | {f"n{n}": "float64" for n in range(6)} | {"whole": "int64"}
    kinds = dict(sorted(kinds.items(), key=lambda one: one[0][1:]))  # texts between numbers
    random = np.random.default_rng(1)

    def column(kind: str, size: int) -> list[Any]:
        drawn = random.integers(0, 9, size).tolist()
        return [str(one) if kind == "str" else one / 4 if kind == "float64" else one for one in drawn]

    frames = [{name: column(kind, size) for name, kind in kinds.items()} for size in sizes]
    found = predictor._joined(frames, kinds)
    wanted = pd.DataFrame({name: [one for frame in frames for one in frame[name]] for name in kinds}).astype(kinds)
    pd.testing.assert_frame_equal(found, wanted)
