"""Formulas that the browser draws by itself, built from what is known to be harmless."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from caderno.report.formulas import formula
from caderno.report.prose import prose


@pytest.mark.parametrize(
    ("tex", "said", "display"),
    [
        (r"$a^2$", "a2", "inline"),
        (r"$$\frac{1}{n}$$", "1n", "block"),
        (r"\(x\)", "x", "inline"),
        (r"\[x\]", "x", "block"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "a=bc=d", "inline"),
        (r"\begin{equation} y \end{equation}", "y", "inline"),
        (r"$\text{ROC AUC} \in [0,1]$", "ROC\xa0AUC∈[0,1]", "inline"),
        (r"$\mathrm{logit}(p)$", "logit(p)", "inline"),
        (r"$a < b & c$", "a<b&c", "inline"),
    ],
)
def test_tex_becomes_mathml(tex: str, said: str, display: str) -> None:
    math = BeautifulSoup(formula(tex) or "", "html.parser").math
    assert math
    assert math.get_text() == said
    assert math.get("display", "inline") == display


@pytest.mark.parametrize("tex", ["", "$$", r"\unknown{x}", r"\frac{", "x" * 6000, r"\left( x"])
def test_what_cannot_be_read_is_left_as_it_is(tex: str) -> None:
    assert formula(tex) is None


@pytest.mark.parametrize(
    "tex",
    [
        r"\href{javascript:alert(1)}{x}",
        r"\text{<img src=x onerror=alert(1)>}",
        r"\class{banner}{x} \style{position:fixed}{x}",
        r"\color{red" + '"onclick="alert(1)' + r"}{x}",
        "<script>alert(1)</script>",
        r"\text{&lt;script&gt;alert(1)&lt;/script&gt;}",
    ],
)
def test_nothing_in_a_formula_acts(tex: str) -> None:
    for html in (formula(tex) or "", prose(f"Text ${tex}$ and\n\n$$\n{tex}\n$$\n")):
        found = BeautifulSoup(html, "html.parser")
        assert not found.find(["script", "img", "a"])
        for tag in found.find_all(True):
            assert not {"href", "style", "onclick", "onerror"} & set(tag.attrs)


def test_prose_has_formulas_in_its_lines_and_on_their_own() -> None:
    found = BeautifulSoup(prose("For $x$ in\n\n$$\n\\sum_i y_i\n$$\n\nor `$code$` and \\$5."), "html.parser")
    assert [math.get("display") for math in found("math")] == ["inline", "block"]
    assert found.find("code").get_text() == "$code$"
    assert "$5" in found.get_text()
