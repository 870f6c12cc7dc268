"""What the services are measured on: a model like the worked example's champion, and requests to it.

It is the example's own boosting pipeline with the hyperparameters of params/flights.yaml, fitted to made-up rows within
the contract's ranges: as many trees, leaves and columns as the champion has, in seconds and without the example's data.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import yaml
from mlflow.models import infer_signature

from flights import models
from flights.features import CATEGORIES, FEATURES, NUMBERS
from flights.schemas.dataset import rule

NAME = "flights"
ROWS = 10_000  # of the large request
_PARAMS = Path(__file__).parents[2] / "params/flights.yaml"


def save(folder: Path, rows: int = 60_000) -> None:
    """Fit the model and save it to a folder, as the example's `train` notebook logs it."""
    found = yaml.safe_load(_PARAMS.read_text("utf-8"))["tasks"]["train"]["params"]["hyperparameters"]["boosting"]
    learned = table(rows, 1)
    model = models.pipeline("boosting", found, 42).fit(learned, _late(learned))
    example = models.example(learned)
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=infer_signature(example, model.predict_proba(example)),
        input_example=example,
        pip_requirements=models.requirements(),
        skops_trusted_types=models.TRUSTED_TYPES,
        pyfunc_predict_fn="predict_proba",
    )


def table(rows: int, seed: int) -> pd.DataFrame:
    """Return rows with as many missing values as half of what the contract allows; the first row has none."""
    random = np.random.default_rng(seed)
    texts = {name: random.choice(["EWR", "JFK", "LGA"], rows) for name in CATEGORIES}
    numbers = {}
    for name in NUMBERS:
        limits = rule(name)
        values = random.uniform(limits.low, limits.high, rows)
        values[1:][random.random(rows - 1) < limits.missing / 2] = np.nan
        numbers[name] = values
    return pd.DataFrame(texts | numbers)[FEATURES]


def _late(rows: pd.DataFrame) -> Any:
    """Return whether each flight was late: a little of every column, and chance."""
    share = rows[NUMBERS].rank(pct=True).fillna(0.5).sub(0.5)
    weights = np.random.default_rng(2).normal(size=len(NUMBERS))
    score = np.sin(6 * share).to_numpy() @ weights
    chance = np.random.default_rng(3).normal(scale=score.std(), size=len(rows))
    return score + chance > np.quantile(score + chance, 0.8)


def instances(rows: pd.DataFrame) -> bytes:
    """Return rows as TensorFlow Serving takes them."""
    return _json({"instances": _records(rows)})


def inputs(rows: pd.DataFrame) -> bytes:
    """Return columns as TensorFlow Serving takes them."""
    return _json({"inputs": _columns(rows)})


def dataframe_split(rows: pd.DataFrame) -> bytes:
    """Return rows as MLflow's scoring server takes them."""
    data = [list(row.values()) for row in _records(rows)]
    return _json({"dataframe_split": {"columns": list(rows), "data": data}})


def tensors(rows: pd.DataFrame) -> bytes:
    """Return columns as the Open Inference Protocol takes them; without missing values, which it can't tell."""
    return _json(
        {
            "parameters": {"content_type": "pd"},
            "inputs": [
                {
                    "name": name,
                    "shape": [len(rows), 1],
                    "datatype": "BYTES" if name in CATEGORIES else "FP64",
                    "data": values,
                    **({"parameters": {"content_type": "str"}} if name in CATEGORIES else {}),
                }
                for name, values in _columns(rows).items()
            ],
        }
    )


def named(rows: pd.DataFrame) -> bytes:
    """Return rows as the argument of a BentoML service."""
    return _json({"rows": _records(rows)})


def _columns(rows: pd.DataFrame) -> dict[str, list[Any]]:
    return {str(name): [None if one != one else one for one in rows[name].tolist()] for name in rows}


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    columns = _columns(rows)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _json(said: Any) -> bytes:
    return json.dumps(said, allow_nan=False).encode()
