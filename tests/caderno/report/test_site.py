"""The run at a glance, and the folder that can be mailed."""

from __future__ import annotations

import shutil
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook

from caderno.plan.records import Failure
from caderno.project import Project
from caderno.report import write_site

if TYPE_CHECKING:
    Site = Any  # conftest's, which cannot be imported by name

MODELS = ("base_rate", "forest")


@pytest.fixture
def flights(site: Site) -> Site:
    """A run in which everything succeeded or was there already."""
    for month in ("2013-01", "2013-02"):
        site.add(f"flights[month={month}]", "cached", seconds=9.3, metrics={"rows": 27004.0})
    site.add("registry", metrics={}, seconds=4.0)
    site.add("dataset", upstream=["flights[month=2013-01]", "flights[month=2013-02]", "registry"], metrics={})
    for i, model in enumerate(MODELS):
        site.add(f"train[model={model}]", upstream=["dataset"], seconds=2.0 + i, metrics={"auc": 0.65 + 0.1 * i})
    site.add("compare", upstream=["dataset", *(f"train[model={model}]" for model in MODELS)])
    return site


@pytest.fixture
def broken(site: Site) -> Site:
    """A run in which one month of the weather failed and its downstream was skipped."""
    site.add("weather[month=2013-02]", metrics={})
    site.add("weather[month=2013-03]", "failed")
    site.add("dataset", "skipped", ["weather[month=2013-03]"])
    return site


def text(soup: BeautifulSoup, selector: str) -> str:
    return " ".join(soup.select_one(selector).get_text(" ").split())


# The index.


def test_the_headline_says_what_ran_how_it_ended_and_for_whom(flights: Site) -> None:
    index = flights.write(profile="smoke")
    assert text(index, "h1") == "flights"
    assert text(index, ".question") == "Which flights will leave New York late?"
    head = text(index, "header")
    for fact in ("profile smoke", "✓ succeeded", "2013-11-09 07:26 UTC", "5 min 12 s", "user on host", "on main"):
        assert fact in head
    assert "MLflow run fedcba987654" in head
    assert text(index, ".counts") == "7 tasks ✓ 5 succeeded ↺ 2 cached"


def test_the_bottom_line_comes_before_everything_else(flights: Site) -> None:
    index = flights.write()
    assert [section["id"] for section in index.select("main > section")] == [
        "conclusion",
        "graph",
        "metrics",
        "timeline",
        "tasks",
    ]
    assert text(index, "#conclusion h3") == "compare"
    assert "Gradient boosting ranks first: ROC AUC 0.761" in text(index, "#conclusion")


def test_the_end_of_the_longest_way_speaks_first(flights: Site, samples: ModuleType) -> None:
    flights.add("explore", upstream=["registry"])
    said = samples.notebook(samples.code("1", samples.shown({"text/markdown": "The end."}), tags=["summary"]))
    flights.add("after", upstream=["compare"], notebook=said)
    assert [h3.get_text() for h3 in flights.write().select("#conclusion h3")] == ["after", "explore"]


def test_a_leaf_without_a_summary_is_named(site: Site, samples: ModuleType) -> None:
    site.add("a", notebook=samples.notebook(new_markdown_cell("# A"), samples.code("1")))
    site.add("b", notebook=samples.notebook(new_markdown_cell("# B"), samples.code("1")))
    assert text(site.write(), "#conclusion .note") == "Without a summary: a , b ."


def test_failures_stand_first_with_their_error(broken: Site) -> None:
    index = broken.write()
    assert [section["id"] for section in index.select("main > section")][:2] == ["failures", "conclusion"]
    assert text(index, "#failures h3").endswith("weather[month=2013-03]")
    assert text(index, "#failures .message") == "ValueError: Index contains <duplicate> entries, cannot reshape"
    assert [a["href"] for a in index.select("#failures a")] == [
        "../weather.month=2013-03.c0ffee9a3f9a3f9a.failed.html",
        "../weather.month=2013-03.c0ffee9a3f9a3f9a.failed.html#failure",
    ]
    assert "dataset: nothing came out, as it was skipped" in text(index, "#conclusion")


def test_a_skipped_task_has_no_page_and_says_why(broken: Site) -> None:
    row = broken.write().find("tbody", id="tasks-dataset").tr
    assert not row.find("a")
    assert "skipped" in row.get_text()
    assert "upstream weather[month=2013-03] failed" in row.get_text()


