"""Pages in a real browser: nothing leaves them, nothing in them runs, and they fit every screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import html5lib
import pytest
from axe_playwright_python.sync_playwright import Axe

from caderno.project import Project
from caderno.report import decision_file, decision_page, diff_of, write_diff, write_models

# Written past the sanitizer, to try the second wall: the page's own policy.
UNSANITIZED = """
<img src="{evil}/pixel.png" onerror="document.title='pwned'">
<script>document.title = "pwned"</script><script src="{evil}/x.js"></script>
<link rel="stylesheet" href="{evil}/x.css"><style>@import "{evil}/y.css";</style>
<iframe src="{evil}/frame"></iframe><video src="{evil}/v.mp4" autoplay></video>
<base href="{evil}/"><form id="f" action="{evil}/form"><input name="a"></form>
<div style="background: url({evil}/b.png); width: 9px; height: 9px"></div>
"""
KINDS = ("index", "run", "task", "failed", "formulas", "live", "changed", "diff", "decision", "models")
AXE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

pytestmark = pytest.mark.browser

Open = Callable[..., Any]  # conftest's Visit


@pytest.fixture(scope="module")
def pages(samples: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of a run with 39 tasks, one failed, by kind."""
    site = samples.Site(tmp_path_factory.mktemp("site with a space"))
    months = [f"month=2013-{month:02d}" for month in range(1, 13)]
    site.add(f"weather[{months[0]}]", "failed")
    for month in months[1:]:
        site.add(f"weather[{month}]", metrics={f"metric_{i}": i / 7 for i in range(12)})
    for i in range(24):
        above = [task.task for task in site.tasks[-3:]]
        site.add(f"step_{i}", upstream=above, notebook=samples.notebook(samples.code("1")))
    site.add("explore", upstream=["step_23"])
    site.add("ranking", "skipped", ["explore"])
    site.add("a_task_with_a_very_long_name_that_fits_nowhere", "cached")
    site.add("flow", notebook=samples.formulas())
    site.add("moves", notebook=samples.interactive())
    before = samples.record(
        "compare", fingerprint="b" * 64, started=samples.STARTED - timedelta(days=1), **samples.OLDER
    )
    earlier = site.keep(before, samples.older())
    site.add("compare", earlier=[earlier])
    site.write()
    reports = site.root / "reports"
    new = (samples.record("compare"), site.root / site.tasks[-1].folder)
    return {
        "index": reports / "index.html",
        "run": next((reports / "flights/runs").iterdir()),
        "task": reports / "flights/explore.html",
        "failed": reports / "flights/weather.month=2013-01.html",
        "formulas": reports / "flights/flow.html",
        "live": reports / "flights/moves.html",
        "changed": reports / "flights/compare.html",
        "diff": write_diff(Project(site.root), diff_of(earlier, new)),
        "decision": _decision(samples, Project(site.root)),
        "models": write_models(Project(site.root), "flights", samples.models()),
    }


def _decision(samples: ModuleType, project: Project) -> Path:
    page = decision_file(project, "flights", "flights.v2.1")
    page.parent.mkdir()
    page.write_text(decision_page(samples.decision()), encoding="utf-8")
    return page


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaves_a_page_and_the_browser_has_nothing_to_complain(
    kind: str, visit: Open, pages: dict[str, Path]
) -> None:
    result = visit(pages[kind])
    if kind == "live":
        result.page.wait_for_function("document.querySelectorAll('.live iframe[style*=height]').length === 2")
    assert [url for url in result.requests[1:] if not url.startswith(("data:", "blob:"))] == []
    assert result.complaints == []


