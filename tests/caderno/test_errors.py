from __future__ import annotations

import re

import pytest

from caderno import errors
from caderno.errors import CadernoError, InvalidPipeline, Problem, UnknownName, did_you_mean, nearest


def subclasses(kind: type) -> set[str]:
    return {kind.__name__}.union(*(subclasses(child) for child in kind.__subclasses__()))


def test_the_docstring_draws_the_whole_tree() -> None:
    drawn = set(re.findall(r"^\s+(?:│ +)?(?:[├└]── )?([A-Z]\w+)", errors.__doc__ or "", re.M))
    assert drawn == {name for name in subclasses(CadernoError) if hasattr(errors, name)}


def test_a_hint_stands_under_its_message() -> None:
    assert str(CadernoError("no pipeline", "write one")) == "no pipeline\n  write one"
    assert str(CadernoError("no pipeline")) == "no pipeline"


@pytest.mark.parametrize(
    ("name", "near"),
    [("sede", "seed"), ("SEED", "seed"), ("mont", "month"), ("Month", "month"), ("zzz", None), ("", None)],
)
def test_the_nearest_name_is_the_one_that_was_meant(name: str, near: str | None) -> None:
    assert nearest(name, ["seed", "month", "rate"]) == near


def test_without_a_near_name_the_known_ones_are_listed_but_not_by_the_hundred() -> None:
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert did_you_mean("zzz", [f"task{i:03}" for i in range(100)]).endswith("task007, …")
    assert did_you_mean("zzz", [], "task") == "no task is known here"


def test_an_unknown_name_says_its_kind_and_the_nearest() -> None:
    error = UnknownName("task", "trian", ["train", "compare"])
    assert str(error) == "there is no task 'trian'\n  did you mean 'train'?"


def test_all_problems_stand_in_one_error() -> None:
    error = InvalidPipeline([Problem("a.yaml:1", "one", "do this"), Problem("a.yaml:2", "two")])
    assert str(error) == "a.yaml:1: one\n  do this\na.yaml:2: two"
    assert len(error.problems) == 2
