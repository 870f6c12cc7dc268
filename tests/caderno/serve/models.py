"""Small models in folders: `python models.py FOLDER` saves them, as a process whose classes travel with the model."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array, Object, Property
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

ALL = {  # a column of each type
    "weight": "double",
    "size": "float",
    "number": "long",
    "small": "integer",
    "fresh": "boolean",
    "kind": "string",
    "picked": "datetime",
    "stamp": "binary",
}
OPTIONAL = {"bonus": "double", "remark": "string"}


class Half(mlflow.pyfunc.PythonModel):
    """Half of x, plus something; x is an array, an object of one, or a table's column."""

    def __init__(self, plus: float) -> None:
        self.plus = plus

    def predict(self, context, model_input, params=None):
        x = model_input if isinstance(model_input, np.ndarray) else model_input["x"]
        return np.asarray(x) * 0.5 + self.plus


class Several(mlflow.pyfunc.PythonModel):
    """Outputs with names: an object of arrays, or a table of them."""

    def __init__(self, table: bool) -> None:
        self.table = table

    def predict(self, context, model_input, params=None):
        x = np.asarray(model_input["x"])
        told = {"double": x * 2, "large": x > 10, "word": [f"about {one:.0f}" for one in x]}
        return pd.DataFrame(told) if self.table else told


class Shapes(mlflow.pyfunc.PythonModel):
    """Three named tensors, as in TensorFlow Serving's documentation: tag, signal, sensor."""

    def predict(self, context, model_input, params=None):
        sums = model_input["signal"].sum(1) + model_input["sensor"].sum((1, 2))
        return {"sum": sums, "tag": model_input["tag"], "sensor": model_input["sensor"]}


class Series(mlflow.pyfunc.PythonModel):
    """A series, which has an index and no name."""

    def predict(self, context, model_input, params=None):
        return model_input["x"] + 1


class Scaled(mlflow.pyfunc.PythonModel):
    """Takes parameters."""

    def predict(self, context, model_input, params=None):
        told = {"factor": 1.0, "offsets": [0], **(params or {})}
        return np.asarray(model_input["x"]) * told["factor"] + sum(told["offsets"])


class Deep(mlflow.pyfunc.PythonModel):
    """Columns that hold lists and objects."""

    def predict(self, context, model_input, params=None):
        rows = zip(model_input["values"], model_input["place"], strict=True)
        return [{"sum": float(sum(values)), "city": place["city"]} for values, place in rows]


class Texts(mlflow.pyfunc.PythonModel):
    """Takes bytes and gives what JSON has no word for."""

    def predict(self, context, model_input, params=None):
        whole = [one if one is None else one[::-1] for one in model_input["image"]]
        return pd.DataFrame({"turned_bytes": whole, "caption": model_input["caption"]})


class Bare(mlflow.pyfunc.PythonModel):
    """Takes whatever comes."""

    def predict(self, context, model_input, params=None):
        return np.asarray(model_input, dtype=float).sum(axis=1)


class Odd(mlflow.pyfunc.PythonModel):
    """Gives what the first row says, in Python."""

    def predict(self, context, model_input, params=None):
        return eval(model_input["say"].iloc[0], {"np": np, "pd": pd})


class Trouble(mlflow.pyfunc.PythonModel):
    """Does what a row says, which is nothing good."""

    def predict(self, context, model_input, params=None):
        for does in model_input["do"]:
            if does == "raise":
                raise ValueError("this row is cursed\nand this line is not for callers")
            if does == "die":
                os._exit(7)
            if does == "hang":
                time.sleep(600)
            if does == "leak":
                self.held = [*getattr(self, "held", []), np.ones(20_000_000)]  # 160 MB
            if does == "print":
                os.write(1, b"printed by the model\n")
                print("printed by the model")
            if does == "short":
                return np.asarray(model_input["x"])[1:]
        return np.asarray(model_input["x"]) + 1


def columns(**types: Any) -> Schema:
    return Schema(
        [ColSpec(kind if not isinstance(kind, str) else DataType[kind], name) for name, kind in types.items()]
    )


