from __future__ import annotations

import math
from typing import Any

import pytest

from caderno.spec.types import WrongType, convert


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("int", 3),
        ("int", 2**70),
        ("float", 1.5),
        ("float", math.inf),
        ("str", "no"),
        ("bool", False),
        ("date", "2013-09-01"),
        ("datetime", "2013-09-01T06:00:00"),
        ("datetime.date", "2013-09-01"),
        ("Path", "data/x.csv"),
        ("pathlib.Path", "data/x.csv"),
        ("list", [1, "a"]),
        ("list[int]", []),
        ("list[list[str]]", [["a"], []]),
        ("dict", {"a": 1}),
        ("dict[str, float]", {"a": 1.5}),
        ("dict[str, dict[str, int | None]]", {"a": {"b": None}}),
        ("tuple[int, ...]", [1, 2]),
        ("Literal['logistic', 'forest']", "forest"),
        ("Literal[1, -1]", -1),
        ("Optional[int]", None),
        ("typing.Optional[int]", 3),
        ("int | None", None),
        ("None | int", 3),
        ("'int | None'", 3),
        ("Union[int, str]", "a"),
        ("Any", {"a": [None]}),
    ],
)
def test_a_value_that_its_annotation_admits_passes_as_it_is(annotation: str, value: Any) -> None:
    assert convert(value, annotation) == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        ("int", "3"),
        ("int", 3.0),
        ("int", True),
        ("int", None),
        ("float", "1.5"),
        ("float", True),
        ("str", 2013),
        ("str", True),
        ("str", None),
        ("bool", 1),
        ("bool", "true"),
        ("date", "2013-13-01"),
        ("date", "yesterday"),
        ("date", 15_000),
        ("datetime", "6 o'clock"),
        ("datetime", 15_000),
        ("Path", 3),
        ("list", "abc"),
        ("list[int]", [1, "2"]),
        ("list[str]", "abc"),
        ("dict", [1]),
        ("dict[str, float]", {"a": "b"}),
        ("Literal['logistic', 'forest']", "Forest"),
        ("Literal[1, 2]", "1"),
        ("Optional[int]", "none"),
        ("int | None", 0.5),
    ],
)
def test_a_value_that_its_annotation_does_not_admit_is_refused(annotation: str, value: Any) -> None:
    with pytest.raises(WrongType) as caught:
        convert(value, annotation)
    assert f"expected {annotation}, got " in str(caught.value)


def test_the_message_names_the_member_that_is_wrong() -> None:
    with pytest.raises(WrongType, match=r"at \[1\]"):
        convert([1, "2"], "list[int]")


def test_an_integer_becomes_the_float_that_is_asked_for() -> None:
    found = convert(1, "float")
    assert isinstance(found, float)
    assert found == 1.0


@pytest.mark.parametrize(
    "annotation", ["pd.Timestamp", "Model", "int[str]", "Literal[MODELS]", "Literal[()]", "list[Model]", "not python"]
)
def test_an_annotation_that_is_not_known_checks_nothing(annotation: str) -> None:
    assert convert(["anything"], annotation) == ["anything"]
