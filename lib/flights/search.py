"""A search for better hyperparameters that never validates on what was before the training's end.

The time-ordered kin of cross-validation: train on all months up to some month, validate on the next ones, move on
(Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed. 2021, section 5.10).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import ParameterSampler

from flights.evaluate import Scores
from flights.features import DAY, FEATURES, LABEL
from flights.models import DEFAULTS, pipeline

SPACES: dict[str, dict[str, list[Any]]] = {
    "base_rate": {"min_samples_leaf": [1, 20, 100, 500]},
    "logistic": {"C": [0.0001, 0.001, 0.01, 0.1, 1.0]},
    "forest": {
        "max_leaf_nodes": [500, 1000, 2000],
        "min_samples_leaf": [5, 20, 50],
        "max_features": [0.1, 0.2, 0.3],
        "max_samples": [0.15, 0.25, 0.35],
    },
    "boosting": {
        "max_iter": [200, 300, 400],
        "learning_rate": [0.02, 0.03, 0.05],
        "max_leaf_nodes": [15, 31, 63],
        "min_samples_leaf": [50, 200, 500],
        "max_features": [0.05, 0.1, 0.2],
        "l2_regularization": [1.0, 10.0, 100.0],
    },
}


@dataclass(frozen=True)
class Window:
    """Rows to train on and rows, all later, to validate on; `months` names the latter."""

    months: str
    train: pd.DataFrame
    validation: pd.DataFrame


def windows(table: pd.DataFrame, number: int = 3, months: int = 2) -> list[Window]:
    """Up to `number` windows of `months` whole months each at the end of the table, the earliest first.

    Each trains on all that was before it. There is at least one as long as the table spans two months or more.
    """
    month = table[DAY].dt.to_period("M")
    known = sorted(month.unique())
    size = min(months, len(known) - 1)
    starts = list(range(len(known) - size, 0, -size))[:number] if size > 0 else []
    if not starts:
        raise ValueError(f"one month, {known[0]}, cannot be split into an earlier and a later part")
    return [_window(table, month, known[start : start + size]) for start in reversed(starts)]


def _window(table: pd.DataFrame, month: pd.Series, validation: Sequence[pd.Period]) -> Window:
    name = str(validation[0]) if len(validation) == 1 else f"{validation[0]} to {validation[-1]}"
    return Window(name, table[month < validation[0]], table[month.isin(list(validation))])


def settings(model: str, trials: int, seed: int) -> list[dict[str, Any]]:
    """The DEFAULTS first, then up to `trials` random ones out of the model's space, none of them twice."""
    space = SPACES[model]
    size = int(np.prod([len(values) for values in space.values()]))
    drawn = ParameterSampler(space, n_iter=min(trials, size), random_state=seed)
    ordered = [{name: one[name] for name in space} for one in drawn]
    return [dict(DEFAULTS[model]), *(one for one in ordered if one != DEFAULTS[model])]


def search(model: str, tried: Sequence[Mapping[str, Any]], some: Sequence[Window], seed: int) -> Iterator[pd.DataFrame]:
    """For each setting, a table with a row a window: trial, months, roc_auc, brier, log_loss, seconds."""
    for trial, hyperparameters in enumerate(tried):
        rows = [
            {"trial": trial, "months": window.months, **_validate(model, hyperparameters, window, seed)}
            for window in some
        ]
        yield pd.DataFrame(rows)


def summarize(results: pd.DataFrame) -> pd.DataFrame:
    """One row a trial, best mean ROC AUC first: means over the windows, and `gain`, `low`, `high` over trial 0.

    `low` and `high` are the smallest and the largest gain in ROC AUC of any window: with a handful of windows, a
    standard error would promise too much.
    """
    auc = results.pivot_table(index="trial", columns="months", values="roc_auc")
    gain = auc - auc.loc[0]
    means = results.groupby("trial")[["roc_auc", "brier", "log_loss", "seconds"]].mean()
    table = means.assign(gain=gain.mean(axis=1), low=gain.min(axis=1), high=gain.max(axis=1))
    return table.sort_values("roc_auc", ascending=False)


def _validate(model: str, hyperparameters: Mapping[str, Any], window: Window, seed: int) -> dict[str, float]:
    begin = time.perf_counter()
    fitted = pipeline(model, hyperparameters, seed).fit(window.train[FEATURES], window.train[LABEL])
    probability = fitted.predict_proba(window.validation[FEATURES])[:, 1]
    point = Scores.of(window.validation[LABEL], probability, window.validation[DAY]).point()
    seconds = time.perf_counter() - begin
    return {name: point[name] for name in ("roc_auc", "brier", "log_loss")} | {"seconds": seconds}
