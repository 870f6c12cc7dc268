"""What changed between two results, as data and on a page."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from nbformat.v4 import new_markdown_cell

from caderno.plan.records import Input, Output, Table
from caderno.project import Project
from caderno.report import diff_of, write_diff
from caderno.report.diff import Change, Diff, MetricChange, Result, comparable, measured, metric_changes

if TYPE_CHECKING:
    Site = Any


def compared(samples: ModuleType, old: dict[str, Any], new: dict[str, Any]) -> Diff:
    empty = samples.notebook()
    return Diff(Result(samples.record(**old), empty), Result(samples.record(**new), empty))


def test_the_same_twice_differs_in_nothing(samples: ModuleType) -> None:
    result = Result(samples.record(), json.loads(json.dumps(samples.story())))
    assert Diff(result, result).is_empty


def test_parameters_variables_helpers_and_versions_are_told_by_name(samples: ModuleType) -> None:
    code = samples.record().code
    older = {"units": {"a:f": "1", "a:g": "1"}}
    newer = {"units": {"a:f": "2", "a:h": "3"}, "packages": {"pandas": "3.1.1", "scikit-learn": "1.9.1"}}
    diff = compared(
        samples,
        {
            "params": {"a": 1, "b": [1]},
            "env": {"T": None},
            "code": code.model_copy(update=older),
        },
        {"params": {"b": [2], "c": "x"}, "env": {"T": "7"}, "code": code.model_copy(update=newer)},
    )
    assert diff.params == [
        Change("b", "[1]", "[2]"),
        Change("c", None, '"x"'),
        Change("a", "1", None),
        Change("$T", "(not set)", "7"),
    ]
    assert [(one.name, one.old, one.new) for one in diff.code] == [
        ("a:f", "1", "2"),
        ("a:h", None, "3"),
        ("a:g", "1", None),
    ]
    assert diff.versions == [Change("pandas", "3.1.0", "3.1.1")]
    assert not diff.is_empty


def an_input(digest: str, **more: Any) -> Input:
    return Input(source="file:a.csv", path="data/a.csv", digest=digest, size=1000, **more)


@pytest.mark.parametrize(
    ("old", "new", "notes"),
    [
        (None, None, ("content",)),
        ((10, {"a": "int64"}), (10, {"a": "int64"}), ("content, of the same rows and columns",)),
        ((1200, {"a": ""}), (200, {"a": ""}), ("−1,000 rows",)),
        (
            (1, {"a": "int64", "b": "string"}),
            (2, {"a": "double", "c": "x"}),
            ("+1 rows", "column c is new", "column b is gone", "column a: int64 → double"),
        ),
        ((1, {"a": "", "b": ""}), (1, {"b": "", "a": ""}), ("columns in another order",)),
        ((None, {"a": ""}), (5, {"a": ""}), ("content, of the same rows and columns",)),
    ],
)
def test_an_input_tells_its_rows_columns_and_types(
    samples: ModuleType, old: Any, new: Any, notes: tuple[str, ...]
) -> None:
    tables = [Table(rows=one[0], columns=one[1]) if one else None for one in (old, new)]
    inputs = [{"inputs": {"x": [an_input(str(i), table=table)]}} for i, table in enumerate(tables)]
    (change,) = compared(samples, *inputs).inputs
    assert (change.name, change.notes) == ("x", notes)


def test_members_of_a_list_are_compared_with_their_like(samples: ModuleType) -> None:
    def made(*months: tuple[str, str]) -> dict[str, Any]:
        return {"inputs": {"x": [an_input(digest, task=f"get[m={month}]") for month, digest in months]}}

    diff = compared(samples, made(("1", "a"), ("2", "b")), made(("2", "b"), ("3", "c"), ("1", "d")))
    assert [(one.name, one.old is None, one.new is None) for one in diff.inputs] == [
        ("x: get[m=3]", True, False),
        ("x: get[m=1]", False, False),
    ]


def test_outputs_too(samples: ModuleType) -> None:
    old, new = ({"outputs": {"t": Output(path="t.csv", digest=d, size=n)}} for d, n in (("a", 10), ("b", 20)))
    assert compared(samples, old, new).outputs == [Change("t", "10 B", "20 B", ("content",))]


# Metrics.


def test_intervals_belong_to_their_metric_and_a_lone_end_is_a_metric() -> None:
    found = measured({"auc": 0.7, "auc_low": 0.6, "auc_high": 0.8, "price_low": 3.0, "brier": 0.1, "brier_low": 0.05})
    assert set(found) == {"auc", "price_low", "brier", "brier_low"}
    assert (found["auc"].low, found["auc"].high, found["brier"].low) == (0.6, 0.8, None)


@pytest.mark.parametrize(
    ("old", "new", "beyond"),
    [
        ((0.70, 0.69, 0.71), (0.75, 0.74, 0.76), True),
        ((0.75, 0.74, 0.76), (0.70, 0.69, 0.71), True),
        ((0.70, 0.65, 0.75), (0.75, 0.70, 0.80), False),  # √(.05² + .05²) is more than .05
        ((0.70, 0.69, 0.74), (0.75, 0.71, 0.76), False),
        ((0.70, 0.60, 0.71), (0.75, 0.74, 0.90), True),  # only the ends that face each other count
        ((0.70, 0.69, 0.71), (0.70, 0.69, 0.71), False),
    ],
)
def test_a_change_is_beyond_noise_where_its_interval_leaves_out_zero(
    old: tuple[float, ...], new: tuple[float, ...], beyond: bool
) -> None:
    ends = ("x", "x_low", "x_high")
    (change,) = metric_changes(dict(zip(ends, old, strict=True)), dict(zip(ends, new, strict=True)))
    assert change.beyond_noise is beyond


def test_without_intervals_nothing_is_said_of_noise() -> None:
    (change,) = metric_changes({"x": 1.0}, {"x": 2.0, "x_low": 1.5, "x_high": 2.5})
    assert change.beyond_noise is None


def said(old: float | None, new: float | None) -> tuple[str, ...]:
    change = metric_changes({} if old is None else {"x": old}, {} if new is None else {"x": new})[0]
    texts = change.texts
    return texts.old, texts.new, texts.arrow, texts.difference


def test_a_change_is_told_by_value_arrow_and_difference() -> None:
    assert said(0.7, 0.712345) == ("0.7000", "0.7123", "▲", "0.0123")
    assert said(1200.0, 1000.0) == ("1,200", "1,000", "▼", "200")
    assert said(41.86, 41.8599) == ("41.86", "41.86", "▼", "0.00010")
    assert said(1.0, 1.0) == ("1", "1", "=", "0")
    assert said(None, 1.0) == ("", "1", "", "")
    assert said(1.0, None) == ("1", "", "", "")
    assert said(float("nan"), 1.0)[:2] == ("not a number", "1")


def test_metrics_stand_in_the_new_order_and_those_that_are_gone_last() -> None:
    names = [one.name for one in metric_changes({"gone": 1, "a": 1, "b": 1}, {"b": 1, "new": 1, "a": 1})]
    assert names == ["b", "new", "a", "gone"]
    assert isinstance(metric_changes({}, {"a": 1})[0], MetricChange)


# Cells and figures.


def test_cells_are_told_with_their_numbers_as_people_count(samples: ModuleType) -> None:
    def book(*sources: tuple[str, str], injected: bool) -> dict[str, Any]:
        cells = [samples.code(source, name=name) for name, source in sources]
        if injected:
            cells.insert(1, samples.code("seed = 7", tags=["injected-parameters"], name="fresh"))
        return json.loads(json.dumps(samples.notebook(new_markdown_cell("# T", id="title"), *cells)))

    kept, long = ("k", "keep = 1"), "\n".join(f"line {i}" for i in range(20))
    old = book(kept, ("e", long), ("r", "removed()"), injected=True)
    new = book(("n", "new()"), kept, ("e", long.replace("line 3\n", "").replace("line 18", "line x")), injected=False)
    diff = Diff(Result(samples.record(), old), Result(samples.record(), new))
    assert [(one.new or one.old, one.old is None, one.new is None) for one in diff.cells] == [
        (2, True, False),
        (4, False, False),
        (4, False, True),
    ]
    edited = diff.cells[1]
    assert (edited.type, edited.old, edited.new) == ("code", 3, 4)
    assert ("-", "line 3") in edited.lines
    assert ("+", "line x") in edited.lines
    assert (" ", "⋯") in edited.lines
    assert (" ", "line 10") not in edited.lines


def test_figures_that_look_different_stand_beside_each_other(samples: ModuleType) -> None:
    def book(width: int, *more: Any) -> dict[str, Any]:
        shown = samples.shown({"image/png": samples.png(width)})
        cells = [samples.code("#| fig-cap: A\nshow()", shown, name="a"), *more]
        return json.loads(json.dumps(samples.notebook(*cells)))

    same = samples.code("show()", samples.shown({"image/png": samples.png()}), name="b")
    added = samples.code("show()", samples.shown({"image/png": samples.png()}), name="c")
    diff = Diff(Result(samples.record(), book(8, same)), Result(samples.record(), book(9, same, added)))
    assert [(one.caption, one.old is None, one.new is None) for one in diff.figures] == [
        ("Figure 1. A", False, False),
        ("Figure 3", True, False),
    ]


def test_a_notebook_that_is_gone_is_said_not_to_be_compared(samples: ModuleType, tmp_path: Path) -> None:
    gone = Result.at(samples.record(), tmp_path)
    diff = Diff(gone, Result(samples.record(), json.loads(json.dumps(samples.story()))))
    assert diff.is_partial
    assert diff.cells == diff.figures == []


# Which result to compare with, and the pages.


def test_the_last_success_of_the_same_profile_is_what_to_compare_with(samples: ModuleType) -> None:
    def one(days: int, state: str = "succeeded", profile: str | None = None) -> Any:
        started = samples.STARTED - timedelta(days=days)
        make = samples.failed_record if state == "failed" else samples.record
        return make("compare", started=started, profile=profile), Path(str(days))

    found = [one(4), one(3), one(2, profile="smoke"), one(1, "failed"), one(0), one(-1)]
    assert [str(place) for _, place in comparable(one(0)[0], found)] == ["3", "4", "1"]


def test_a_task_page_tells_what_changed_since_the_last_result_and_lists_the_others(
    site: Site, samples: ModuleType
) -> None:
    earlier = [
        site.keep(
            samples.record(fingerprint=f"{i}" * 64, started=samples.STARTED - timedelta(days=i), **samples.OLDER),
            samples.older(),
        )
        for i in range(1, 8)
    ]
    page = samples.soup(samples.render_task(samples.record(), json.loads(json.dumps(samples.story())), earlier))
    changed = page.find(id="changed")
    assert changed.find("a")["href"] == "compare.1111111111111111.html"
    assert [h3.get_text() for h3 in changed.find_all("h3")][:5] == [
        "Parameters",
        "Helpers in the project’s code",
        "Cells",
        "Packages and Python",
        "Figures",
    ]
    assert len(changed.select("details.since")) == 3
    assert len(changed.select("details.list:not(.since) tbody tr")) == 7
    assert len(changed.select("figure.pair img")) == 2
    row = next(tr for tr in page.select("#metrics tbody tr") if "auc_boosting" in tr.get_text())
    assert [td.get_text(" ", strip=True) for td in row("td")] == ["0.7612", "0.7500", "▲ 0.0112"]


def test_a_first_result_has_nothing_to_compare_with(page: Any, samples: ModuleType) -> None:
    found = page(*samples.story().cells)
    assert not found.find(id="changed")
    assert [th.get_text() for th in found.select("#metrics th[scope=col]")] == ["Metric", "Value"]


def test_an_interval_stands_beside_its_value(page: Any, samples: ModuleType) -> None:
    found = page(samples.code("1"), metrics={"auc": 0.7, "auc_low": 0.65, "auc_high": 0.75})
    (row,) = found.select("#metrics tbody tr")
    assert [td.get_text() for td in row("td")] == ["0.7000", "0.6500 to 0.7500"]


def test_the_diff_page_says_the_same(site: Site, samples: ModuleType) -> None:
    older = samples.record(fingerprint="1" * 64, started=samples.STARTED - timedelta(days=1), **samples.OLDER)
    old = site.keep(older, samples.older())
    new = site.keep(samples.record(), samples.story())
    path = write_diff(Project(site.root), diff_of(old, new))
    assert path.relative_to(site.root).as_posix() == (
        "reports/flights/diff/compare.1111111111111111..c0ffee9a3f9a3f9a.html"
    )
    page = samples.soup(path.read_text(encoding="utf-8"))
    assert [section["id"] for section in page.select("main > section")] == ["metrics", "causes", "effects"]
    assert "seed" in page.find(id="causes").get_text()
    assert page.select("#effects figure.pair")
    assert "caderno diff compare 11111111 c0ffee9a" in page.footer.get_text()
