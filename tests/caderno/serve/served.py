"""Models made on the spot, and the application that serves them, for the tests of pages and of the description."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from werkzeug.serving import make_server

from caderno.serve.answering import Service
from caderno.serve.app import create_app
from caderno.serve.batching import Settings
from caderno.serve.shelf import Shelf
from caderno.serve.signature import Range
from caderno.serve.sources import Folder, Source

MANY = [f"wind_{i}" for i in range(1, 9)] + [f"past_{i}" for i in range(1, 6)]
LIMITS = {
    "x": Range(-2, 2, None, False),
    "shop": Range(allowed=frozenset(["north", "south"]), nullable=False),
    "wind_1": Range(0, 50),
    "wind_2": Range(low=0),
}
HOSTILE = """x'"><img src=x onerror=document.title='pwned'><script>document.title='pwned'</script>"""
NAME = HOSTILE.replace("/", "|")  # a name in an address has no slash


class Bounded(Folder):
    """A folder whose columns have limits."""

    def ranges(self) -> Mapping[str, Range]:
        return LIMITS


def classifier(folder: Path) -> Path:
    """Save a classifier of two classes with columns of all kinds."""
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    table = pd.DataFrame({"x": [0.1, -0.2, 1.5, -1.0], "shop": ["north", "south"] * 2, "count": [1, 2, 3, 4]})
    table = table.assign(sunny=True, day=pd.Timestamp("2026-01-02T03:04:05"), note=None, **dict.fromkeys(MANY, 1 / 3))
    kept = ColumnTransformer([("x", "passthrough", ["x", "count"]), ("shop", OneHotEncoder(), ["shop"])])
    model = make_pipeline(kept, LogisticRegression()).fit(table, ["late", "in time"] * 2)
    types = {"x": "double", "shop": "string", "count": "long", "sunny": "boolean", "day": "datetime"}
    columns = [ColSpec(kind, name) for name, kind in types.items()]
    columns += [ColSpec("string", "note", required=False), *(ColSpec("double", name) for name in MANY)]
    gives = Schema([TensorSpec(_dtype("float64"), (-1, 2))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            model,
            folder,
            signature=ModelSignature(Schema(columns), gives),
            input_example=table.head(1),
            pyfunc_predict_fn="predict_proba",
            pip_requirements=[],
        )
    return folder


def doubler(folder: Path) -> Path:
    """Save a model of one tensor, which it doubles."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    class Double(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
        def predict(self, context, model_input):  # type: ignore[no-untyped-def]  # MLflow warns of hints
            return model_input * 2

    spec = Schema([TensorSpec(_dtype("float64"), (-1, 3))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = ModelSignature(spec, spec)
        mlflow.pyfunc.save_model(folder, python_model=Double(), signature=signature, pip_requirements=[])
    return folder


def echo(folder: Path) -> Path:
    """Save a model with a column of a hostile name, which gives back what is in it, and fails if that is "fail"."""
    import mlflow
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc,name-defined]
        def predict(self, context, model_input):  # type: ignore[no-untyped-def]  # MLflow warns of hints
            found = model_input.iloc[:, 0]
            if "fail" in list(found):
                raise ValueError(found.name)
            return found

    column = ColSpec("string", HOSTILE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            folder,
            python_model=Echo(),
            signature=ModelSignature(Schema([column]), Schema([ColSpec("string", HOSTILE)])),
            input_example=pd.DataFrame({HOSTILE: [HOSTILE]}),
            pip_requirements=[],
        )
    return folder


def _dtype(name: str) -> Any:
    import numpy as np

    return np.dtype(name)


@contextmanager
def serving(*sources: Source) -> Iterator[tuple[Flask, Service]]:
    """Serve models for as long as inside."""
    shelf = Shelf(sources, Settings(patience=20))
    shelf.refresh()
    service = Service(shelf, 1000, sources[0].name if len(sources) == 1 else None)
    yield create_app(service, 1_000_000), service
    shelf.end()


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    """Give the address at which an application is reached for as long as inside."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
