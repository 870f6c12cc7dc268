"""`routes` in a pipeline's file: where its module is looked for, and how a mistake is told."""

from __future__ import annotations

import pytest
from workshop import Workshop

from caderno.errors import InvalidPipeline


@pytest.fixture
def simple(shop: Workshop) -> Workshop:
    shop.notebook("a.ipynb", None, "1")
    shop.write("lib/shop/__init__.py", "")
    shop.write("lib/shop/web.py", "")
    return shop


@pytest.mark.parametrize("named", ["shop.web:blueprint", "shop:pages"])
def test_routes_name_a_function_of_a_module_or_a_package_under_lib(simple: Workshop, named: str) -> None:
    simple.pipeline("a: {notebook: a.ipynb}", f"routes: {named}\n")
    assert simple.load().routes == named


def test_without_the_key_there_are_none(simple: Workshop) -> None:
    simple.pipeline("a: {notebook: a.ipynb}")
    assert simple.load().routes is None


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("routes: shop.wbe:blueprint", "there is no module 'shop.wbe' under lib/\n  did you mean 'shop.web'?"),
        ("routes: os:path", "there is no module 'os' under lib/"),
        ("routes: shop.web", "'shop.web' is not module:name under lib/"),
        ("routes: ../shop:pages", "is not module:name"),
        ("routes: [a, b]", "routes"),
        ("route: shop.web:blueprint", "did you mean 'routes'?"),
    ],
)
def test_a_mistake_is_told_with_its_line(simple: Workshop, head: str, told: str) -> None:
    simple.pipeline("a: {notebook: a.ipynb}", f"{head}\n")
    with pytest.raises(InvalidPipeline) as caught:
        simple.load()
    assert str(caught.value).startswith("params/tiny.yaml:2: ")
    assert told in str(caught.value)
