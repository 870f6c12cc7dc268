"""A task's page: the bottom line first, then the notebook, then what made it; or what went wrong."""

from __future__ import annotations

import base64
import hashlib
import random
import shlex
from collections.abc import Callable
from itertools import pairwise
from types import ModuleType

import pytest
from bs4 import BeautifulSoup
from markupsafe import Markup
from nbformat.v4 import new_markdown_cell, new_raw_cell

from caderno.report import render_task
from caderno.report.notebook import opening
from caderno.report.page import command

Page = Callable[..., BeautifulSoup]


@pytest.fixture(scope="module")
def whole(samples: ModuleType) -> BeautifulSoup:
    """The page of a task that succeeded."""
    return samples.soup(render_task(samples.record(), samples.story()))


@pytest.fixture(scope="module")
def failed(samples: ModuleType) -> BeautifulSoup:
    """The page of a task that failed half-way."""
    return samples.soup(render_task(samples.failed_record(), samples.broken()))


def text(soup: BeautifulSoup, selector: str) -> str:
    found = soup.select_one(selector)
    assert found, selector
    return " ".join(found.get_text(" ").split())


def sections(soup: BeautifulSoup) -> list[str]:
    return [section["id"] for section in soup.select("main > section")]


# What stands where.


def test_the_summary_comes_first_and_what_made_it_last(whole: BeautifulSoup) -> None:
    assert sections(whole) == ["summary", "metrics", "notebook", "made"]
    assert text(whole, "#summary strong") == "Gradient boosting ranks first: ROC AUC 0.761"


def test_the_head_has_the_title_the_question_and_who_when_how_long(whole: BeautifulSoup) -> None:
    assert text(whole, "h1") == "Which model tells best which flights will leave late?"
    assert text(whole, ".question").startswith("Two hours before the scheduled hour")
    head = text(whole, ".facts")
    for fact in ("succeeded", "2013-11-09 07:30 UTC", "1 min 12 s", "user on host", "notebooks/compare.ipynb"):
        assert fact in head
    assert whole.select_one(".crumb a")["href"] == "../index.html"


def test_the_opening_is_told_once(whole: BeautifulSoup) -> None:
    notebook = text(whole, "#notebook")
    assert "Two hours before" not in notebook
    assert "In: the untouched months" in notebook


@pytest.mark.parametrize(
    ("markdown", "parts"),
    [
        ("# Title\nQuestion?\n\nRest", ("Title", "Question?", "Rest")),
        ("# Title #\n\n- a list\n- of things", ("Title", "", "\n- a list\n- of things")),
        ("Just prose.\n\nMore", ("", "Just prose.", "More")),
        ("## Not a title", ("", "", "## Not a title")),
        ("\n# Which `model`?\n\n\nTwo\nlines.\n\nRest", ("Which `model`?", "Two\nlines.", "Rest")),
        ("# Alone", ("Alone", "", "")),
        ("", ("", "", "")),
    ],
)
def test_an_opening_is_a_title_a_question_and_a_rest(markdown: str, parts: tuple[str, str, str]) -> None:
    assert opening(markdown) == parts


def test_the_summary_is_not_shown_a_second_time(whole: BeautifulSoup) -> None:
    cell = whole.find(id="c-sum")
    assert not cell.select(".output")
    assert cell.select_one(".note a")["href"] == "#summary"


def test_metrics_are_numbers_in_a_column(whole: BeautifulSoup) -> None:
    rows = {tr.th.get_text(): tr.td.get_text() for tr in whole.select("#metrics tbody tr")}
    assert rows == {"auc_boosting": "0.7612", "brier_boosting": "0.1342", "n_flights": "81,245"}


def test_a_notebook_without_a_summary_is_told_so(page: Page, samples: ModuleType) -> None:
    found = page(samples.code("1"))
    assert not found.find(id="summary")
    assert "no cell tagged summary" in text(found, "main > .note")
    assert text(found, "h1") == "compare"


# The notebook.


def test_code_is_folded_cell_by_cell_and_named(whole: BeautifulSoup) -> None:
    folds = whole.select("#notebook details.code")
    assert len(folds) == 8
    assert not [fold for fold in folds if fold.has_attr("open")]
    assert folds[0].summary.get_text() == "Parameters, defaults, 1 line"
    assert folds[1].summary.get_text() == "Parameters of this task, 2 lines"
    assert folds[2].summary.get_text() == "Code, 6 lines"
    assert folds[2].select_one("span.kn").get_text() == "import"


def test_the_switch_for_all_code_shows_only_where_the_script_runs(whole: BeautifulSoup) -> None:
    assert whole.select_one("[data-code-switch]").has_attr("hidden")


