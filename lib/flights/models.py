"""The candidates: four ways from features to a probability, each a plain scikit-learn pipeline.

A pipeline takes a table with the columns FEATURES and holds no class of this project, so that whoever has scikit-learn
and the model's folder can load and use it.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from flights.features import CATEGORIES, FEATURES, NUMBERS

Hyperparameters = Mapping[str, Any]

# What skops loads only when it is named: trees, which are arrays that compiled code walks through, and NumPy's dtypes.
TRUSTED_TYPES = [
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]

# What `{}` means. `tune` looks for better ones; what it found is in params/.
DEFAULTS: dict[str, dict[str, Any]] = {
    "base_rate": {"min_samples_leaf": 100},
    "logistic": {"C": 0.01},
    "forest": {
        "n_estimators": 60,
        "max_leaf_nodes": 1000,
        "min_samples_leaf": 20,
        "max_features": 0.15,
        "max_samples": 0.25,
    },
    "boosting": {
        "max_iter": 300,
        "learning_rate": 0.03,
        "max_leaf_nodes": 31,
        "min_samples_leaf": 200,
        "max_features": 0.15,
        "l2_regularization": 10.0,
    },
}


def pipeline(name: str, hyperparameters: Hyperparameters | None = None, seed: int = 0) -> Pipeline:
    """An unfitted candidate; `hyperparameters` replace some of its DEFAULTS.

    Raises ValueError for a name or a hyperparameter that does not exist.
    """
    if name not in _BUILDERS:
        raise ValueError(f"there is no model {name!r}: choose from {', '.join(_BUILDERS)}")
    return _BUILDERS[name]({**DEFAULTS[name], **(hyperparameters or {})}, seed)


def names() -> list[str]:
    """All candidates, the simplest first."""
    return list(_BUILDERS)


def requirements() -> list[str]:
    """The packages that a logged model needs, pinned: MLflow would start a process to find out."""
    return [f"{name}=={version(name)}" for name in ("scikit-learn", "skops", "numpy", "scipy", "pandas")]


def folders(paths: Sequence[str]) -> list[Path]:
    """The MLflow model folders that the paths name; a path may be a pattern such as `train/*/latest/model`."""
    found = [Path(one) for path in paths for one in (sorted(glob.glob(path)) or [path])]  # noqa: PTH207 - may be absolute
    lacking = [str(folder) for folder in found if not (folder / "MLmodel").is_file()]
    if lacking or not found:
        raise FileNotFoundError(f"no MLflow model in {', '.join(lacking) or 'an empty list'}. Has `train` run?")
    return found


def example(table: pd.DataFrame, rows: int = 5) -> pd.DataFrame:
    """A few rows of a model's input, with nothing missing where the table allows that."""
    whole = table[FEATURES].dropna()
    return (whole if len(whole) >= rows else table[FEATURES]).head(rows).reset_index(drop=True)


def _base_rate(hyperparameters: Hyperparameters, seed: int) -> Pipeline:
    """Share of late flights by airport and hour: a tree that splits by nothing else until it can split no more."""
    columns = ColumnTransformer([("airport", _one_hot(), ["origin"]), ("hour", "passthrough", ["hour"])])
    return _with(columns, DecisionTreeClassifier(random_state=seed), hyperparameters)


def _logistic(hyperparameters: Hyperparameters, seed: int) -> Pipeline:
    """Logistic regression on standardized numbers; airport, carrier, hour and weekday each have their own level."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer(
        [("levels", _one_hot(), [*CATEGORIES, "hour", "weekday"]), ("numbers", numbers, NUMBERS)]
    )
    return _with(columns, LogisticRegression(max_iter=500, random_state=seed), hyperparameters)


def _forest(hyperparameters: Hyperparameters, seed: int) -> Pipeline:
    return _with(_numbers(), RandomForestClassifier(n_jobs=1, random_state=seed), hyperparameters)


def _boosting(hyperparameters: Hyperparameters, seed: int) -> Pipeline:
    model = HistGradientBoostingClassifier(early_stopping=False, random_state=seed)
    return _with(_numbers(), model, hyperparameters)


def _with(columns: ColumnTransformer, model: Any, hyperparameters: Hyperparameters) -> Pipeline:
    return Pipeline([("columns", columns), ("model", model.set_params(**hyperparameters))])


def _one_hot() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False)


def _numbers() -> ColumnTransformer:
    """Numbers as they are: trees need no scale and know what to do with a missing one."""
    return ColumnTransformer([("numbers", "passthrough", NUMBERS)])


_BUILDERS: dict[str, Callable[[Hyperparameters, int], Pipeline]] = {
    "base_rate": _base_rate,
    "logistic": _logistic,
    "forest": _forest,
    "boosting": _boosting,
}
