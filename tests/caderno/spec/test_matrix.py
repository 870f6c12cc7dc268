from __future__ import annotations

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