def test_the_graph_has_a_node_for_each_task_and_one_for_each_matrix(flights: Site) -> None:
    index = flights.write()
    nodes = {a["aria-label"]: a["href"] for a in index.select("svg a.node")}
    assert nodes == {
        "flights, 2 tasks: 2 cached, 0 s": "#tasks-flights",
        "registry: succeeded, 4.0 s": "../registry.c0ffee9a3f9a3f9a.html",
        "dataset: succeeded, 1 min 12 s": "../dataset.c0ffee9a3f9a3f9a.html",
        "train, 2 tasks: 2 succeeded, 5.0 s": "#tasks-train",
        "compare: succeeded, 1 min 12 s": "../compare.c0ffee9a3f9a3f9a.html",
    }
    assert len(index.select("svg .edges path")) == 5
    for href in nodes.values():
        assert not href.startswith("#") or index.find(id=href[1:])


def test_the_graph_is_told_in_words_too(flights: Site) -> None:
    words = [li.get_text() for li in flights.write().select("#graph li")]
    assert words[0] == "flights, 2 tasks: 2 cached, 0 s; uses no other task."
    assert words[-1] == "compare: succeeded, 1 min 12 s; uses dataset, train."


def test_no_state_is_told_by_colour_alone(broken: Site) -> None:
    index = broken.write()
    for chip in index.select(".state"):
        assert chip.get_text().split()[-1] in {"succeeded", "failed", "skipped"}
        assert chip.select_one(".sign").get_text() in "✓✕–"


def test_the_candidates_stand_side_by_side_before_the_matrices_that_feed_them(flights: Site) -> None:
    index = flights.write()
    tables = [table("tr") for table in index.select("#metrics table")]
    assert [[[cell.get_text() for cell in tr.find_all(["th", "td"])] for tr in rows] for rows in tables] == [
        [["Task", "auc"], ["train[model=base_rate]", "0.6500"], ["train[model=forest]", "0.7500"]],
        [["Task", "rows"], ["flights[month=2013-01]", "27,004"], ["flights[month=2013-02]", "27,004"]],
    ]


def test_an_interval_stands_with_its_value_and_is_no_column(site: Site) -> None:
    for model, value in (("a", 0.7), ("b", 0.8)):
        ends = {"auc": value, "auc_low": value - 0.1, "auc_high": value + 0.1} if model == "a" else {"auc": value}
        site.add(f"train[model={model}]", metrics=ends)
    table = site.write().select_one("#metrics table")
    assert [th.get_text() for th in table.select("thead th")] == ["Task", "auc"]
    assert [td.get_text(" ") for td in table("td")] == ["0.7000 0.6000 to 0.8000", "0.8000"]
    assert table.td["data-value"] == "0.7000"


def test_a_metric_that_a_candidate_lacks_is_a_dash(site: Site) -> None:
    site.add("train[model=a]", metrics={"auc": 0.7})
    site.add("train[model=b]", metrics={"brier": 0.1})
    lines = [[td.get_text() for td in tr("td")] for tr in site.write().select("#metrics tbody tr")]
    assert lines == [["0.7000", "–"], ["–", "0.1000"]]


def test_a_cached_task_shows_the_time_that_it_took_once(flights: Site) -> None:
    rows = flights.write().find("tbody", id="tasks-flights")("tr")
    assert rows[1].select_one(".time").get_text() == "(9.3 s)"


def test_what_the_pipeline_file_says_is_text(site: Site) -> None:
    site.add("a")
    index = site.write(description="<script>alert(1)</script>", command="caderno run -p a.x='</code><b>'")
    assert text(index, ".question") == "<script>alert(1)</script>"
    assert len(index.find_all("script")) == 1
    assert not index.footer.find("b")


def test_the_command_for_a_local_tracking_store_hides_its_password(site: Site) -> None:
    site.add("a")
    uri = "postgresql://mlflow:hunter2@db/mlflow"
    tracking = {"tracking_uri": uri, "experiment_id": "1", "run_id": "ff", "url": None}
    index = site.write(tracking=tracking)
    assert "mlflow ui --backend-store-uri postgresql://mlflow:***@db/mlflow" in text(index, "footer")
    assert "hunter2" not in str(index)


def test_a_run_of_one_task_needs_no_picture(site: Site) -> None:
    site.add("a")
    assert not site.write().find("svg")


def test_a_run_without_tasks_has_a_page(site: Site) -> None:
    assert text(site.write(), ".counts") == "0 tasks"


# The folder.


def test_every_link_leads_somewhere_after_the_folder_was_moved(flights: Site, samples: ModuleType) -> None:
    flights.write()
    moved = flights.root.parent / "mailed"
    shutil.copytree(flights.root / "reports", moved)
    shutil.rmtree(flights.root)
    pages = list(moved.rglob("*.html"))
    assert len(pages) == 16
    for page in pages:
        found = samples.soup(page.read_text(encoding="utf-8"))
        for a in found.find_all("a", href=True):
            path, _, anchor = unquote(a["href"]).partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), a
            if anchor:
                assert samples.soup(target.read_text(encoding="utf-8")).find(id=anchor), a


