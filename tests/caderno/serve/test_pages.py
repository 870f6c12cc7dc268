"""Pages of the service: what they say, and that the form asks what a program would ask; in a real browser, too."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import html5lib
import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from flask import Flask

sys.path.insert(0, str(Path(__file__).parent))
from served import HOSTILE, MANY, NAME, Bounded, classifier, doubler, echo, listening, serving
from workshop import until

from caderno.serve.answering import Service
from caderno.serve.sources import Folder

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
Made = tuple[Flask, Service]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("shop") / "shop")


@pytest.fixture(scope="module")
def one(shop: Path) -> Iterator[Made]:
    """A service of one model."""
    with serving(Bounded("shop", shop)) as found:
        yield found


@pytest.fixture(scope="module")
def several(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A service of three models, one of them hostile."""
    root = tmp_path_factory.mktemp("models")
    sources = [Bounded("shop", shop), Folder("double", doubler(root / "double")), Folder(NAME, echo(root / "echo"))]
    with serving(*sources) as found:
        yield found


def page(made: Made, address: str, **form: str) -> BeautifulSoup:
    client = made[0].test_client()
    return BeautifulSoup((client.post(address, data=form) if form else client.get(address)).data, "html.parser")


def filled(soup: BeautifulSoup) -> dict[str, str]:
    """Return what a browser would send."""
    found = {}
    for field in soup.select("form input[name], form textarea[name]"):
        found[str(field["name"])] = str(field.get("value", field.text.lstrip("\n")))
    for field in soup.select("form select[name]"):
        chosen = field.select_one("option[selected]") or field.select_one("option")
        assert chosen
        found[str(field["name"])] = str(chosen["value"])
    return found


def test_one_model_is_the_first_page_several_are_a_list(one: Made, several: Made) -> None:
    assert page(one, "/").select_one("form.try")
    soup = page(several, "/")
    assert not soup.select_one("form")
    links = [str(link["href"]) for link in soup.select("tbody a")]
    assert len(links) == 3
    for link in links:
        assert several[0].test_client().get(link).status_code == 200


def test_a_program_that_asks_for_json_gets_json(several: Made) -> None:
    client = several[0].test_client()
    told = client.get("/", headers={"Accept": "application/json"}).json
    assert [model["name"] for model in told["models"]] == ["shop", "double", NAME]
    assert told["models"][0]["versions"][0]["version"] == told["models"][0]["default"] == "1"
    refused = client.get("/try/none", headers={"Accept": "application/json"})
    assert (refused.status_code, list(refused.json)) == (404, ["error"])
    assert client.get("/", headers={"Accept": "text/html,*/*;q=0.8"}).mimetype == "text/html"


def test_no_page_tells_where_files_are(several: Made, shop: Path) -> None:
    client = several[0].test_client()
    for address in ("/", "/try/shop", "/docs", "/openapi.json"):
        assert str(shop.parent) not in client.get(address).text
    assert str(shop.parent) not in client.get("/", headers={"Accept": "application/json"}).text


def test_the_form_is_filled_with_the_models_example_within_its_limits(one: Made) -> None:
    form = page(one, "/").select_one("form.try")
    assert form
    given = {name.removeprefix("x."): value for name, value in filled(page(one, "/")).items()}
    assert given["x"] == "0.1"
    assert given["count"] == "1"
    assert (given["shop"], given["sunny"], given["note"]) == ("north", "true", "")
    assert given["day"] == "2026-01-02T03:04:05"
    x = form.select_one("[name='x.x']")
    assert x
    assert (x["type"], x["min"], x["max"], x["step"]) == ("number", "-2", "2", "any")
    assert x.has_attr("required")
    count = form.select_one("[name='x.count']")
    assert count
    assert count["step"] == "1"
    assert [option["value"] for option in form.select("[name='x.shop'] option")] == ["north", "south"]
    wind = form.select_one("[name='x.wind_1']")
    assert wind
    assert not wind.has_attr("required")
    assert [group.text.split() for group in form.select("summary")][1:] == [["wind_…", "8"], ["past_…", "5"]]


