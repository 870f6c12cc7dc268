"""Which features does a model lean on?

A family of features is shuffled as a whole, so that its rows stay possible in themselves but belong to other flights,
and the loss of ROC AUC tells how much the model relied on it (permutation importance: Breiman, Random Forests, Machine
Learning 45, 2001). Feature by feature it would say little here: most have near twins that step in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from flights.evaluate import Floats, Scores, differences
from flights.features import DAY, FEATURES, LABEL

INTACT = "intact"


def losses(
    model: Pipeline, table: pd.DataFrame, families: Mapping[str, Sequence[str]], weights: Floats, seed: int
) -> pd.DataFrame:
    """The ROC AUC that is lost without each family: columns candidate (the family), value, low, high; largest first.

    `weights` (R x D) draw the table's days, as `evaluate.resamples` makes them.
    """
    rng = np.random.default_rng(seed)
    inputs = {INTACT: table[FEATURES]} | {
        family: _shuffled(table[FEATURES], columns, rng) for family, columns in families.items()
    }
    scores = {
        name: Scores.of(table[LABEL], model.predict_proba(rows)[:, 1], table[DAY]) for name, rows in inputs.items()
    }
    found = differences(scores, INTACT, weights)
    return found[found["metric"] == "roc_auc"].sort_values("value", ascending=False, ignore_index=True)


def _shuffled(table: pd.DataFrame, columns: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    others = table[list(columns)].iloc[rng.permutation(len(table))].set_axis(table.index)
    return table.assign(**{name: others[name] for name in columns})
