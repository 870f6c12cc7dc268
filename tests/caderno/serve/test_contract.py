"""What a project's contract says of columns, read in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caderno.serve import contract
from caderno.serve.signature import Column, Range, Signature

SCHEMA = """
import pandera.pandas as pa
print("a module that prints")
flights = pa.DataFrameSchema({
    "distance": pa.Column(float, [pa.Check.ge(0), pa.Check.le(5000)], nullable=False),
    "hour": pa.Column(int, pa.Check.in_range(0, 23)),
    "carrier": pa.Column(str, pa.Check.isin(["AA", "UA"])),
    "delay": pa.Column(float, [pa.Check.gt(-60), pa.Check.lt(600), pa.Check.le(500)], nullable=True),
    "day": pa.Column("datetime64[ns]", pa.Check.ge("2013-01-01")),
    "name": pa.Column(str, pa.Check.str_length(1, 20), nullable=True),
    "free": pa.Column(object, pa.Check(lambda column: column.notna()), nullable=True),
})
class Model(pa.DataFrameModel):
    x: float = pa.Field(ge=1, le=2)
other = {"not": "a schema"}
"""


def ranges(folder: Path, named: str) -> Any:
    (folder / "contracts.py").write_text(SCHEMA)
    done = subprocess.run(
        [sys.executable, "-P", contract.__file__, named],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_pandera_schema_gives_ranges_values_and_nulls(tmp_path: Path) -> None:
    said = ranges(tmp_path, "contracts:flights")
    assert said == {
        "distance": {"low": 0, "high": 5000, "allowed": None, "nullable": False},
        "hour": {"low": 0, "high": 23, "allowed": None, "nullable": False},
        "carrier": {"low": None, "high": None, "allowed": ["AA", "UA"], "nullable": False},
        "delay": {"low": -60, "high": 500, "allowed": None, "nullable": True},
        "day": {"low": None, "high": None, "allowed": None, "nullable": False},
        "name": {"low": None, "high": None, "allowed": None, "nullable": True},
        "free": {"low": None, "high": None, "allowed": None, "nullable": True},
    }


def test_a_class_is_a_schema_and_anything_else_says_nothing(tmp_path: Path) -> None:
    assert ranges(tmp_path, "contracts:Model")["x"] == {"low": 1, "high": 2, "allowed": None, "nullable": False}
    assert ranges(tmp_path, "contracts:other") == {}


def test_ranges_narrow_the_columns_that_a_model_takes() -> None:
    narrowed = Signature((Column("x", "double"), Column("y", "double"))).within({"x": Range(0, 1), "z": Range(0, 1)})
    assert [one.range for one in narrowed.columns] == [Range(0, 1), Range()]


@pytest.mark.parametrize("named", ["contracts:missing", "missing:flights"])
def test_a_contract_that_is_not_there_is_an_error(tmp_path: Path, named: str) -> None:
    with pytest.raises(AssertionError, match="missing"):
        ranges(tmp_path, named)