def test_the_form_is_answered_as_a_program_is(one: Made) -> None:
    form = filled(page(one, "/")) | {"x.x": "-1.5", "x.shop": "south", "x.wind_3": "", "x.day": "2026-05-06T07:08"}
    soup = page(one, "/try/shop", **form)
    row = dict(one[1].shelf.model("shop").version().example[0])
    row |= {"x": -1.5, "shop": "south", "wind_3": None, "day": "2026-05-06T07:08"}
    asked = one[0].test_client().post("/v1/models/shop:classify", json={"examples": [row]}).json
    shares = {name: f"{100 * share:.1f} %" for name, share in asked["results"][0]}
    shown = {str(one.dt.text): one.dd.text.strip() for one in soup.select(".shares div") if one.dt and one.dd}
    assert shown == shares


def test_the_command_on_the_page_asks_the_same(one: Made) -> None:
    form = filled(page(one, "/")) | {"x.note": 'it\'s "quoted" $HOME `id` é\n', "x.x": "1.25"}
    with listening(one[0]) as address:
        words = [word for name, value in form.items() for word in ("--data-urlencode", f"{name}={value}")]
        sent = subprocess.run(["curl", "-s", *words, f"{address}/try/shop"], capture_output=True, text=True, check=True)
        command = BeautifulSoup(sent.stdout, "html.parser").select_one("#program code")
        assert command
        done = subprocess.run(["sh", "-c", command.text], capture_output=True, text=True, check=True)
    row = json.loads(shlex.split(command.text)[2])["instances"][0]
    assert (row["note"], row["x"]) == (form["x.note"], 1.25)
    assert len(json.loads(done.stdout)["predictions"][0]) == 2


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("x", "3", "3 is more than 2"),
        ("x", "", "must not be null"),
        ("x", "abc", "expected a number, got the text 'abc'"),
        ("x", "1e999", "expected a number"),
        ("shop", "east", "none of the contract's values"),
        ("count", "1.5", "expected a whole number, got the number 1.5"),
        ("count", "99999999999999999999", "expected a whole number"),
        ("sunny", "maybe", "expected true or false"),
        ("day", "yesterday", "expected a time"),
        ("wind_1", "-1", "-1 is less than 0"),
    ],
)
def test_a_complaint_stands_beside_its_field_and_what_was_typed_stays(
    field: str, value: str, what: str, one: Made
) -> None:
    form = filled(page(one, "/")) | {f"x.{field}": value}
    answer = one[0].test_client().post("/try/shop", data=form)
    assert answer.status_code == 400
    soup = BeautifulSoup(answer.data, "html.parser")
    (wrong,) = soup.select(".field.wrong")
    (control,) = wrong.select("[name]")
    (complaint,) = wrong.select(".complaint")
    assert control["name"] == f"x.{field}"
    assert what in complaint.text
    assert complaint["id"] in str(control["aria-describedby"]).split()
    assert filled(soup) == form
    assert all(group.has_attr("open") for group in wrong.find_parents("details"))
    (link,) = soup.select(".wrongs a")
    assert link["href"] == f"#{control['id']}"


def test_a_model_of_tensors_is_asked_in_json(several: Made) -> None:
    soup = page(several, "/try/double")
    assert json.loads(filled(soup)["row"]) == [0, 0, 0]
    answer = page(several, "/try/double", row="[1, 2, 2.5]").select_one(".shares dd")
    assert answer
    assert json.loads(answer.text) == [2, 4, 5]
    for wrong in ("[1, 2]", "[1,", '"x"', ""):
        refused = several[0].test_client().post("/try/double", data={"row": wrong})
        assert refused.status_code == 400
        assert BeautifulSoup(refused.data, "html.parser").select(".complaint")


def test_a_model_that_fails_is_said_to_have_failed(several: Made) -> None:
    address = str(page(several, "/").select("tbody a")[2]["href"])
    answer = several[0].test_client().post(address, data={f"x.{HOSTILE}": "fail"})
    assert answer.status_code == 500
    assert "the model failed" in BeautifulSoup(answer.data, "html.parser").text


