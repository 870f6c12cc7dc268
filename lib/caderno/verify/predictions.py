"""What a model predicts, in a process of its own: `python -P predictions.py < request.json > answer.json`.

It is run by its path and imports nothing of the engine: whatever version of that stands in the lib/ which the model may
need does not matter.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def main() -> None:
    """Answer the request on standard input; whatever fails is told in the answer."""
    request = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):  # a model that prints does not spoil the answer
        try:
            said = _predicted(**request)
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"}
    json.dump(said, sys.stdout, default=str)
    sys.stdout.flush()
    os._exit(0)  # whatever the model left running


def _predicted(model: str, table: str | None, columns: list[str], rows: int) -> dict[str, Any]:
    """Return the predictions of a model's own example and of the first rows of a table, each None where there is none.

    Their values are lists, or lists of lists.
    """
    import mlflow

    loaded = mlflow.pyfunc.load_model(model)
    example = loaded.metadata.load_input_example(model)
    found = {"example": None if example is None else _plain(loaded.predict(example)), "rows": None}
    if table:
        found["rows"] = _plain(loaded.predict(_read(Path(table), columns, rows)))
    return found


def _read(path: Path, columns: list[str], rows: int) -> pd.DataFrame:
    import pandas as pd

    if path.suffix == ".csv":
        return pd.read_csv(path, usecols=columns, nrows=rows)[columns]
    read = pd.read_parquet if path.suffix == ".parquet" else pd.read_feather
    return read(path, columns=columns).head(rows)


def _plain(predicted: Any) -> Any:
    import numpy as np

    return np.asarray(predicted).tolist()


if __name__ == "__main__":
    main()
