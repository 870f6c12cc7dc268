"""What the gate measures: models as MLflow keeps them, loaded in processes of their own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from caderno.deliver.evidence import Measured, Question, measure
from caderno.project import Project
from caderno.spec.file import GateFile

pytestmark = pytest.mark.kernel

EXAMPLE = pd.DataFrame({"x": [0.1, 1 / 3, None]})
CODE = """
import json, os, time
import mlflow, numpy as np, pandas as pd
calls = 0
class Score(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        global calls
        calls += 1
        x = np.asarray(model_input["x"], float)
        p = 1 / (1 + np.exp(-np.nan_to_num(x)))
        {body}
mlflow.models.set_model(Score())
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(1)
    day = np.repeat(pd.date_range("2026-01-01", periods=30, freq="D"), 40)
    table = pd.DataFrame({"day": day, "x": random.normal(size=len(day)), "shop": random.choice(["n", "s"], len(day))})
    table["late"] = random.random(len(day)) < 1 / (1 + np.exp(-table["x"]))
    table["some"] = table["x"].where(table["x"] > 0)
    path = tmp_path_factory.mktemp("rows") / "test.parquet"
    table.to_parquet(path)
    return path


Asked = Callable[..., Measured]


@pytest.fixture
def ask(tmp_path: Path, rows: Path) -> Asked:
    """Measures a model whose predict() ends with `body`, under a gate with `rules`."""

    def asked(body: str, champion: str = "", example: Any = EXAMPLE, **rules: Any) -> Measured:
        folders = [_saved(tmp_path, name, one, example) for name, one in (("a", body), ("b", champion)) if one]
        gate = {"candidates": "t.model", "test": "d.test", "outcome": "late", "metric": "roc_auc", "unit": "day"}
        question = Question(folders[0], folders[1] if champion else None, rows, {"logged": 3.0, "roc_auc_low": 0.1})
        return measure(Project(tmp_path), question, GateFile(**{**gate, **rules}))

    return asked


def _saved(folder: Path, name: str, body: str, example: Any) -> Path:
    import mlflow
    from mlflow.models import Model, infer_signature
    from mlflow.models.utils import _save_example

    code, target = folder / f"{name}.py", folder / name
    code.write_text(CODE.replace("{body}", body))
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings(action="ignore"):  # of MLflow: that the model says no types; and its own use of pandas
        mlflow.pyfunc.save_model(target, python_model=str(code), pip_requirements=[])
        if example is not None:  # save_model would ask the model for answers, and some of these end the process
            model = Model.load(target)
            model.signature = infer_signature(example)
            _save_example(model, example, str(target))
            model.save(target / "MLmodel")
    return target


def test_a_good_model_and_its_figures(ask: Asked) -> None:
    found = ask("return p", "return np.full(len(x), 0.4) + 0.01 * p", slices={"shop": 0.1, "day": 0.1})
    assert found.evidence.broken == ()
    assert (found.rows, found.units, found.span) == (1200, 30, "2026-01-01 to 2026-01-30")
    assert found.evidence.metrics["logged"] == 3
    assert "roc_auc_low" not in found.evidence.metrics  # the notebook's interval is one of other rows
    assert found.evidence.metrics["calibration_slope"] == pytest.approx(1, abs=0.25)
    assert found.evidence.metrics["roc_auc"] == pytest.approx(found.champion["roc_auc"], abs=1e-6), "the same order"
    assert found.evidence.metrics["brier"] < found.champion["brier"]
    assert set(found.sizes) == {("shop", "n"), ("shop", "s"), ("day", "2026-01")}
    assert found.evidence.difference
    assert found.evidence.difference.value == pytest.approx(0, abs=1e-9)
    assert found.packaged["latency"] > 0
    assert len(found.packaged["example"]) == 3
    assert found.packaged["pickles"] == []


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["roc_auc", "brier"])
def test_independent_rows_have_intervals_too(ask: Asked, metric: str) -> None:
    found = ask("return p", "return np.clip(p + 0.2 * np.sin(17 * x), 0, 1)", unit=None, metric=metric)
    gap = found.evidence.difference
    assert gap
    assert gap.low < gap.value < gap.high
    assert (found.units, found.span) == (1200, "")


BROKEN = {
    "the second answer differs": ("return np.clip(p + 0.001 * calls, 0, 1)", {}, "differently the second time"),
    "classes": ("return (p > 0.5).astype(float)", {}, "predict_proba"),
    "no probabilities": ("return 10 * p", {}, "are no probabilities"),
    "nothing for some": ("return np.where(np.arange(len(x)) % 7, p, np.nan)", {}, "are no finite numbers"),
    "too many classes": ("return np.stack([p, p, p], axis=1)", {}, "one number a row is needed"),
    "raises": ("raise RuntimeError('no lookup table')", {}, "RuntimeError: no lookup table"),
    "ends its process": ("os._exit(7)", {}, "the process ended with code 7"),
    "slow": ("time.sleep(0.02); return p", {"latency": "5ms"}, "more than 5 ms"),
    "large": ("return p", {"size": "1K"}, "more than 0.001 MB"),
    "no such outcome": ("return p", {"outcome": "lat"}, "no column 'lat'"),
    "an outcome of many values": ("return p", {"outcome": "x"}, "needs an outcome that is 0 or 1"),
    "a unit that is missing": ("return p", {"unit": "some"}, "of the test rows have no some"),
    "another contract": ("return p", {"contract": "rules:check"}, "contract rules:check: ValueError: 1200 rows"),
    "no such contract": ("return p", {"contract": "rules:chekc"}, "AttributeError"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.slow
def test_what_is_broken_is_named(ask: Asked, tmp_path: Path, name: str) -> None:
    body, rules, told = BROKEN[name]
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/rules.py").write_text("def check(table):\n    raise ValueError(f'{len(table)} rows')\n")
    found = ask(body, **rules)
    assert any(told in one for one in found.evidence.broken), found.evidence.broken


@pytest.mark.slow
def test_a_model_without_an_example_is_not_let_through(ask: Asked) -> None:
    assert ask("return p", example=None).evidence.broken == (
        "the model has no input example: log it with input_example=",
    )


@pytest.mark.slow
def test_a_model_that_takes_what_the_rows_lack(ask: Asked) -> None:
    found = ask("return p", example=pd.DataFrame({"x": [0.1], "altitude": [3.0]}))
    assert any("the test rows lack what the model takes: altitude" in one for one in found.evidence.broken)
