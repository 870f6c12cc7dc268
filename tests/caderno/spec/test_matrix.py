from __future__ import annotations

import textwrap

import pytest
from workshop import Workshop

from caderno.errors import InvalidPipeline


def ids(shop: Workshop, matrix: str) -> list[str]:
    shop.notebook("train.ipynb", "model: str = ''\nfold: int = 0", "1")
    shop.pipeline(f"train: {{notebook: train.ipynb, matrix: {{{matrix}}}}}")
    return [task.removeprefix("train") for task in shop.load().tasks]


AXES = "model: [a, b], fold: [1, 2]"


def test_exclude_takes_out_what_has_all_its_values(shop: Workshop) -> None:
    assert ids(shop, f"{AXES}, exclude: [{{model: a, fold: 2}}]") == [
        "[model=a,fold=1]",
        "[model=b,fold=1]",
        "[model=b,fold=2]",
    ]
    assert ids(shop, f"{AXES}, exclude: [{{model: a}}]") == ["[model=b,fold=1]", "[model=b,fold=2]"]


def test_include_adds_after_exclude_in_the_order_of_the_axes(shop: Workshop) -> None:
    found = ids(shop, f"{AXES}, exclude: [{{model: a}}], include: [{{fold: 9, model: a}}]")
    assert found[-1] == "[model=a,fold=9]"
    assert len(found) == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("exclude: [{mode: a}]", "'mode' is no axis of the matrix\n  did you mean 'model'?"),
        ("exclude: [{model: c}]", "no combination has model=c"),
        ("exclude: [{model: a}, {model: b}]", "no combination is left"),
        (
            "include: [{model: c}]",
            "a combination to add names every axis, and nothing else\n  name each of model, fold",
        ),
        ("include: [{model: a, fold: 1}]", "model=a,fold=1 is there already"),
        ("include: 3", "include"),
        ("empty: []", "empty"),
    ],
)
def test_what_is_wrong_in_a_matrix_is_told_with_its_line(shop: Workshop, more: str, message: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        ids(shop, f"{AXES}, {more}")
    assert message in str(caught.value)
    assert "params/tiny.yaml:3" in str(caught.value)


def test_a_sweep_that_feeds_another_of_its_size_is_matched_by_value(shop: Workshop) -> None:
    shop.notebook("a.ipynb", "n: int = 0\nout: str = ''", "1")
    shop.notebook("b.ipynb", "n: int = 0\nmade: str = ''", "1")
    values = list(range(3000))
    shop.pipeline(
        f"""
        a: {{notebook: a.ipynb, matrix: {{n: {values}}}, outputs: {{out: o}}}}
        b: {{notebook: b.ipynb, matrix: {{n: {values}}}, inputs: {{made: a.out}}}}
        """
    )
    tasks = shop.load().tasks
    assert tasks["b[n=2999]"].upstream == ("a[n=2999]",)
    assert len(tasks) == 6000


def folding(shop: Workshop, tasks: str) -> None:
    shop.notebook("folds.ipynb", "list: str = ''\nn: int = 0", "1")
    shop.notebook("train.ipynb", "fold: int = 0\nmodel: str = ''\nmade: str = ''", "1")
    shop.pipeline(f"folds: {{notebook: folds.ipynb, outputs: {{list: folds.json}}}}\n{textwrap.dedent(tasks)}")


def test_an_axis_from_an_output_stands_open_until_its_values_are_known(shop: Workshop) -> None:
    matrix = "{fold: {from: folds.list}, model: [a, b], exclude: [{fold: 1, model: a}]}"
    folding(shop, f"train: {{notebook: train.ipynb, matrix: {matrix}}}")
    pipeline = shop.load()
    assert list(pipeline.tasks) == ["folds", "train[fold=?,model=a]", "train[fold=?,model=b]"]
    assert pipeline.tasks["train[fold=?,model=a]"].upstream == ("folds",)
    assert list(pipeline.open) == [("train", "fold")]
    closed = pipeline.closed({("train", "fold"): [1, 2]})
    assert list(closed.tasks)[1:] == ["train[fold=1,model=b]", "train[fold=2,model=a]", "train[fold=2,model=b]"]
    assert not closed.open
    assert [task.id for task in pipeline.select(["train[fold=2,model=b]"])] == ["folds", "train[fold=?,model=b]"]


def test_open_and_known_values_of_one_axis_agree_once_all_are_known(shop: Workshop) -> None:
    folding(
        shop,
        """
        train: {notebook: train.ipynb, matrix: {fold: {from: folds.list}}, outputs: {made: m}}
        score: {notebook: train.ipynb, matrix: {fold: [1, 2]}, inputs: {made: train.made}}
        """,
    )
    pipeline = shop.load()
    assert pipeline.tasks["score[fold=2]"].upstream == ("train[fold=?]",)
    assert pipeline.closed({("train", "fold"): [1, 2]}).tasks["score[fold=2]"].upstream == ("train[fold=2]",)
    with pytest.raises(InvalidPipeline, match="no instance of train has fold=2"):
        pipeline.closed({("train", "fold"): [1, 3]})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{from: folds.lst}", "task folds has no output 'lst'\n  did you mean 'list'?"),
        ("{from: fold.list}", "there is no task 'fold'\n  did you mean 'folds'?"),
        ("{from: train.made}", "the tasks wait for each other: train → train"),
        ("{from: many.list}", "task many has a matrix"),
        ("{form: folds.list}", "unknown key 'form' in tasks.train.matrix.fold\n  did you mean 'from'?"),
        ("{from: 3}", "tasks.train.matrix.fold.from: "),
        ("3", "tasks.train.matrix.fold: "),
    ],
)
def test_a_source_of_values_that_is_none_is_told_with_its_line(shop: Workshop, source: str, message: str) -> None:
    with pytest.raises(InvalidPipeline) as caught:
        folding(
            shop,
            f"""
            many: {{notebook: folds.ipynb, matrix: {{n: [1, 2]}}, outputs: {{list: l.json}}}}
            train: {{notebook: train.ipynb, matrix: {{fold: {source}}}, outputs: {{made: m}}}}
            """,
        )
        shop.load()
    assert message in str(caught.value)
    assert "params/tiny.yaml:" in str(caught.value)


@pytest.mark.parametrize(
    ("head", "key", "message"),
    [
        ("resources: {gpu: 1}", "resources: {gpus: 1}", "no resource 'gpus'\n  did you mean 'gpu'?"),
        ("resources: {gpu: 1}", "resources: {gpu: 2}", "takes 2 of gpu, and a run has 1"),
        ("", "resources: {gpu: 1}", "no resource 'gpu'\n  give the pipeline resources: {gpu: …}"),
        ("", "resources: {cpus: 2}", "cpus is a key of the task itself"),
        ("", "resources: {gpu: 0}", "greater than or equal to 1"),
        ("", "cpus: 0", "greater than or equal to 1"),
        ("", "cpus: many", "valid integer"),
    ],
)
def test_a_resource_that_is_not_there_is_told_with_its_line(shop: Workshop, head: str, key: str, message: str) -> None:
    shop.notebook("a.ipynb", "", "1")
    shop.pipeline(f"a: {{notebook: a.ipynb, {key}}}", head=f"{head}\n" if head else "")
    with pytest.raises(InvalidPipeline) as caught:
        shop.load()
    assert message in str(caught.value)
    assert "params/tiny.yaml:" in str(caught.value)