def test_only_a_noticeable_time_stands_beside_its_cell(whole: BeautifulSoup) -> None:
    times = {cell["id"]: took.get_text() for cell in whole.select(".code-cell") if (took := cell.select_one(".took"))}
    assert times == {"c-roc": "3.2 s", "c-long": "1 min 4 s"}


def test_anchors_are_permanent_and_unique(whole: BeautifulSoup, samples: ModuleType) -> None:
    again = samples.soup(render_task(samples.record(), samples.story()))
    named = {"c-p", "c-injected-parameters", "c-by-carrier", "c-roc", "c-long", "c-wide", "c-sum"}
    for found in (whole, again):
        ids = [tag["id"] for tag in found.find_all(id=True)]
        assert len(ids) == len(set(ids))
        assert named <= set(ids)


def test_the_contents_lead_to_the_headings(whole: BeautifulSoup) -> None:
    links = {a.get_text(): a["href"] for a in whole.select("nav.contents ul ul a")}
    assert list(links) == ["What there is", "How sure is that?", "The answer"]
    for name, href in links.items():
        assert whole.find(id=href[1:]).get_text() == name


def test_two_headings_of_one_name_have_two_anchors(page: Page) -> None:
    cells = ["# T", "## Data", "## Data\n\n## `x` & <b>y</b>"]
    found = page(*map(new_markdown_cell, cells))
    assert [a["href"] for a in found.select("nav ul ul a")] == ["#h-data", "#h-data-2", "#h-x-y"]
    assert found.select("nav ul ul a")[2].get_text() == "x & y"


def test_headings_leave_out_no_level(whole: BeautifulSoup, failed: BeautifulSoup) -> None:
    for found in (whole, failed):
        levels = [int(tag.name[1]) for tag in found.find_all(["h1", "h2", "h3", "h4", "h5", "h6"])]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


def test_an_attached_picture_is_shown_and_one_from_elsewhere_is_only_named(page: Page, samples: ModuleType) -> None:
    cell = new_markdown_cell("![map](attachment:map.png) ![net](https://x.org/n.png) ![gone](attachment:gone.png)")
    cell["attachments"] = {"map.png": {"image/png": samples.png()}}
    found = page(cell)
    assert [(img["alt"], img["src"][:22]) for img in found.select("main img")] == [("map", "data:image/png;base64,")]
    assert "net" in text(found, "main")
    assert "gone" in text(found, "main")


def test_prose_is_as_untrusted_as_outputs(page: Page) -> None:
    attack = "# <script>1</script>T\n\nQ <img src=x onerror=1>\n\n## <i onclick=1>H</i>\n\n[x](javascript:1)"
    found = page(new_markdown_cell(attack))
    assert text(found, "h1") == "T"
    assert len(found.find_all("script")) == 1
    assert not [tag for tag in found.find_all(True) if {"onerror", "onclick"} & set(tag.attrs)]
    assert not [a for a in found.find_all("a") if a.get("href", "").startswith("javascript")]


def test_raw_cells_and_other_languages_are_text(samples: ModuleType) -> None:
    notebook = samples.notebook(new_raw_cell("<b>raw</b>"), samples.code("x <- 1 <b>"))
    notebook.metadata["language_info"] = {"name": "no-such-language"}
    found = samples.soup(render_task(samples.record(), notebook))
    assert [pre.get_text() for pre in found.select("#notebook pre")] == ["<b>raw</b>", "x <- 1 <b>"]


def test_a_notebook_of_an_old_format_has_anchors_too(samples: ModuleType) -> None:
    notebook = samples.notebook(new_markdown_cell("# T\n\nQ?\n\nRest"), samples.code("1"))
    for cell in notebook.cells:
        del cell["id"]
    found = samples.soup(render_task(samples.record(), notebook))
    assert found.find(id="c-0")
    assert found.find(id="c-1")


