"""{{ ds }} stands for the day of a run; without one, parameters keep what they are by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from workshop import PIPELINE, Workshop

from caderno import spec
from caderno.errors import InvalidPipeline
from caderno.spec.day import NeedsDay, WrongTemplate, fill
from caderno.spec.matrix import UNKNOWN

DAY = date(2013, 11, 5)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("{{ ds }}", "2013-11-05"),
        ("{{ ds_nodash }}", "20131105"),
        ("before {{ macros.ds_add(ds, -7) }}", "before 2013-10-29"),
        ("{{ macros.ds_format(ds, '%Y-%m-%d', '%Y-%m') }}", "2013-11"),
        ("{{ [ds, month ~ '-31'] | min }}", "2013-10-31"),
        ({"days": ["{{ ds }}", 1], "seed": 2}, {"days": ["2013-11-05", 1], "seed": 2}),
        ("{{ ds | default('never') }}", "2013-11-05"),
        ("{not a template}", "{not a template}"),
        (7, 7),
    ],
)
def test_a_template_is_worked_out(written: Any, meant: Any) -> None:
    assert fill(written, DAY, {"month": "2013-10"}) == meant


def test_without_a_day_it_is_left_to_the_caller_unless_it_says_what_then() -> None:
    with pytest.raises(NeedsDay):
        fill("{{ ds }}", None, {})
    with pytest.raises(NeedsDay):
        fill(["{{ macros.ds_add(ds, 1) }}"], None, {})
    assert fill("{{ ds | default('never') }}", None, {}) == "never"


def test_what_an_open_axis_has_to_give_is_waited_for() -> None:
    assert fill("{{ [ds, month] | min }}", DAY, {"month": UNKNOWN}) is UNKNOWN
    assert fill(["{{ month }}", 1], DAY, {"month": UNKNOWN}) is UNKNOWN


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{{ dss }}", "did you mean 'ds'?"),
        ("{{ ds", "unexpected end"),
        ("{{ macros.ds_add(ds, 'x') }}", "unsupported type for timedelta"),
        ("{{ macros.uuid() }}", "no attribute 'uuid'"),
        ("{{ macros.ds_add('x', 1) }}", "Invalid isoformat"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ ds.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_what_can_not_be_worked_out_is_told(written: str, told: str) -> None:
    with pytest.raises(WrongTemplate, match=None) as caught:
        fill(written, DAY, {})
    assert told in str(caught.value)


@pytest.fixture
def monthly(shop: Workshop) -> Workshop:
    shop.notebook("a.ipynb", "until: str = '2013-12-31'\nmade: str = ''\nsource: str = ''")
    (shop.project.root / "in").mkdir()
    shop.pipeline("""
        a:
          notebook: a.ipynb
          matrix: {month: [2013-10, 2013-11]}
          params: {until: "{{ [ds, month ~ '-31'] | min }}"}
          inputs: {source: "file:in/{{ ds }}.csv"}
          outputs: {made: "made-{{ ds_nodash }}-{month}.txt"}
    """)
    return shop


def test_a_day_goes_into_parameters_and_paths(monthly: Workshop) -> None:
    tasks = spec.load(monthly.project, PIPELINE, day=DAY).tasks
    assert [task.params["until"] for task in tasks.values()] == ["2013-10-31", "2013-11-05"]
    assert tasks["a[month=2013-10]"].outputs == {"made": "made-20131105-2013-10.txt"}
    assert tasks["a[month=2013-10]"].inputs["source"].sources == (spec.FromFile("in/2013-11-05.csv"),)


def test_without_a_day_the_notebook_keeps_its_default(monthly: Workshop) -> None:
    assert [task.params["until"] for task in monthly.load().tasks.values()] == ["2013-12-31", "2013-12-31"]


def test_a_parameter_without_default_needs_the_day(shop: Workshop) -> None:
    shop.notebook("a.ipynb", "until: str")
    shop.pipeline('a: {notebook: a.ipynb, params: {until: "{{ ds }}"}}')
    with pytest.raises(InvalidPipeline, match="--day"):
        shop.load()
    assert spec.load(shop.project, PIPELINE, day=DAY).tasks["a"].params == {"until": "2013-11-05"}


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("schedule: sometimes", "schedule: 'sometimes' is neither @hourly"),
        ("schedule: {cron: '0 6 * *'}", "five fields of cron"),
        ("schedule: {cron: '@daily', timezone: America/NewYork}", "did you mean 'America/New_York'?"),
        ("schedule: {cron: '@daily', start: 2013-02-30}", "schedule.start"),
        ("schedule: {cron: '@daily', start: soon}", "is no day such as 2013-11-05"),
        ("schedule: {cron: '@daily', catch_up: true}", "did you mean 'catchup'?"),
        ("schedule: {cron: '@daily', profile: smokey}", "there is no params/profiles/smokey.yaml"),
        ("schedule: {timezone: UTC}", "schedule.cron is missing"),
    ],
)
def test_a_schedule_that_is_wrong_is_told_with_its_line(shop: Workshop, head: str, told: str) -> None:
    shop.notebook("a.ipynb", "x: int = 0")
    shop.pipeline("a: {notebook: a.ipynb}", f"{head}\n")
    with pytest.raises(InvalidPipeline) as caught:
        shop.load()
    assert any("tiny.yaml:2: " in str(problem) and told in str(problem) for problem in caught.value.problems), caught


@pytest.mark.parametrize("head", ["schedule: 0 6 * * 1-5", "schedule: '@daily'", "owner: me\ntags: [a]"])
def test_a_schedule_that_is_right(shop: Workshop, head: str) -> None:
    shop.notebook("a.ipynb", "x: int = 0")
    shop.pipeline("a: {notebook: a.ipynb, queue: gpu, pool: few}", f"{head}\n")
    assert shop.load().tasks["a"].params == {"x": 0}
