"""The table of patients: what must hold of it, in every notebook that writes or reads it."""

from __future__ import annotations

import pandas as pd

TARGET = "progression"
MEASURES = {
    "age": "years",
    "sex": "1 or 2",
    "bmi": "body mass index, kg/m²",
    "bp": "mean blood pressure, mmHg",
    "s1": "total serum cholesterol",
    "s2": "low-density lipoproteins",
    "s3": "high-density lipoproteins",
    "s4": "s1 / s3",
    "s5": "logarithm of serum triglycerides",
    "s6": "blood sugar",
}


def check(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` if it is fit to work with: all columns, no gap, nobody twice; raise ValueError otherwise."""
    expected = [*MEASURES, TARGET]
    if list(table.columns) != expected:
        raise ValueError(f"columns are {list(table.columns)}, expected {expected}")
    gaps = table.isna().sum()
    if gaps.any():
        raise ValueError(f"values are missing: {gaps[gaps > 0].to_dict()}")
    if table.duplicated().any():
        raise ValueError(f"{table.duplicated().sum()} patients stand in the table twice")
    return table
