"""Tables on disk: Parquet in, Parquet out, one path or many.

A matrix task (`flights`, one per month) hands its downstream a list of paths; a single task hands it one path. Readers
should not have to care which.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

Paths = str | Path | Sequence[str | Path]


def read(paths: Paths) -> pd.DataFrame:
    """All rows of one Parquet file or of several, in the order of the paths, with a fresh index 0…n-1.

    A path may be a pattern such as `month=*/latest/flights.parquet`: all that match, sorted. Raises
    `FileNotFoundError` for a path that does not exist or a pattern that matches nothing, and `ValueError` for an empty
    list.
    """
    several = [paths] if isinstance(paths, str | Path) else list(paths)
    if not several:
        raise ValueError("no table to read: the list of paths is empty. Has the upstream task run?")
    return pd.concat([pd.read_parquet(path) for paths in several for path in _matching(paths)], ignore_index=True)


def write(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table as Parquet, without its index, and make the parent folder first."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)


def _matching(path: str | Path) -> list[str]:
    """The path itself where it exists, whatever signs are in it; otherwise what it matches as a pattern."""
    found = [str(path)] if Path(path).exists() else sorted(glob.glob(str(path)))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        raise FileNotFoundError(f"no table to read: {path} does not exist. Has the upstream task run?")
    return found