def tensors(**shapes: tuple[str, tuple[int, ...]]) -> Schema:
    return Schema([TensorSpec(np.dtype(kind), shape, name or None) for name, (kind, shape) in shapes.items()])


def numbers(frame: pd.DataFrame) -> np.ndarray:
    """Return features of a table with a column of each type."""
    told = frame[["weight", "size", "number", "small", "fresh"]].astype(float)
    told["long"] = frame["kind"].astype(str).str.len()
    told["day"] = frame["picked"].dt.day_of_year
    told["bytes"] = [len(one) for one in frame["stamp"]]
    told["bonus"] = frame["bonus"].fillna(0.0) if "bonus" in frame else 0.0
    return (told.fillna(-1.0) / 100).to_numpy()


def fruit(rows: int) -> pd.DataFrame:
    """Return rows with a column of each type."""
    random = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "weight": random.normal(100, 20, rows),
            "size": random.normal(5, 1, rows).astype("float32"),
            "number": random.integers(0, 90, rows),
            "small": random.integers(0, 9, rows).astype("int32"),
            "fresh": random.random(rows) < 0.5,
            "kind": random.choice(["apple", "pear", "quince"], rows),
            "picked": pd.Timestamp("2026-01-01") + pd.to_timedelta(random.integers(0, 300, rows), unit="D"),
            "stamp": [b"x" * int(one) for one in random.integers(1, 5, rows)],
            "bonus": random.normal(0, 1, rows),
            "remark": "",
        }
    )


def classifier(folder: Path, fn: str) -> None:
    table = fruit(200)
    model = make_pipeline(FunctionTransformer(numbers), LogisticRegression()).fit(table, table["kind"])
    specs = [ColSpec(DataType[kind], name) for name, kind in ALL.items()]
    specs += [ColSpec(DataType[kind], name, required=False) for name, kind in OPTIONAL.items()]
    outputs = Schema([TensorSpec(np.dtype("float64"), (-1, 3))]) if fn == "predict_proba" else columns(kind="string")
    mlflow.sklearn.save_model(
        model,
        folder,
        signature=ModelSignature(Schema(specs), outputs),
        pyfunc_predict_fn=fn,
        serialization_format="cloudpickle",
        pip_requirements=[],
    )


def main(folder: Path) -> None:
    """Save all models below a folder."""
    x, single, floats = (
        columns(x="double"),
        tensors(x=("float32", (-1,))),
        Schema([TensorSpec(np.dtype("float32"), (-1,))]),
    )
    params = ParamSchema([ParamSpec("factor", "double", 1.0), ParamSpec("offsets", "long", [0], (-1,))])
    shapes = tensors(tag=("str", (-1,)), signal=("int64", (-1, 5)), sensor=("int64", (-1, 2, 2)))
    place = Object([Property("city", DataType.string), Property("floor", DataType.long, required=False)])
    made: dict[str, tuple[Any, ModelSignature | None]] = {
        "half_plus_two": (Half(2), ModelSignature(floats, floats)),
        "half_plus_three": (Half(3), ModelSignature(single, tensors(y=("float32", (-1,))))),
        "half_by_column": (Half(2), ModelSignature(x, columns(y="double"))),
        "several": (Several(table=False), ModelSignature(x, columns(double="double", large="boolean", word="string"))),
        "table": (Several(table=True), ModelSignature(x)),
        "shapes": (Shapes(), ModelSignature(shapes)),
        "series": (Series(), ModelSignature(x)),
        "scaled": (Scaled(), ModelSignature(x, params=params)),
        "deep": (Deep(), ModelSignature(columns(values=Array(DataType.double), place=place))),
        "texts": (Texts(), ModelSignature(columns(image="binary", caption="string"))),
        "bare": (Bare(), None),
        "odd": (Odd(), ModelSignature(columns(say="string"))),
        "trouble": (Trouble(), ModelSignature(columns(do="string", x="double"))),
    }
    for name, (model, signature) in made.items():
        mlflow.pyfunc.save_model(folder / name, python_model=model, signature=signature, pip_requirements=[])
    classifier(folder / "fruit", "predict_proba")
    classifier(folder / "fruit_kind", "predict")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