def test_pages_are_those_of_the_results_and_the_next_run_replaces_only_the_newest(
    flights: Site, samples: ModuleType
) -> None:
    flights.write()
    page = flights.root / "reports" / "flights" / "compare.html"
    result = flights.root / flights.tasks[-1].folder / "report.html"
    assert page.samefile(result)
    flights.add("compare", notebook=samples.notebook(new_markdown_cell("# Newer")), fingerprint="f" * 64)
    flights.write()
    assert "Newer" in page.read_text(encoding="utf-8")
    assert "Gradient" in (page.parent / "compare.c0ffee9a3f9a3f9a.html").read_text(encoding="utf-8")
    assert "Gradient" in result.read_text(encoding="utf-8")


def test_nothing_else_in_the_folder_is_touched(flights: Site) -> None:
    readme = flights.root / "reports" / "README.md"
    readme.parent.mkdir()
    readme.write_text("Generated.")
    flights.write()
    assert readme.read_text() == "Generated."
    assert sorted(path.name for path in readme.parent.iterdir()) == ["README.md", "flights", "index.html"]


@pytest.mark.parametrize("content", [None, "{", '{"schema_version": 99}'])
def test_the_index_is_written_whatever_happened_to_a_record(flights: Site, content: str | None) -> None:
    record = flights.root / flights.tasks[-1].folder / "task.json"
    record.unlink() if content is None else record.write_text(content)
    index = flights.write()
    assert "its record cannot be read" in text(index, "#tasks-compare")
    assert "Gradient boosting" in text(index, "#conclusion")


def test_a_task_without_a_page_is_listed_without_a_link(flights: Site) -> None:
    (flights.root / flights.tasks[2].folder / "report.html").unlink()
    row = flights.write().find("tbody", id="tasks-registry")
    assert not row.find("a")


def test_the_index_is_returned(site: Site) -> None:
    site.add("a")
    assert write_site(Project(site.root), site.run()) == site.root / "reports" / "index.html"


@pytest.fixture
def sweep(site: Site) -> Site:
    """60 members of a matrix: 8 failed alike, one in its own way, the last was skipped; each with a little page."""
    site.add("dataset", metrics={})
    failures = dict.fromkeys(range(30, 38), "overflow") | {7: "not converged"}
    for i in range(60):
        state = "failed" if i in failures else "skipped" if i == 59 else "succeeded"
        more = {"notebook": new_notebook(cells=[new_markdown_cell("# Train")])}
        if i in failures:
            more["failure"] = Failure(kind="ValueError", message=failures[i])
        site.add(f"train[i={i}]", state, ["dataset"], **more)
    return site


def test_failures_that_are_alike_are_one_and_the_rarest_stands_first(sweep: Site) -> None:
    index = sweep.write()
    banners = index.select("#failures .banner")
    assert [banner.h3.get_text(" ", strip=True) for banner in banners] == [
        "✕ train[i=7]",
        "✕ train[i=30] and 7 more tasks",
    ]
    assert [banner.pre.get_text() for banner in banners] == ["ValueError: not converged", "ValueError: overflow"]
    assert [a.get_text() for a in banners[1].select("details a")] == [f"train[i={i}]" for i in range(31, 38)]


def test_a_sweep_is_folded_with_what_failed_on_top(sweep: Site) -> None:
    index = sweep.write()
    shown = [row.th.get_text(strip=True) for row in index.select("#tasks-train tr:not(.matrix)") if row.th]
    assert shown[:11] == ["train[i=7]", *(f"train[i={i}]" for i in range(30, 38)), "train[i=59]", "train[i=0]"]
    assert len(shown) == 20
    more = index.select_one("#tasks-train a[href='#more-train']")
    assert more.get_text() == "and 40 more tasks"
    rest = [row.th.get_text(strip=True) for row in index.select("details #more-train tbody tr")]
    assert len(rest) == 40
    assert not set(rest) & set(shown)
    assert not index.select("#conclusion")


def test_many_kinds_of_failure_do_not_bury_the_rest(site: Site) -> None:
    for i in range(15):
        site.add(
            f"train[i={i}]", "failed", notebook=new_notebook(), failure=Failure(kind="ValueError", message=f"at {i}")
        )
    index = site.write()
    assert len(index.select("#failures > .banner")) == 10
    folded = index.select_one("#failures > details")
    assert folded.summary.get_text() == "5 more errors"
    assert len(folded.select(".banner")) == 5
