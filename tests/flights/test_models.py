"""Candidates are plain scikit-learn pipelines that others can load; the search for better ones respects time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
import sklearn
from mlflow.models import infer_signature

from flights import importance, models, search
from flights.evaluate import resamples
from flights.features import CATEGORIES, FEATURES, NUMBERS

SMALL = {"forest": {"n_estimators": 20, "max_features": 0.5}, "boosting": {"max_iter": 10, "min_samples_leaf": 20}}


def dataset(rows: int = 600, seed: int = 0) -> pd.DataFrame:
    """A table like the dataset, from March to August: late when it is late already, with gaps in it."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(rows, len(NUMBERS))), columns=NUMBERS)
    table["hour"] = rng.integers(5, 9, rows).astype(float)
    table["weekday"] = rng.integers(0, 7, rows).astype(float)
    table["late"] = rng.random(rows) < 1 / (1 + np.exp(1 - 2 * table["origin_late_3h"]))
    table.loc[rng.random(rows) < 0.2, "origin_late_3h"] = np.nan
    table.insert(0, "origin", rng.choice(["EWR", "JFK", "LGA"], rows))
    table.insert(1, "carrier", rng.choice(["UA", "B6"], rows))
    return table.assign(day=pd.date_range("2013-03-01", "2013-08-31", periods=rows).normalize())


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return dataset()


@pytest.mark.parametrize("name", models.names())
def test_a_candidate_gives_probabilities_also_for_carriers_never_seen_and_where_values_are_missing(name, table):
    fitted = models.pipeline(name, SMALL.get(name), seed=1).fit(table[FEATURES], table["late"])
    other = dataset(50, seed=1).assign(carrier="ZZ", temp=np.nan)
    probability = fitted.predict_proba(other[FEATURES])
    assert probability.shape == (50, 2)
    assert ((probability >= 0) & (probability <= 1)).all()
    assert list(fitted.classes_) == [False, True]


@pytest.mark.parametrize("name", ["logistic", "forest", "boosting"])
def test_a_candidate_learns_and_the_same_seed_learns_the_same(name, table):
    one, same = (models.pipeline(name, SMALL.get(name), seed=7).fit(table[FEATURES], table["late"]) for _ in range(2))
    other = dataset(400, seed=2)
    probability = one.predict_proba(other[FEATURES])[:, 1]
    assert (probability == same.predict_proba(other[FEATURES])[:, 1]).all()
    assert search.Scores.of(other["late"], probability, other["day"]).point()["roc_auc"] > 0.6


@pytest.mark.parametrize("name", ["forest", "boosting"])
def test_another_seed_learns_something_else(name, table):
    one, other = (models.pipeline(name, SMALL[name], seed=s).fit(table[FEATURES], table["late"]) for s in (1, 2))
    assert (one.predict_proba(table[FEATURES]) != other.predict_proba(table[FEATURES])).any()


def test_the_base_rate_is_the_share_of_late_flights_by_airport_and_hour(table):
    fitted = models.pipeline("base_rate", {"min_samples_leaf": 1}).fit(table[FEATURES], table["late"])
    expected = table.groupby(["origin", "hour"])["late"].transform("mean")
    assert fitted.predict_proba(table[FEATURES])[:, 1] == pytest.approx(expected.to_numpy())


def test_hyperparameters_replace_defaults_one_by_one():
    model = models.pipeline("boosting", {"max_iter": 7}, seed=3)["model"]
    assert (model.max_iter, model.random_state) == (7, 3)
    assert model.learning_rate == models.DEFAULTS["boosting"]["learning_rate"]


def test_a_model_that_does_not_exist_is_refused_with_the_names_of_those_that_do():
    with pytest.raises(ValueError, match=r"'boost'.*base_rate, logistic, forest, boosting"):
        models.pipeline("boost")


def test_a_hyperparameter_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="max_itre"):
        models.pipeline("boosting", {"max_itre": 7})


def test_requirements_are_pinned_to_what_is_installed():
    assert f"scikit-learn=={sklearn.__version__}" in models.requirements()
    assert all("==" in requirement for requirement in models.requirements())


def test_the_example_rows_are_whole_where_the_table_has_whole_rows(table):
    assert not models.example(table).isna().any().any()
    assert models.example(table.assign(temp=np.nan)).shape == (5, len(FEATURES))


