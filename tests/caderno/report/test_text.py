"""Numbers, times, sizes and names read as people write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caderno.plan.environment import masked
from caderno.report.text import count, duration, file_name, moment, number, numbers, page_name, size, value


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("compare", "compare.html"),
        ("train[model=forest]", "train.model=forest.html"),
        ("flights[month=2013-01]", "flights.month=2013-01.html"),
        ("score[model=forest, fold=2]", "score.model=forest.fold=2.html"),
    ],
)
def test_a_page_is_named_after_its_task(task: str, name: str) -> None:
    assert page_name(task) == name


@given(st.text(max_size=300))
def test_a_file_name_is_safe_whatever_the_task_is_called(task: str) -> None:
    name = file_name(task)
    assert not set(name) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=-")
    assert not name.startswith((".", "-"))
    assert len(name) < 200


def test_names_that_lose_letters_do_not_meet() -> None:
    assert (
        len({file_name(name) for name in ("a b", "a_b", "a/b", "a:b", "..", ".", "é", "è", "x" * 300, "x" * 301)}) == 10
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.42, "0.42 s"),
        (0.999, "1.0 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min"),
        (72.4, "1 min 12 s"),
        (3599.7, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_a_duration_has_three_figures_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [
        (None, ""),
        (0, "0 B"),
        (812, "812 B"),
        (1_234, "1.2 kB"),
        (56_321, "56 kB"),
        (999_600, "1.0 MB"),
        (3 * 10**15, "3000 TB"),
    ],
)
def test_a_size_is_in_decimal_units(bytes_: int | None, text: str) -> None:
    assert size(bytes_) == text


def test_a_moment_is_told_in_utc() -> None:
    assert moment(datetime(2013, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))) == "2012-12-31 23:30 UTC"
    assert moment(datetime(2013, 11, 9, 7, 30, tzinfo=UTC)) == "2013-11-09 07:30 UTC"


def test_numbers_of_one_column_share_their_decimals() -> None:
    assert numbers([0.76123, 0.7, None]) == ["0.7612", "0.7000", ""]
    assert numbers([336776.0, 12.0]) == ["336,776", "12"]
    assert numbers([-12.5, 130.25]) == ["−12.5", "130.2"]


def test_odd_numbers_are_told_as_what_they_are() -> None:
    assert [number(x) for x in (math.nan, math.inf, -math.inf, 0.0, 1.5e-9)] == [
        "not a number",
        "∞",
        "−∞",
        "0",
        "1.500e−09",
    ]


def test_one_task_is_not_tasks() -> None:
    assert (count(1, "task"), count(0, "task"), count(1234, "line")) == ("1 task", "0 tasks", "1,234 lines")


def test_a_password_in_a_url_is_never_shown() -> None:
    assert masked("postgresql+psycopg://reader:hun:ter2@db:5432/x") == "postgresql+psycopg://reader:***@db:5432/x"
    assert masked("http://localhost:5000/a@b") == "http://localhost:5000/a@b"
    assert "hunter2" not in value({"source": "postgresql://reader:hunter2@db/flights"})


def test_a_long_parameter_stands_on_several_lines() -> None:
    assert value("2013-09-01") == '"2013-09-01"'
    assert value({"forest": {"max_depth": 12}}) == '{"forest": {"max_depth": 12}}'
    assert value({"forest": list(range(40))}).count("\n") > 10
