from __future__ import annotations

import math
from typing import Any

import pytest

from caderno.errors import InvalidPipeline
from caderno.spec import yaml


def problems(text: bytes | str) -> str:
    with pytest.raises(InvalidPipeline) as caught:
        yaml.parse(text, "params/tiny.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("2013-01", "2013-01"),
        ("2013-01-01", "2013-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("=", "="),
        ("010", 10),
        ("+7", 7),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e-5", 1e-5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("NULL", None),
        ("", None),
        ("'1'", "1"),
        ("!!str 3", "3"),
        ("[1, a, {b: 2}]", [1, "a", {"b": 2}]),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = yaml.scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_keys_are_strings_whatever_they_look_like() -> None:
    assert yaml.parse("on: 1\n12: 2\ntrue: 3", "f").value == {"on": 1, "12": 2, "true": 3}


def test_a_merge_key_has_no_special_meaning() -> None:
    assert yaml.parse("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2", "f").value["b"] == {"<<": {"x": 1}, "y": 2}


def test_a_duplicate_key_is_told_with_both_lines() -> None:
    said = problems("name: tiny\ntasks:\n  one: {}\n  two: {}\n  one: {}\n")
    assert "params/tiny.yaml:5: key 'one' stands twice, first in line 3" in said


def test_all_duplicate_keys_are_told_at_once() -> None:
    assert problems("a: 1\nb: 1\na: 2\nb: 2").count("stands twice") == 2


def test_a_tab_is_told_with_its_line_and_what_to_do() -> None:
    said = problems("tasks:\n  one:\n\t\tnotebook: x")
    assert "params/tiny.yaml:3: not valid YAML" in said
    assert "indent with spaces" in said


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\nb: [1, 2\nc: 3", 3), ("a: 'x\nb: 2", 2), ("a: b: c", 1), ("a: 1\n---\nb: 2", 2), ("a: *nowhere", 1)],
)
def test_what_is_not_yaml_is_told_with_its_line(text: str, line: int) -> None:
    assert f"params/tiny.yaml:{line}: not valid YAML" in problems(text)


@pytest.mark.parametrize("text", ["a: é".encode("latin-1"), b"a: \x00"])
def test_what_is_no_text_is_told(text: bytes) -> None:
    assert "params/tiny.yaml: not valid YAML" in problems(text)


def test_an_alias_that_expands_without_end_is_refused() -> None:
    assert "params/tiny.yaml:1: aliases expand without end" in problems("a: &a [*a]")


def test_aliases_that_expand_to_billions_are_refused() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    assert "to too much" in problems("\n".join(lines))


def test_an_alias_used_twice_is_welcome() -> None:
    assert yaml.parse("a: &a [1]\nb: *a\nc: *a", "f").value == {"a": [1], "b": [1], "c": [1]}


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_document_nested_too_deeply_is_refused(depth: int) -> None:
    assert "nest" in problems("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.system [id]", "!secret x", "!!timestamp 2013-01-01", "!!int x", "!!float x"]
)
def test_a_tag_without_meaning_is_refused_and_nothing_is_executed(text: str) -> None:
    assert "params/tiny.yaml:2:" in problems(f"a: 1\nb: {text}")


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    assert "params/tiny.yaml:1:" in problems("a: " + "9" * 5000)


def test_each_value_knows_its_line() -> None:
    document = yaml.parse("a:\n  b:\n    - 1\n    - c: 2\n", "f")
    assert document.where(("a", "b", 1, "c")) == "f:4"
    assert document.where(("a", "b", 0)) == "f:3"
    assert document.where(("a", "nowhere")) == "f:1"


def test_an_overlay_merges_mappings_and_replaces_all_else() -> None:
    base = yaml.parse("a: {x: 1, y: [1, 2]}\nb: {z: 1}", "base")
    over = yaml.parse("a: {y: [3]}\nb: 7", "over")
    assert base.overlaid(over).value == {"a": {"x": 1, "y": [3]}, "b": 7}


def test_after_an_overlay_each_value_knows_the_file_that_set_it() -> None:
    base = yaml.parse("a:\n  x: 1\n  y: [1, 2]\n", "base")
    document = base.overlaid(yaml.parse("\n\na:\n  y: [3]\n", "over"))
    assert document.where(("a", "x")) == "base:2"
    assert document.where(("a", "y")) == "over:4"
    assert document.where(("a", "y", 0)) == "over:4"
    assert document.where(("a", "y", 1)) == "over:4"
