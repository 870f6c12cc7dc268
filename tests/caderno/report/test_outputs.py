"""Each kind of output shows what it says, at a size that a reader can take."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import repeat
from types import ModuleType
from typing import Any

import pytest
from bs4 import BeautifulSoup
from markupsafe import Markup
from nbformat import NotebookNode
from nbformat.v4 import new_output

from caderno.report.outputs import FOLD_LINES, Around, Caption, render_outputs

Render = Callable[..., BeautifulSoup]


@pytest.fixture
def render() -> Render:
    def make(*outputs: NotebookNode | dict[str, Any]) -> BeautifulSoup:
        around = Around(repeat(Caption(Markup("Figure 1"), "Picture made by cell 4")))
        return BeautifulSoup("".join(render_outputs(outputs, around)), "html.parser")

    return make


def test_pieces_of_one_stream_are_joined_and_streams_kept_apart(render: Render, samples: ModuleType) -> None:
    out = render(samples.printed("a"), samples.printed("b\n"), samples.printed("w\n", "stderr"), samples.printed("c"))
    assert [pre.get_text() for pre in out.find_all("pre")] == ["ab", "w", "c"]
    assert out.find("p", class_="stream-name").get_text() == "Messages (stderr)"


def test_what_is_printed_is_text_and_nothing_else(render: Render, samples: ModuleType) -> None:
    out = render(samples.printed("<script>alert(1)</script> & \x1b[31mred <b>\x1b[0m"))
    assert out.get_text() == "<script>alert(1)</script> & red <b>"
    assert not out.find("script")
    assert out.find("span", class_="ansi-red-fg").get_text() == "red <b>"


def test_a_progress_bar_shows_only_where_it_ended(render: Render, samples: ModuleType) -> None:
    out = render(samples.printed(" 10%\r 50%\r100%\ndone\r\nafter\n"))
    assert out.pre.get_text() == "100%\ndone\nafter"


def test_long_text_is_folded_and_says_how_long_it_is(render: Render, samples: ModuleType) -> None:
    short = render(samples.printed("line\n" * FOLD_LINES))
    long = render(samples.printed("line\n" * (FOLD_LINES + 1)))
    assert not short.find("details")
    assert long.summary.get_text() == f"Printed text: {FOLD_LINES + 1} lines, 124 B"
    assert not long.details.has_attr("open")
    assert long.pre.get_text().count("line") == FOLD_LINES + 1


def test_endless_text_keeps_its_beginning_and_its_end(render: Render, samples: ModuleType) -> None:
    out = render(samples.printed("first\n" + "é" * 3_000_000 + "\nlast"))
    text = out.pre.get_text()
    assert out.summary.get_text() == "Printed text: 3 lines, 6.0 MB"
    assert text.startswith("first")
    assert text.endswith("last")
    assert "5.6 MB left out here; notebook.ipynb has all of it" in text
    assert len(text) < 210_000


def test_a_lone_surrogate_is_printed_as_something(render: Render, samples: ModuleType) -> None:
    assert "abc" in render(samples.printed("abc \ud800")).get_text()


def test_empty_output_leaves_no_trace(render: Render, samples: ModuleType) -> None:
    assert str(render(samples.printed("\n \n"), samples.shown({"text/plain": ""}))).count("<pre") == 0


def test_an_error_names_itself_and_folds_its_traceback(render: Render, samples: ModuleType) -> None:
    lines = samples.TRACEBACK.split("\n")
    out = render(new_output("error", ename="KeyError", evalue="'<late>'", traceback=lines))
    assert out.find("p", class_="error-title").get_text() == "KeyError: '<late>'"
    assert "hourly = weather.pivot('observed')" in out.details.pre.get_text()
    assert "\x1b" not in out.get_text()


def test_a_data_frame_is_shown_as_its_table_in_a_box_that_scrolls_alone(render: Render, samples: ModuleType) -> None:
    out = render(samples.shown({"text/html": samples.FRAME, "text/plain": "      late"}))
    assert out.select_one(".scroll table.dataframe")
    assert "3 rows × 2 columns" in out.get_text()


def test_a_picture_holds_its_data_its_size_and_words(render: Render, samples: ModuleType) -> None:
    data = {"image/png": samples.png() + "\n", "text/plain": "<Figure>"}
    out = render(samples.shown(data, {"image/png": {"width": 620, "height": "1 onerror=alert(1)"}}))
    assert out.img.attrs == {
        "src": f"data:image/png;base64,{samples.png()}",
        "alt": "Picture made by cell 4",
        "width": "620",
    }


def test_a_broken_picture_falls_back_to_its_text(render: Render, samples: ModuleType) -> None:
    out = render(samples.shown({"image/png": '"><script>', "text/plain": "<Figure size 640x400>"}))
    assert out.get_text() == "<Figure size 640x400>"


def test_an_svg_is_preferred_to_the_html_beside_it(render: Render, samples: ModuleType) -> None:
    out = render(samples.shown({"image/svg+xml": samples.SVG, "text/html": "<b>no</b>"}))
    assert out.img["src"].startswith("data:image/svg+xml;base64,")
    assert not out.find("b")


def test_markdown_is_set_as_prose(render: Render, samples: ModuleType) -> None:
    out = render(samples.shown({"text/markdown": "**0.761**\n\n| a |\n| --- |\n| 1 |", "text/plain": "<Markdown>"}))
    assert out.select_one(".prose strong").get_text() == "0.761"
    assert out.select_one(".prose .scroll table td").get_text() == "1"


def test_a_formula_is_drawn_by_the_browser_itself(render: Render, samples: ModuleType) -> None:
    out = render(samples.shown({"text/latex": "$\\displaystyle x < y$", "text/plain": "x < y"}))
    assert out.math["display"] == "block"
    assert out.math.get_text() == "x<y"


def test_a_formula_that_cannot_be_read_stays_as_its_source(render: Render, samples: ModuleType) -> None:
    out = render(samples.shown({"text/latex": "$\\unknown{x}$", "text/plain": "x"}))
    assert out.pre.get_text() == "$\\unknown{x}$"


@pytest.mark.parametrize("kind", ["application/vnd.plotly.v1+json", "application/vnd.vegalite.v5+json"])
def test_an_interactive_output_brings_its_data_and_shows_its_text_until_it_runs(
    kind: str, render: Render, samples: ModuleType
) -> None:
    html = "<div>loading…</div><script>draw()</script>"
    data = {kind: {"x": "</script><b>"}, "text/html": html, "text/plain": "Figure of 3"}
    out = render(samples.shown(data))
    assert out.select_one(".still pre").get_text() == "Figure of 3"
    assert "loading" not in out.select_one(".still").get_text()
    assert set(json.loads(out.script.string)) == {"libraries", "html", "before", "after"}


def test_an_interactive_output_whose_library_is_not_there_is_left_out_and_says_so(
    render: Render, samples: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caderno.report.live.library", lambda _: "")
    out = render(samples.shown({"application/vnd.plotly.v1+json": {"data": []}, "text/plain": "Figure of 3"}))
    assert "left out" in out.find("p", class_="note").get_text()
    assert out.pre.get_text() == "Figure of 3"
    assert not out.find("script")


def test_an_interactive_output_keeps_its_picture_until_it_runs(render: Render, samples: ModuleType) -> None:
    out = render(samples.shown({"application/vnd.plotly.v1+json": {}, "image/png": samples.png()}))
    assert out.select_one(".still img")
    assert not out.find("p", class_="note")


def test_html_that_is_only_a_script_shows_its_text_until_it_runs(render: Render, samples: ModuleType) -> None:
    out = render(samples.shown({"text/html": "<script>x</script>", "text/plain": "<Map>"}))
    assert out.select_one(".still pre").get_text() == "<Map>"
    assert "runs no scripts" in render(samples.shown({"text/html": "<script>x</script>"})).get_text()


def test_a_table_with_colours_of_its_own_keeps_them_in_a_frame(render: Render, samples: ModuleType) -> None:
    html = "<style>#T_1 td {background: red}</style><table id='T_1'><tr><td>7</td></tr></table>"
    out = render(samples.shown({"text/html": html, "text/plain": "Styler"}))
    assert out.select_one(".still table td").get_text() == "7"
    assert "background: red" in json.loads(out.script.string)["html"]


def test_an_estimator_shows_its_text_until_its_diagram_runs(render: Render, samples: ModuleType) -> None:
    html = (
        '<style>#sk-container-id-1 {color: red}</style><div id="sk-container-id-1" class="sk-top-container">junk</div>'
    )
    out = render(samples.shown({"text/html": html, "text/plain": "Pipeline(...)"}))
    assert out.select_one(".still pre").get_text() == "Pipeline(...)"


def test_bokeh_shows_a_figure_in_two_outputs_and_a_report_in_one(render: Render, samples: ModuleType) -> None:
    loader = {"application/javascript": "load()", "application/vnd.bokehjs_load.v0+json": "load()"}
    out = render(
        samples.shown({"text/html": '<div class="bk-notebook-logo">Loading</div>'}),
        samples.shown(loader),
        samples.shown({"text/html": '<div id="a" data-root-id="p1"></div>'}),
        samples.shown({"application/javascript": "embed()", "application/vnd.bokehjs_exec.v0+json": ""}),
        samples.printed("after"),
    )
    (script,) = out("script")
    data = json.loads(script.string)
    assert (data["libraries"], data["after"]) == (["bokeh"], "embed()")
    assert "data-root-id" in data["html"]
    assert "Loading" not in out.get_text()
    assert out("pre")[-1].get_text() == "after"


STATES = {
    "bar": {"model_name": "HBoxModel", "state": {"children": ["IPY_MODEL_said", "IPY_MODEL_done", "IPY_MODEL_bar"]}},
    "said": {"model_name": "HTMLModel", "state": {"value": "<b onclick=x>100%</b>"}},
    "done": {"model_name": "FloatProgressModel", "state": {"value": 3.0, "max": 3.0}},
    "pick": {"model_name": "DropdownModel", "state": {"index": 1, "_options_labels": ["a", "<"], "description": "x"}},
    "odd": {"model_name": "ThreeModel", "state": {}},
}


def test_a_widget_stands_as_it_was_left(samples: ModuleType) -> None:
    def show(name: str) -> BeautifulSoup:
        view = {"application/vnd.jupyter.widget-view+json": {"model_id": name}, "text/plain": "its text"}
        around = Around(repeat(Caption(Markup(""), "")), STATES)
        return BeautifulSoup("".join(render_outputs([samples.shown(view)], around)), "html.parser")

    bar = show("bar")
    assert bar.b.get_text() == "100%"
    assert bar.b.attrs == {}
    assert bar.progress["value"] == "3.0"
    assert show("pick").get_text() == "x <"
    assert show("odd").get_text() == "its text"
    assert show("gone").get_text() == "its text"


def test_json_is_laid_out_and_an_unknown_kind_is_named(render: Render, samples: ModuleType) -> None:
    assert render(samples.shown({"application/json": {"a": ["é"]}})).pre.get_text() == '{\n  "a": [\n    "é"\n  ]\n}'
    assert "application/x-unknown" in render(samples.shown({"application/x-unknown": "?"})).get_text()


def test_text_in_lines_is_read_as_well(render: Render) -> None:
    out = render({"output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"]})
    assert out.pre.get_text() == "a\nb"


def test_one_odd_output_costs_only_itself(render: Render, samples: ModuleType) -> None:
    out = render({"output_type": "display_data", "data": {"application/json": {1, 2}}}, samples.printed("after"))
    assert "could not be shown (TypeError" in out.get_text()
    assert out.pre.get_text() == "after"