LOAD = """
import json, sys, warnings
import mlflow.pyfunc, mlflow.sklearn, pandas as pd
warnings.simplefilter("error")
rows, *folders = sys.argv[1:]
rows = pd.read_json(rows, dtype=False).astype({name: "float64" for name in NUMBERS})
loaded = [mlflow.sklearn.load_model(folder).predict_proba(rows).tolist() for folder in folders]
served = [mlflow.pyfunc.load_model(folder).predict(rows).tolist() for folder in folders]
assert not [name for name in sys.modules if name.split(".")[0] == "flights"]
print(json.dumps([loaded, served]))
"""


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")  # importing mlflow.pyfunc
@pytest.mark.filterwarnings("ignore:Operation with range is deprecated")  # mlflow.models.utils with pandas 3.1
def test_a_saved_model_is_loaded_without_pickle_warnings_or_this_package(table, tmp_path: Path):
    fitted = {
        name: models.pipeline(name, SMALL.get(name)).fit(table[FEATURES], table["late"]) for name in models.names()
    }
    example = models.example(table)
    for name in models.names():
        fitted[name] = candidate = models.pipeline(name, SMALL.get(name)).fit(table[FEATURES], table["late"])
        mlflow.sklearn.save_model(
            candidate,
            tmp_path / name,
            signature=infer_signature(example, candidate.predict_proba(example)),
            input_example=example,
            pip_requirements=models.requirements(),
            skops_trusted_types=models.TRUSTED_TYPES,
            pyfunc_predict_fn="predict_proba",
            metadata={"candidate": name},
        )
        assert not list((tmp_path / name).rglob("*.pkl"))
    example.to_json(tmp_path / "rows.json", double_precision=15)
    script = LOAD.replace("NUMBERS", repr([name for name in FEATURES if name not in CATEGORIES]))
    command = [sys.executable, "-c", script, str(tmp_path / "rows.json"), *(str(tmp_path / name) for name in fitted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded, served = json.loads(done.stdout)
    for candidate, probability in zip(fitted.values(), loaded, strict=True):
        assert np.asarray(probability) == pytest.approx(candidate.predict_proba(example), abs=1e-9)
    assert loaded == served


def test_windows_train_on_the_past_and_validate_on_the_next_whole_months(table):
    some = search.windows(table, number=2, months=2)
    assert [window.months for window in some] == ["2013-05 to 2013-06", "2013-07 to 2013-08"]
    for window in some:
        assert window.train["day"].max() < window.validation["day"].min()
        assert window.validation["day"].dt.month.nunique() == 2
        earlier = table[table["day"] < window.validation["day"].min()]
        pd.testing.assert_frame_equal(window.train, earlier)


def test_two_months_make_one_window_and_one_month_makes_none(table):
    two = table[table["day"] >= "2013-07-01"]
    assert [window.months for window in search.windows(two)] == ["2013-08"]
    with pytest.raises(ValueError, match="2013-08"):
        search.windows(table[table["day"] >= "2013-08-01"])


def test_settings_begin_with_the_defaults_and_hold_none_twice():
    tried = search.settings("boosting", trials=30, seed=1)
    assert tried[0] == models.DEFAULTS["boosting"]
    assert len({json.dumps(one, sort_keys=True) for one in tried[1:]}) == 30
    assert tried == search.settings("boosting", trials=30, seed=1)
    every = search.settings("logistic", trials=1000, seed=1)  # the defaults are in this space, too
    assert sorted(one["C"] for one in every) == sorted(search.SPACES["logistic"]["C"])


def test_the_search_prefers_what_validates_better(table):
    tried = [{"max_iter": 1, "min_samples_leaf": 300}, {"max_iter": 20, "min_samples_leaf": 20}]
    results = pd.concat(search.search("boosting", tried, search.windows(table, number=2, months=1), seed=0))
    ranked = search.summarize(results)
    assert list(ranked.index) == [1, 0]
    assert ranked.loc[1, "gain"] == pytest.approx(ranked.loc[1, "roc_auc"] - ranked.loc[0, "roc_auc"])
    assert ranked.loc[1, "low"] <= ranked.loc[1, "gain"] <= ranked.loc[1, "high"]
    assert ranked.loc[0, "gain"] == 0


def test_a_model_loses_most_without_the_features_it_leans_on(table):
    fitted = models.pipeline("boosting", SMALL["boosting"]).fit(table[FEATURES], table["late"])
    families = {"useless": ["temp", "dewp"], "telling": ["origin_late_3h"], "text": CATEGORIES}
    weights = resamples(table["day"].nunique(), 200, seed=0)
    found = importance.losses(fitted, table, families, weights, seed=0).set_index("candidate")
    assert found.index[0] == "telling"
    assert found.loc["telling", "low"] > 0.05
    assert found.loc["text", ["value", "low", "high"]].to_list() == [0, 0, 0]  # boosting sees numbers only


def test_folders_of_models_may_be_named_by_a_pattern_and_must_hold_one(tmp_path):
    for name in ("model=a", "model=b"):
        (tmp_path / name / "latest" / "model").mkdir(parents=True)
        (tmp_path / name / "latest" / "model" / "MLmodel").touch()
    found = models.folders([f"{tmp_path}/*/latest/model"])
    assert [folder.parent.parent.name for folder in found] == ["model=a", "model=b"]
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        models.folders([str(found[0]), f"{tmp_path}/elsewhere"])
    with pytest.raises(FileNotFoundError, match="empty list"):
        models.folders([])