def test_a_cell_that_cannot_be_shown_costs_only_itself(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("caderno.report.prose.safe_html", lambda html, ids: fail() if "odd" in html else Markup(html))
    found = page(new_markdown_cell("# T"), new_markdown_cell("odd"), new_markdown_cell("even"))
    assert "could not be shown (RecursionError: too deep)" in text(found, "#notebook")
    assert "even" in text(found, "#notebook")


def test_a_page_can_be_written_whatever_was_printed(samples: ModuleType) -> None:
    html = render_task(samples.record(), samples.notebook(samples.code("print()", samples.printed("bad \ud800 end"))))
    assert "bad ? end" in html.encode("utf-8").decode()


# A failed task.


def test_a_failure_stands_first_with_its_error_and_its_cell(failed: BeautifulSoup) -> None:
    assert sections(failed) == ["failure", "notebook", "made"]
    assert text(failed, "#failure h2").endswith("ValueError")
    assert text(failed, "#failure .message") == "Index contains <duplicate> entries, cannot reshape"
    cell = failed.select_one("#failure a")
    assert cell.get_text() == "cell [3]"
    assert "failed" in failed.find(id=cell["href"][1:])["class"]


def test_the_traceback_is_readable_and_coloured(failed: BeautifulSoup) -> None:
    block = failed.select_one("#failure .traceback")
    assert "----> 2 hourly = weather.pivot('observed')" in block.get_text()
    assert "\x1b" not in str(failed)
    assert block.find("span", class_="ansi-red-fg").get_text().startswith("-----")


def test_the_failing_cell_shows_its_code_and_those_after_it_that_they_did_not_run(failed: BeautifulSoup) -> None:
    assert failed.select_one("#c-pivot details.code").has_attr("open")
    assert not failed.select_one("#c-never details.code").has_attr("open")
    assert "did not run" in text(failed, "#c-never")
    assert "did not run" not in text(failed, "#c-pivot")


def test_a_failure_says_what_to_run_next(failed: BeautifulSoup) -> None:
    words = ["caderno", "run", "weather[month=2013-03]", "--pipeline", "flights"]
    assert shlex.split(text(failed, "#failure .command")) == words


def test_papermills_own_banner_is_not_repeated(failed: BeautifulSoup) -> None:
    assert "An Exception was encountered" not in failed.get_text()
    assert text(failed, "h1") == "Weather by the hour"


def test_a_failure_outside_of_any_cell_has_no_link_to_one(samples: ModuleType) -> None:
    failure = {"kind": "dead kernel", "message": "killed by signal 9: out of memory?"}
    record = samples.record(state="killed", failure=failure)
    found = samples.soup(render_task(record, samples.broken()))
    assert text(found, "#failure h2").endswith("dead kernel")
    assert not found.select("#failure a")


# What made it.


def test_parameters_say_who_set_them(whole: BeautifulSoup) -> None:
    body = whole.select_one("#made table tbody")
    assert [[cell.get_text() for cell in tr.find_all(["th", "td"])] for tr in body("tr")] == [
        ["seed", "7", "this task, instead of 42", "of the bootstrap"],
        ["resamples", "500", "this task", ""],
        ["hyperparameters", '{"forest": {"max_depth": 12}}', "the notebook", ""],
    ]


def test_a_figure_has_a_number_and_the_words_of_its_cell(page: Page, samples: ModuleType) -> None:
    plot = samples.shown({"image/png": samples.png()})
    options = "#| fig-cap: [ROC curves, Calibration]\n#| fig-alt: Two curves\nshow()"
    found = page(samples.code(options, plot, plot, plot), samples.code("#| fig-cap: [\nshow()", plot, n=2))
    assert [said.get_text() for said in found("figcaption")] == [
        "Figure 1. ROC curves",
        "Figure 2. Calibration",
        "Figure 3",
        "Figure 4",
    ]
    assert [img["alt"] for img in found("img")] == [
        "Two curves",
        "Calibration",
        "Picture made by cell 1",
        "Picture made by cell 2",
    ]


@pytest.mark.parametrize("kind", ["text", "texts", "html", "pictures", "prose", "code", "raw"])
def test_fifty_megabytes_make_a_page_of_less_than_five_that_says_what_is_left_out(
    kind: str, page: Page, samples: ModuleType
) -> None:
    megabyte = "línea de texto " * 62_500
    noise = base64.b64encode(random.Random(0).randbytes(750_000)).decode()
    cells = {
        "text": lambda: [samples.code("1", samples.printed(megabyte * 50))],
        "texts": lambda: [samples.code("1", samples.printed(megabyte[:100_000])) for _ in range(500)],
        "html": lambda: [samples.code("1", *[samples.shown({"text/html": f"<p>{megabyte}</p>"})] * 50)],
        "pictures": lambda: [samples.code("1", *[samples.shown({"image/png": noise})] * 50)],
        "prose": lambda: [new_markdown_cell(megabyte * 5) for _ in range(10)],
        "raw": lambda: [new_raw_cell(megabyte * 5) for _ in range(10)],
        "code": lambda: [samples.code(f'x = "{megabyte}"') for _ in range(5)],
    }[kind]()
    plot = samples.shown({"application/vnd.plotly.v1+json": {"data": []}})
    summary = samples.code("1", samples.shown({"text/markdown": "The end."}), tags=["summary"])
    html = str(page(samples.code("0", plot), *cells, summary))
    assert len(html.encode()) < 5_000_000
    assert "left out here" in html
    assert "notebook.ipynb" in html
    assert "The end." in html


def test_inputs_lead_to_the_pages_of_the_tasks_that_made_them(whole: BeautifulSoup, samples: ModuleType) -> None:
    links = {a.get_text(): a["href"] for a in whole.select("#made a")}
    assert links == {
        "dataset": "dataset.c0ffee9a3f9a3f9a.html",
        "train[model=base_rate]": "train.model=base_rate.c0ffee9a3f9a3f9a.html",
        "train[model=forest]": "train.model=forest.c0ffee9a3f9a3f9a.html",
    }
    digests = whole.select("#made code.digest")
    assert f"SHA-256 {samples.SHA}" in {code["title"] for code in digests}
    assert {len(code.get_text()) for code in digests} == {12}


def test_no_password_reaches_the_page(whole: BeautifulSoup) -> None:
    assert "hunter2" not in str(whole)


def test_uncommitted_changes_are_confessed(whole: BeautifulSoup, samples: ModuleType) -> None:
    assert "with uncommitted changes" in text(whole, "#made")
    assert "the commit alone does not bring this back" in text(whole, "#made")
    clean = samples.record(git={"commit": samples.COMMIT, "branch": None, "dirty": False})
    assert "uncommitted" not in render_task(clean, samples.story())


def test_the_command_spells_out_what_the_notebook_does_not_set_itself(samples: ModuleType) -> None:
    record = samples.record(
        task="train[model=forest]",
        params={"model": "forest", "seed": 7, "since": "2013-09-01", "hyperparameters": {"depth": 3}, "trials": 10},
        overridden=["model", "seed", "since", "hyperparameters"],
    )
    assert shlex.split(command(record)) == [
        *("caderno", "run", "train[model=forest]", "--pipeline", "flights"),
        *("-p", "train.seed=7", "-p", "train.since=2013-09-01", "-p", 'train.hyperparameters={"depth": 3}'),
    ]


def test_the_command_names_the_day_of_the_run(samples: ModuleType) -> None:
    record = samples.record(task="score", profile="smoke", day="2013-11-05", params={}, overridden=[])
    assert command(record) == "caderno run score --pipeline flights --profile smoke --day 2013-11-05"


@pytest.mark.parametrize(
    ("url", "href"),
    [("https://mlflow.example/#/r/1", "https://mlflow.example/#/r/1"), ("javascript:alert(1)", None), (None, None)],
)
def test_the_mlflow_run_is_linked_only_over_http(url: str | None, href: str | None, samples: ModuleType) -> None:
    tracking = {"tracking_uri": "sqlite:///mlflow.db", "experiment_id": "1", "run_id": "abcdef0123456789", "url": url}
    found = samples.soup(render_task(samples.record(tracking=tracking), samples.story()))
    assert "MLflow run abcdef012345" in text(found, "#made")
    assert [a["href"] for a in found.select("#made dl a")] == ([href] if href else [])


# The frame.


def test_the_policy_admits_our_script_and_nothing_else(whole: BeautifulSoup) -> None:
    (script,) = whole.find_all("script")
    digest = base64.b64encode(hashlib.sha256(script.string.encode()).digest()).decode()
    meta = whole.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    policy = dict(rule.strip().split(" ", 1) for rule in meta["content"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_the_page_refers_to_nothing_outside_but_by_links(whole: BeautifulSoup, failed: BeautifulSoup) -> None:
    for found in (whole, failed):
        for tag in found.find_all(True):
            for name in ("src", "srcset", "data", "poster", "action", "background"):
                assert tag.get(name, "data:").startswith("data:")
        assert [tag["href"] for tag in found.find_all("link")] == ["data:,"]
        assert "@import" not in str(found.style)
        assert "url(" not in str(found.style)


def test_the_page_has_landmarks_a_language_and_a_way_past_the_contents(whole: BeautifulSoup) -> None:
    assert whole.html["lang"] == "en"
    assert len(whole.find_all("main")) == 1
    assert whole.body.find("a")["href"] == f"#{whole.main['id']}"
    for section in whole.select("main > section"):
        assert whole.find(id=section["aria-labelledby"]).name == "h2"
    for picture in whole.find_all("img"):
        assert picture["alt"] == "Picture made by cell 4, in “How sure is that?”"


def test_what_was_read_undeclared_what_ran_unseen_and_the_environment_are_told(samples: ModuleType) -> None:
    facts = {"undeclared": ["data/<x>.csv"], "unseen": ["tools.a:f"], "env": {"REGION": "here", "API_TOKEN": None}}
    html = render_task(samples.record(**facts), samples.story())
    told = " ".join(samples.soup(html).get_text().split())
    assert "so a change of it would go unnoticed: data/<x>.csv." in told
    assert "so its module counts whole: tools.a:f." in told
    assert "Environment: REGION=here, API_TOKEN=(not set)." in told


def test_what_cannot_be_made_into_a_page_never_costs_the_result(
    samples: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("<b>odd</b>")

    monkeypatch.setattr("caderno.report.page.read", breaks)
    page = samples.soup(render_task(samples.record(), samples.story()))
    assert page.h1.get_text() == "compare"
    assert "RuntimeError: <b>odd</b>" in page.main.get_text()
    assert "caderno report" in page.main.get_text()