def test_trouble_is_told(one: Made) -> None:
    one[1].shelf.troubles["shop"] = "version 2 is not served: <b>broken</b>"
    try:
        banner = page(one, "/").select_one(".banner")
    finally:
        one[1].shelf.troubles.clear()
    assert banner
    assert "version 2 is not served: <b>broken</b>" in banner.text


def test_what_is_not_there_is_a_page_too(several: Made) -> None:
    for address in ("/try/none", "/try/shop?version=7"):
        answer = several[0].test_client().get(address)
        assert (answer.status_code, answer.mimetype) == (404, "text/html")


def test_the_docs_show_every_operation_and_every_form(several: Made) -> None:
    document = json.loads(several[0].test_client().get("/openapi.json").data)
    soup = page(several, "/docs")
    shown = {one.text for one in soup.select(".operation > summary > code")}
    assert set(document["paths"]) | set(document["components"]["schemas"]) == shown
    rows = soup.select_one("#schema-shop\\.Row")
    assert rows
    assert len(rows.select("tbody tr")) == 6 + len(MANY)
    for link in soup.select("a[href^='#']"):
        assert soup.find(id=str(link["href"])[1:]), link


PAGES = ["list", "form", "refused", "answered", "tensor", "echo", "docs", "missing"]


def source(made: Made, kind: str) -> Any:
    """Return the answer that is a page of a kind."""
    client = made[0].test_client()
    hostile = str(page(made, "/").select("tbody a")[2]["href"])
    match kind:
        case "refused":
            return client.post("/try/shop", data=filled(page(made, "/try/shop")) | {"x.x": "9", "x.wind_1": "-1"})
        case "answered":
            return client.post("/try/shop", data=filled(page(made, "/try/shop")))
        case "echo":
            return client.post(hostile, data={f"x.{HOSTILE}": HOSTILE})
    addresses = {"list": "/", "form": "/try/shop", "tensor": "/try/double", "docs": "/docs", "missing": f"/try/{NAME}x"}
    return client.get(addresses[kind])


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_is_valid_and_its_policy_admits_nothing_else(kind: str, several: Made) -> None:
    answer = source(several, kind)
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    parser.parse(answer.text)
    assert parser.errors == []
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    soup = BeautifulSoup(answer.text, "html.parser")
    assert len(soup.select("script, style")) == 2
    assert not [tag for tag in soup.find_all() if any(name == "style" or name.startswith("on") for name in tag.attrs)]
    assert not [url for url in re.findall(r'(?:src|href|action)="([^"]*)"', answer.text) if url.startswith(("h", "//"))]


# In a real browser.


