from __future__ import annotations

import pytest
from workshop import Workshop

from caderno.errors import UnknownName


@pytest.fixture
def shop_of_five(shop: Workshop) -> Workshop:
    """raw → dataset → train (2 models × 2 folds) → compare; alone beside them."""
    shop.notebook("etl/raw.ipynb", "out: str = ''", "1")
    shop.notebook("etl/dataset.ipynb", "raw: str = ''\nout: str = ''", "1")
    shop.notebook("train.ipynb", "data: str = ''\nout: str = ''\nmodel: str = ''\nfold: int = 0", "1")
    shop.notebook("compare.ipynb", "trained: list = []", "1")
    shop.notebook("alone.ipynb", "x: int = 1", "1")
    shop.pipeline(
        """
        raw: {notebook: etl/raw.ipynb, outputs: {out: o}}
        dataset: {notebook: etl/dataset.ipynb, inputs: {raw: raw.out}, outputs: {out: o}}
        train:
          notebook: train.ipynb
          matrix: {model: [forest, logistic], fold: [1, 2]}
          inputs: {data: dataset.out}
          outputs: {out: o}
        compare: {notebook: compare.ipynb, inputs: {trained: train.out}}
        alone: {notebook: alone.ipynb}
        """
    )
    return shop


TRAIN = {f"train[model={model},fold={fold}]" for model in ("forest", "logistic") for fold in (1, 2)}
FOREST = {"train[model=forest,fold=1]", "train[model=forest,fold=2]"}


@pytest.mark.parametrize(
    ("target", "ids"),
    [
        ("alone", {"alone"}),
        ("train", TRAIN),
        ("train[model=forest,fold=2]", {"train[model=forest,fold=2]"}),
        ("train[fold=2,model=forest]", {"train[model=forest,fold=2]"}),
        ("train[model=forest]", FOREST),
        ("train[model=f*]", FOREST),
        ("tra*", TRAIN),
        ("etl/*", {"raw", "dataset"}),
        ("+dataset", {"raw", "dataset"}),
        ("dataset+", {"dataset", *TRAIN, "compare"}),
        ("+dataset+", {"raw", "dataset", *TRAIN, "compare"}),
        ("train[model=forest]+", {*FOREST, "compare"}),
        ("+etl/*", {"raw", "dataset"}),
    ],
)
def test_a_word_names_tasks(shop_of_five: Workshop, target: str, ids: set[str]) -> None:
    assert shop_of_five.load().named([target]) == ids


def test_what_is_named_comes_with_what_it_needs(shop_of_five: Workshop) -> None:
    selected = [task.id for task in shop_of_five.load().select(["train[model=forest]"])]
    assert selected == ["raw", "dataset", *sorted(FOREST)]


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("trian", "did you mean 'train'?"),
        ("+trian+", "did you mean 'train'?"),
        ("train[model=forrest]", "did you mean 'train[model=forest"),
        ("nothing/*", "known: alone, compare"),
        ("train[mode=forest]", "train[model=forest"),
    ],
)
def test_a_word_that_names_nothing_comes_with_the_nearest(shop_of_five: Workshop, target: str, hint: str) -> None:
    with pytest.raises(UnknownName) as caught:
        shop_of_five.load().named([target])
    assert hint in str(caught.value)


def test_force_runs_anew_what_is_named_and_not_what_it_needs(shop_of_five: Workshop) -> None:
    shop_of_five.settle()
    plain = {one.task.id: one.why for one in shop_of_five.plan("dataset", force=True).tasks}
    assert plain == {"raw": "cached", "dataset": "forced"}
    above = {one.task.id: one.why for one in shop_of_five.plan("+dataset", force=True).tasks}
    assert above == {"raw": "forced", "dataset": "forced"}


def test_changed_names_what_has_a_result_for_something_else(shop_of_five: Workshop) -> None:
    assert shop_of_five.planner().changed() == []
    done = shop_of_five.caderno("plan", "--changed")
    assert (done.code, done.out) == (0, "nothing has changed\n")
    shop_of_five.settle()
    shop_of_five.notebook("alone.ipynb", "x: int = 1", "2")
    assert shop_of_five.planner().changed() == ["alone"]
    assert "alone" in shop_of_five.caderno("plan", "--changed")


def test_failed_without_a_run_says_so(shop_of_five: Workshop) -> None:
    done = shop_of_five.caderno("plan", "--failed")
    assert (done.code, done.out) == (0, "nothing failed in the last run\n")