@pytest.mark.parametrize("guarded", [True, False])
def test_what_passed_the_sanitizer_would_still_neither_run_nor_load(
    guarded: bool, visit: Open, pages: dict[str, Path], evil: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = evil
    html = pages["task"].read_text(encoding="utf-8").replace("<footer", UNSANITIZED.format(evil=address) + "<footer", 1)
    page = tmp_path / "attacked.html"
    page.write_text(html if guarded else POLICY.sub("", html), encoding="utf-8")
    opened = visit(page).page
    assert (opened.title() == "explore · flights") is guarded
    opened.evaluate("document.getElementById('f').submit()")
    opened.wait_for_timeout(300)
    assert (asked == []) is guarded  # without the policy, the attack works: so it is the policy that holds it


def test_a_script_in_an_output_does_not_run(visit: Open, samples: ModuleType, tmp_path: Path) -> None:
    attack = "<b>seen</b><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    cell = samples.code("1", samples.shown({"text/html": attack}), samples.shown({"image/svg+xml": samples.SVG}))
    page = tmp_path / "page.html"
    page.write_text(samples.render_task(samples.record(), samples.notebook(cell)), encoding="utf-8")
    result = visit(page)
    assert result.page.frame_locator("iframe").get_by_text("seen", exact=True).is_visible()
    assert result.page.locator("figure img").evaluate("img => img.naturalWidth") == 120
    assert result.page.title() == "compare · flights"


ATTACK = """x'"><img src={evil}/i onerror=document.title='pwned'><script>document.title='pwned'</script>"""


def test_hostile_names_do_nothing_on_any_page(
    visit: Open, site: Any, samples: ModuleType, evil: tuple[str, list[str]]
) -> None:
    address, asked = evil
    attack = ATTACK.format(evil=address)
    said = samples.code("1", samples.shown({"text/html": f"<p>{attack}</p>"}), tags=["summary"])
    code = samples.record().code.model_copy(update={"units": {attack: "1" * 64}, "packages": {attack: attack}})
    hostile = {"user": attack, "host": attack, "metrics": {attack: 1.0}, "params": {attack: attack}, "code": code}
    earlier = samples.record("a", fingerprint="1" * 64, started=samples.STARTED - timedelta(days=1))
    old = site.keep(earlier, samples.story())
    for task in ("a", "b[m=1]", f"b[m={attack.replace('/', '|')}]"):
        site.add(task, notebook=samples.notebook(samples.code(attack), said), earlier=[old], **hostile)
    site.write(description=attack, command=attack, user=attack, host=attack, profile=attack)
    new = (samples.record("a", **hostile), site.root / site.tasks[0].folder)
    write_diff(Project(site.root), diff_of(old, new))
    made = sorted((site.root / "reports").rglob("*.html"))
    assert len(made) == 9
    for page in made:
        result = visit(page)
        result.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        result.page.wait_for_timeout(50)
        assert result.page.title() != "pwned", page
        assert result.page.locator("h1").count() == 1
    assert asked == []


def test_one_switch_opens_and_closes_all_code(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["task"]).page
    switch = page.get_by_role("switch", name="Show all code")
    code = page.locator("details.code pre")
    assert code.count() == 8
    for on in (True, False):
        switch.set_checked(on)
        assert [block.is_visible() for block in code.all()] == [on] * 8


def test_without_script_the_page_is_whole_and_each_cell_opens_by_itself(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["task"], java_script_enabled=False).page
    assert not page.get_by_text("Show all code").is_visible()
    first = page.locator("details.code").first
    first.locator("summary").click()
    assert first.locator("pre").is_visible()
    assert not page.locator("details.code pre").last.is_visible()


def test_the_link_in_a_failure_leads_to_its_cell(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["failed"]).page
    page.get_by_role("link", name="cell [3]").click()
    assert page.locator(".code-cell.failed pre").first.is_visible()
    assert page.evaluate("document.querySelector(':target').id") == "c-pivot"


def test_a_matrix_in_the_graph_leads_to_its_lines(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["run"]).page
    page.get_by_role("link", name="weather, 12 tasks: 1 failed, 11 succeeded").click()
    assert page.evaluate("document.querySelector(':target').id") == "tasks-weather"


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_never_scrolls_sideways_only_what_is_wide_in_it(kind: str, visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages[kind]).page
    for width in (320, 400, 768, 1400):
        page.set_viewport_size({"width": width, "height": 800})
        for opened in (False, True):
            page.evaluate("open => document.querySelectorAll('details').forEach(d => d.open = open)", opened)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, opened)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_text_has_contrast_enough(kind: str, scheme: Any, visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages[kind], color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate(_CONTRASTS) == []


def test_a_plot_keeps_light_paper_in_the_dark(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["task"], color_scheme="dark").page
    assert page.locator("figure.plate img").evaluate("i => getComputedStyle(i).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(23, 25, 28)"


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing(kind: str, scheme: Any, visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages[kind], color_scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = Axe().run(page, options={"runOnly": AXE})
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_valid_html(kind: str, pages: dict[str, Path]) -> None:
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    parser.parse(pages[kind].read_text(encoding="utf-8"))
    assert parser.errors == []


def test_paper_has_all_of_the_code_or_none(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["task"], color_scheme="dark").page
    page.locator("details.code summary").nth(2).click()
    page.emulate_media(media="print")
    code = page.locator("details.code pre")
    assert [block.is_visible() for block in code.all()] == [False] * 8
    assert not page.locator("nav.contents").is_visible()
    assert page.evaluate("getComputedStyle(document.documentElement).color") == "rgb(34, 37, 42)"
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="screen")
    page.get_by_role("switch", name="Show all code").check()
    page.locator("details.code summary").nth(2).click()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert [block.is_visible() for block in code.all()] == [True] * 8


def test_what_was_opened_is_remembered(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["task"]).page
    code = page.locator("details.code")
    code.nth(2).locator("summary").click()
    page.reload()
    assert [one.get_attribute("open") is not None for one in code.all()] == [i == 2 for i in range(8)]
    page.get_by_role("switch").check()
    page.goto(pages["changed"].as_uri())
    assert page.get_by_role("switch").is_checked()
    assert page.locator("details.code pre").first.is_visible()


def test_the_contents_follow_the_reading(visit: Open, pages: dict[str, Path]) -> None:

    page = visit(pages["task"], viewport={"width": 1400, "height": 600}).page
    current = page.locator(".contents a[aria-current]")
    assert current.inner_text() == "Summary"
    for title in ("The answer", "What made this", "Summary"):
        page.evaluate(
            "title => [...document.querySelectorAll('h2, h3')].find(h => h.textContent === title).scrollIntoView()",
            title,
        )
        page.wait_for_function(
            "title => document.querySelector('.contents a[aria-current]').textContent === title", arg=title
        )


def test_a_small_screen_has_its_contents_folded(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["task"], viewport={"width": 400, "height": 800}).page
    assert not page.locator(".contents a").first.is_visible()
    page.locator(".contents summary").click()
    page.locator(".contents").get_by_role("link", name="The answer").click()
    assert page.evaluate("scrollY") > 300


def test_metrics_sort_by_the_column_that_is_clicked(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["run"]).page
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    table = page.locator("#metrics table").first
    column = table.locator("tbody td:nth-child(2)")
    table.get_by_role("button", name="metric_1", exact=True).click()
    page.keyboard.press("Enter")
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    assert column.count() == 12
    names = table.locator("tbody th")
    table.get_by_role("button", name="Task").click()
    assert [name.inner_text() for name in names.all()] == [f"weather[month=2013-{m:02d}]" for m in range(1, 13)]
    table.get_by_role("button", name="Task").click()
    assert names.first.inner_text() == "weather[month=2013-12]"


def test_the_index_is_searched_from_disk(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["index"]).page
    rows = page.locator(".runs tbody tr")
    for words, found in (("flights weather", 1), ("nothing-like-it", 0), ("", 1)):
        page.get_by_role("searchbox").fill(words)
        assert sum(row.is_visible() for row in rows.all()) == found
    page.get_by_role("searchbox").fill("nothing-like-it")
    assert page.get_by_role("status").inner_text() == "0 of 1"


def test_a_wide_table_scrolls_alone_under_a_head_that_stays(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["task"], viewport={"width": 700, "height": 800}).page
    table = page.locator("table.dataframe").nth(1)
    scroll = table.locator("xpath=ancestor::*[contains(@class, 'scroll')]")
    assert scroll.evaluate("s => s.scrollWidth > s.clientWidth")
    page.evaluate("""() => {
      const body = document.querySelectorAll("table.dataframe tbody")[1];
      for (let i = 0; i < 60; i++) body.append(body.rows[0].cloneNode(true));
    }""")
    scroll.evaluate("s => { s.scrollIntoView(); s.scrollTop = 400; }")
    head, box = table.locator("thead th").first.bounding_box(), scroll.bounding_box()
    assert head and box
    assert abs(head["y"] - box["y"]) < 2


def test_the_keyboard_reaches_the_content_first(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["task"]).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    page.keyboard.press("Enter")
    page.wait_for_url("**#main")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "live"])