@pytest.fixture(scope="module")
def address(several: Made) -> Iterator[str]:
    with listening(several[0]) as found:
        yield found


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Open an address in a context of its own; what the browser complains about fails the test."""
    contexts, complaints = [], []

    def make(path: str, **options: Any) -> Page:
        contexts.append(browser.new_context(base_url=address, **options))
        opened = contexts[-1].new_page()
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(path)
        return opened

    yield make
    for context in contexts:
        context.close()
    assert [one for one in complaints if "status of 40" not in one and "status of 500" not in one] == []


def opened(visit: Callable[..., Page], kind: str, **options: Any) -> Page:
    """Return the page of a kind as a browser has it."""
    if kind in ("refused", "answered"):
        found = visit("/try/shop", **options)
        if kind == "refused":
            found.evaluate("document.querySelector('form').noValidate = true")
            found.locator("[name='x.x']").fill("9")
        with found.expect_navigation():
            found.get_by_role("button", name="Predict").click()
        return found
    if kind == "echo":
        found = visit("/", **options)
        found.locator("tbody a").nth(2).click()
        with found.expect_navigation():
            found.get_by_role("button", name="Predict").click()
        return found
    return visit(
        {"list": "/", "form": "/try/shop", "tensor": "/try/double", "docs": "/docs"}.get(kind, "/try/x"), **options
    )


@pytest.mark.browser
@pytest.mark.parametrize("kind", [pytest.param(one, marks=pytest.mark.slow) if one == "docs" else one for one in PAGES])
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(kind: str, scheme: Any, visit: Callable[..., Page]) -> None:
    for width in (1400, 400):
        found = opened(visit, kind, color_scheme=scheme, viewport={"width": width, "height": 800})
        for unfolded in (False, True):
            found.evaluate("open => document.querySelectorAll('details').forEach(d => d.open = open)", unfolded)
            assert found.evaluate("document.documentElement.scrollWidth") <= width
            judged = Axe().run(found, options={"runOnly": AXE})
            assert judged.violations_count == 0, judged.generate_report()
        assert found.title() != "pwned"


@pytest.mark.browser
def test_without_javascript_the_form_asks_and_complains(visit: Callable[..., Page]) -> None:
    found = visit("/try/shop", java_script_enabled=False)
    assert not found.get_by_label("Find a field").is_visible()
    found.get_by_label("x", exact=True).fill("1.5")
    found.locator("summary", has_text="wind_").click()
    found.get_by_label("wind_1").fill("12")
    found.get_by_role("button", name="Predict").click()
    assert found.locator(".shares dd").count() == 2
    assert found.get_by_label("wind_1").is_visible()  # what was changed stays open
    assert found.get_by_label("x", exact=True).input_value() == "1.5"
    found.get_by_label("wind_1").fill("-1")
    found.locator("summary", has_text="wind_").click()
    found.get_by_role("button", name="Predict").click()
    assert found.locator(".complaint").inner_text().startswith("-1 is less than 0")


@pytest.mark.browser
def test_the_browser_itself_refuses_what_is_out_of_range_also_where_it_is_folded_away(
    visit: Callable[..., Page],
) -> None:
    found = visit("/try/shop")
    found.locator("[name='x.wind_1']").evaluate("field => field.value = '99'")
    found.get_by_role("button", name="Predict").click()
    assert found.get_by_label("wind_1").is_visible()
    assert found.locator(".shares").count() == 0
    assert found.evaluate("document.activeElement.name") == "x.wind_1"


@pytest.mark.browser
def test_a_field_is_found_by_parts_of_its_name(visit: Callable[..., Page]) -> None:
    found = visit("/try/shop")
    search = found.get_by_label("Find a field")
    search.fill("wi 3")
    assert [one.inner_text() for one in found.locator(".field label").all() if one.is_visible()] == ["wind_3"]
    assert found.get_by_role("status").inner_text() == "1 of 19"
    search.press("Enter")  # asks nothing
    search.fill("")
    assert found.get_by_label("shop").is_visible()
    assert not found.get_by_label("wind_3").is_visible()


@pytest.mark.browser
def test_the_answer_stays_in_sight_and_never_hides_what_has_the_focus(visit: Callable[..., Page]) -> None:
    for width in (1400, 400):
        found = opened(visit, "answered", viewport={"width": width, "height": 700})
        found.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found.locator(".field [name]").first.focus()
        for _ in range(6 + len(MANY)):
            box, answer = (
                found.evaluate("document.activeElement.getBoundingClientRect().toJSON()"),
                found.locator(".result").bounding_box(),
            )
            assert answer
            assert 0 <= answer["y"] < 700
            if width == 400:
                assert box["top"] >= answer["y"] + answer["height"] - 1
            found.keyboard.press("Tab")


@pytest.mark.browser
def test_the_keyboard_alone_asks_and_follows_a_complaint_to_its_field(visit: Callable[..., Page]) -> None:
    found = opened(visit, "refused")
    found.keyboard.press("Tab")
    assert found.evaluate("document.activeElement.textContent") == "Skip to the content"
    found.get_by_role("link", name="x", exact=True).press("Enter")
    until(lambda: found.evaluate("document.activeElement.name") == "x.x")
    found.keyboard.type("1")
    found.keyboard.press("Control+a")
    found.keyboard.type("1")
    found.keyboard.press("Enter")
    found.wait_for_selector(".shares")


@pytest.mark.browser
def test_hostile_names_and_values_do_nothing_on_any_page(visit: Callable[..., Page]) -> None:
    found = opened(visit, "echo")
    assert HOSTILE in found.locator(".shares").inner_text()
    assert NAME in found.locator("h1").inner_text()
    assert found.title() != "pwned"
    assert found.locator("img").count() == 0
