"""What a packaged model does in a process of its own: `python -P smoke.py < request.json > answer.json`.

Nothing of the notebook that made it is here. It is loaded as a service would load it, answers its own input example
twice and as JSON, predicts the test rows, and is timed. Or, with `contract`, a check of the project's own looks at the
test rows; then lib/ is on the path.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_REPEATS, _ROUNDS = 11, 3  # timed answers of one row; of a machine that does other things too, the best round counts
_LONGEST = 300  # characters of a message


def main() -> None:
    """Answer the request on standard input; whatever fails is told in the answer."""
    request = json.load(sys.stdin)
    answer = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # a model that prints does not spoil the answer
        try:
            said = _contract(**request) if "contract" in request else _model(**request)
        except Exception as error:
            first = (str(error).splitlines() or [""])[0][:_LONGEST]
            said = {"error": f"{type(error).__name__}: {first}"}
    json.dump(said, answer)
    answer.flush()
    os._exit(0)  # whatever the model left running


def read(path: str) -> pd.DataFrame:
    """Return a table from a Parquet, Feather or CSV file."""
    import pandas as pd

    match Path(path).suffix:
        case ".parquet":
            return pd.read_parquet(path)
        case ".feather":
            return pd.read_feather(path)
        case ".csv":
            return pd.read_csv(path)
    raise ValueError(f"test rows are a .parquet, .feather or .csv file, not {Path(path).name}")


def _contract(contract: str, rows: str) -> dict[str, Any]:
    module, _, name = contract.partition(":")
    found = getattr(importlib.import_module(module), name)
    getattr(found, "validate", found)(read(rows))
    return {}


def _model(model: str, rows: str, predictions: str) -> dict[str, Any]:
    """Load the model in folder `model`, write its predictions of `rows` to `predictions` (.npy), and tell the rest."""
    import mlflow
    import numpy as np

    began = time.perf_counter()
    loaded = mlflow.pyfunc.load_model(model)
    said: dict[str, Any] = {"load_seconds": time.perf_counter() - began}
    table = read(rows)
    schema = loaded.metadata.get_input_schema()
    if schema is not None and schema.has_input_names():
        lacking = [name for name in schema.input_names() if name not in table]
        if lacking:
            return {**said, "error": f"the test rows lack what the model takes: {', '.join(lacking[:5])}"}
        table = table[schema.input_names()]
    np.save(predictions, _scores(loaded.predict(table), len(table)))
    return said | _example(loaded, model)


def _example(loaded: Any, folder: str) -> dict[str, Any]:
    """Return whether the model answers its own example the same each time, also through JSON, and how fast."""
    import numpy as np
    import pandas as pd

    example = loaded.metadata.load_input_example(folder)
    if not isinstance(example, pd.DataFrame) or example.empty:
        return {"example": None}
    answers = _scores(loaded.predict(example), len(example))
    again = _scores(loaded.predict(example), len(example))
    plain = example.astype(object).where(example.notna(), None)
    sent = pd.DataFrame(json.loads(json.dumps(plain.to_numpy().tolist(), default=str)), columns=example.columns)
    received = _scores(loaded.predict(sent), len(example))
    return {
        "example": [float(one) for one in answers],
        "same_again": bool(np.array_equal(answers, again, equal_nan=True)),
        "same_as_json": bool(np.array_equal(answers, received, equal_nan=True)),
        "latency": min(_seconds(loaded, example.head(1)) for _ in range(_ROUNDS)),
    }


def _seconds(loaded: Any, row: pd.DataFrame) -> float:
    """Return how long an answer takes, the median of several."""
    taken = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        loaded.predict(row)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[_REPEATS // 2]


def _scores(predicted: Any, rows: int) -> np.ndarray[Any, Any]:
    """Return one number a row: of probabilities of two classes the second's."""
    import numpy as np

    found = np.asarray(predicted, float)
    if found.ndim == 2 and found.shape[1] in (1, 2):
        found = found[:, -1]
    if found.shape != (rows,):
        raise ValueError(f"predictions of {rows} rows have the shape {found.shape}: one number a row is needed")
    return found


if __name__ == "__main__":
    main()