def test_the_keyboard_reaches_all_that_can_be_used_in_the_order_of_reading(
    kind: str, visit: Open, pages: dict[str, Path]
) -> None:
    page = visit(pages[kind], viewport={"width": 1400, "height": 900}).page
    every = page.evaluate(_USABLE)
    reached = []
    for _ in range(every + 1):
        page.keyboard.press("Tab")
        place = page.evaluate("window.usable.indexOf(document.activeElement)")
        if place < 0:
            break
        reached.append(place)
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring != "none", page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
    assert reached == list(range(every))


def test_the_keyboard_is_not_caught_in_a_frame(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["live"]).page
    page.wait_for_function("document.querySelectorAll('.live iframe[style*=height]').length === 2")
    page.locator(".code-cell summary").first.focus()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.querySelector('#made').contains(document.activeElement)"):
            return
    raise AssertionError(page.evaluate("document.activeElement.outerHTML"))


def test_the_keyboard_opens_code_switches_all_and_sorts(visit: Open, pages: dict[str, Path]) -> None:
    page = visit(pages["task"]).page
    first = page.locator("details.code").first
    first.locator("summary").focus()
    page.keyboard.press("Enter")
    assert first.locator("pre").is_visible()
    page.get_by_role("switch").focus()
    page.keyboard.press("Space")
    assert page.locator("details.code pre").last.is_visible()
    page.get_by_role("button", name="Value").focus()
    page.keyboard.press("Space")
    assert page.locator("#metrics th[aria-sort=descending]").inner_text().startswith("Value")


# What can be used by keyboard and is shown, in the order of the page; kept as window.usable.
_USABLE = """() => {
  const every = [...document.querySelectorAll("a[href], summary, input, button, select, [tabindex='0']")];
  window.usable = every.filter((e) => e.checkVisibility());
  return window.usable.length;
}"""


# WCAG 2.2, 1.4.3: at least 4.5 to 1 between text and what is behind it, by its formula of relative luminance;
# 3 to 1 for large text. Lists what falls short.
_CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const opacity = (element) => {
    let all = 1;
    for (let e = element; e; e = e.parentElement) all *= Number(getComputedStyle(e).opacity);
    return all;
  };
  const short = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || ["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const seen = opacity(element);
    const ink = parse(element.namespaceURI.endsWith("svg") ? style.fill : style.color)
      .slice(0, 3).map((c, i) => c * seen + back[i] * (1 - seen));
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    const text = element.textContent.trim().slice(0, 40);
    if (ratio < (large ? 3 : 4.5)) short.push(`${ratio.toFixed(2)} ${element.tagName} ${text}`);
  }
  return short;
}"""
