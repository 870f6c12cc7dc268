"""Check a table against a contract: all breaches at once, with counts and examples.

A contract is a pandera schema (columns, types, ranges, keys, share of missing values) and, against the previous
result, the bounds for the number of rows. pandera finds what is wrong; this module says it in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow.parquet as pq
from pandera.errors import SchemaError, SchemaErrorReason, SchemaErrors

from flights.errors import Breach, ContractError, SourceError

EXAMPLES = 3
_Reason = SchemaErrorReason


@dataclass(frozen=True)
class Contract:
    """A table's `name` in messages, its pandera `schema`, and how many times the previous number of rows is right."""

    name: str
    schema: pa.DataFrameSchema
    fewest: float = 0.5
    most: float = 10.0

    def validate(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`check`, as pandera's own schemas are called; the gate looks at the test rows by it."""
        return check(frame, self, source=f"the table {self.name}")


def check(
    frame: pd.DataFrame, contract: Contract, *, source: object, previous: str | Path | None = None
) -> pd.DataFrame:
    """The table as the contract promises it: converted where the contract says so, otherwise as it came.

    `source` is named in errors. `previous` is the Parquet file of the last result: more than `most` times or less than
    `fewest` times its rows is a breach. Raises `ContractError` with all breaches.
    """
    breaches = list(_rows(len(frame), contract, previous))
    try:
        frame = contract.schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        content = list(_content(frame, contract.schema, errors.schema_errors))
        if not content:  # a rule of ours failed to run: that is a bug, not a breach
            raise
        breaches += content
    if breaches:
        raise ContractError(source, contract.name, tuple(breaches))
    return frame


# Rules for columns. `error` is the words for the breach.


def between(low: float, high: float, unit: str = "") -> pa.Check:
    """Values from `low` to `high`, both included."""
    return pa.Check.in_range(low, high, error=f"outside {low:g} to {high:g} {unit}".rstrip())


def one_of(values: Sequence[str]) -> pa.Check:
    """Values out of a fixed set."""
    return pa.Check.isin(values, error=f"none of {', '.join(values)}")


def like(pattern: str, what: str) -> pa.Check:
    """Text that matches a regular expression as a whole; `what` says it for people."""
    return pa.Check.str_matches(rf"^(?:{pattern})$", error=f"not {what}")


def missing_at_most(share: float) -> pa.Check:
    """At most this share of the column's values may be missing."""
    return pa.Check(
        lambda column: not column.isna().mean() > share,  # without rows the mean is NaN, and nothing is missing
        name="missing",
        ignore_na=False,
        error=f"more than {share:.0%} missing",
    )


def row_rule(rule: Callable[[pd.DataFrame], pd.Series | bool], breach: str) -> pa.Check:
    """A rule over several columns: a Boolean per row, or one for the whole table."""
    return pa.Check(rule, error=breach, ignore_na=False)


# From pandera's findings to words.


def _rows(rows: int, contract: Contract, previous: str | Path | None) -> Iterator[Breach]:
    if rows == 0:
        yield Breach(None, "has no rows")
    if previous is None:
        return
    try:
        before = pq.read_metadata(previous).num_rows
    except (OSError, ValueError) as error:
        remedy = "give the Parquet file of the last result, or none for the first."
        raise SourceError(previous, f"not readable as the previous result: {error}", remedy) from error
    if rows > contract.most * before:
        yield Breach(None, f"{rows:,} rows, more than {contract.most:g} times the previous result's {before:,}")
    if rows < contract.fewest * before:
        yield Breach(None, f"{rows:,} rows, less than {contract.fewest:g} times the previous result's {before:,}")


def _content(frame: pd.DataFrame, schema: pa.DataFrameSchema, errors: list[SchemaError]) -> Iterator[Breach]:
    """One breach per rule and column. What only follows from a wrong type is left out."""
    reasons = {(error.reason_code, _column(error)) for error in errors}
    for error in errors:
        column = _column(error)
        converted = (_Reason.DATATYPE_COERCION, column) not in reasons
        if error.reason_code is _Reason.COLUMN_NOT_IN_SCHEMA:
            yield Breach(str(error.failure_cases), "is not in the contract")
        elif error.reason_code is _Reason.COLUMN_NOT_IN_DATAFRAME:
            yield Breach(str(error.failure_cases), "is lacking")
        elif error.reason_code is _Reason.DATATYPE_COERCION:
            yield _values(frame, error, column, f"cannot be read as {_expected(schema, column)}")
        elif error.reason_code is _Reason.WRONG_DATATYPE and converted:
            yield Breach(column, f"is {frame[column].dtype}, not {_expected(schema, column)}")
        elif error.reason_code is _Reason.SERIES_CONTAINS_NULLS:
            yield _values(frame, error, column, "is missing")
        elif error.reason_code is _Reason.DUPLICATES:
            key = ", ".join(schema.unique or [])
            yield _whole_rows(frame, schema, error, f"rows share their key ({key})")
        elif error.reason_code is _Reason.DATAFRAME_CHECK:
            yield _broken_rule(frame, schema, error, column)


def _column(error: SchemaError) -> str | None:
    """The column that a finding is about; None for the table as a whole."""
    return error.schema.name if isinstance(error.schema, pa.Column) else None


def _expected(schema: pa.DataFrameSchema, column: str | None) -> str:
    return str(schema.columns[column].dtype)


def _broken_rule(frame: pd.DataFrame, schema: pa.DataFrameSchema, error: SchemaError, column: str | None) -> Breach:
    rule = error.check.error or error.check.name
    if error.check.name == "missing":
        missing = frame[column].isna()
        return Breach(column, f"{rule}: {missing.mean():.1%}", int(missing.sum()))
    if not isinstance(error.failure_cases, pd.DataFrame):  # one verdict for the whole table
        return Breach(column, rule)
    return _whole_rows(frame, schema, error, rule) if column is None else _values(frame, error, column, rule)


def _values(frame: pd.DataFrame, error: SchemaError, column: str | None, rule: str) -> Breach:
    cases = error.failure_cases
    shown = zip(cases["index"].head(EXAMPLES), cases["failure_case"].head(EXAMPLES), strict=True)
    return Breach(column, rule, len(cases), tuple(f"{_place(frame, row)}: {_show(value)}" for row, value in shown))


def _whole_rows(frame: pd.DataFrame, schema: pa.DataFrameSchema, error: SchemaError, rule: str) -> Breach:
    """A breach over several columns: the rows concerned, shown by the table's key."""
    rows = error.failure_cases["index"].drop_duplicates()
    key = [name for name in schema.unique or [] if name in frame]
    shown = {row: ", ".join(_show(frame.at[row, name]) for name in key) for row in rows.head(EXAMPLES)}
    return Breach(None, rule, len(rows), tuple(f"{_place(frame, row)}: {key}" for row, key in shown.items()))


def _place(frame: pd.DataFrame, label: object) -> str:
    """Where a value stands: the index may be named for what it counts, such as a file's lines."""
    return f"{frame.index.name or 'row'} {label}"


def _show(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    return repr(value) if isinstance(value, str) else str(value)
