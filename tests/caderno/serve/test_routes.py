"""Routes of a project's own: they ask the champion and the newest results, and take no address of the service."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from deliveries import told
from workshop import PIPELINE, Workshop, ended

SHOP = """
from flask import Blueprint, jsonify

def blueprint(service):
    pages = Blueprint("shop", __name__, url_prefix="/shop")

    @pages.get("/<x>")
    def ask(x):
        said = service.predict([{"x": float(x), "noise": 0.5, "late": 1, "day": "2026-01-01"}])
        metrics = sorted(said.about["metrics"])
        return jsonify(model=service.model, values=said.values, version=said.version, metrics=metrics)

    @pages.get("/short")
    def short():
        return jsonify(service.predict([{"x": 1.0}]).values)

    @pages.get("/bug")
    def bug():
        raise ValueError("a secret")

    @pages.get("/rows")
    def rows():
        found = service.latest("data")
        return jsonify(fingerprint=found.fingerprint, lines=len(found.outputs["test"].read_text().splitlines()))

    @pages.get("/nothing")
    def nothing():
        return jsonify(service.latest("later").fingerprint)

    return pages
"""


def with_routes(shop: Workshop, named: str, source: str = "", module: str = "shop") -> None:
    """Give the pipeline the key, and the project the module."""
    path = shop.root / "params" / f"{PIPELINE}.yaml"
    path.write_text(path.read_text().replace("tasks:\n", f"routes: {named}\ntasks:\n"))
    shop.write(f"lib/{module}.py", source)


@pytest.fixture
def imports() -> Iterator[None]:
    """Forget what is imported from a project under test."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("shop"):
            del sys.modules[name]


def get(address: str, body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"} if data else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.kernel
def test_a_projects_route_asks_the_champion_and_the_newest_results(delivered: Workshop) -> None:
    with_routes(delivered, "shop:blueprint", SHOP)
    path = delivered.root / "params" / f"{PIPELINE}.yaml"
    path.write_text(path.read_text() + "  later: {notebook: data.ipynb, outputs: {test: test.csv}}\n")
    process = delivered.start("serve", "--port", "0")
    try:
        assert process.stdout
        address = next(line for line in process.stdout if line.startswith("http")).strip()
        status, said = get(f"{address}shop/0.25")
        assert (status, said["model"], said["version"]) == (200, PIPELINE, "1")
        assert "roc_auc" in said["metrics"]
        rows = {"instances": [{"x": 0.25, "noise": 0.5}]}
        assert said["values"] == get(f"{address}v1/models/{PIPELINE}:predict", rows)[1]["predictions"]
        assert get(f"{address}shop/rows")[1] == {
            "fingerprint": delivered.record("data").fingerprint,
            "lines": len((delivered.result("data") / "test.csv").read_text().splitlines()),
        }
        assert get(f"{address}shop/short") == (503, {"error": "Service Unavailable: GET /shop/short"})
        assert get(f"{address}shop/nothing")[0] == 503
        status, said = get(f"{address}shop/bug")
        assert status == 500
        assert "secret" not in said["error"]
    finally:
        process.terminate()
        done = ended(process)
    assert done.code == 0
    assert "a secret" in done.out  # the log has it


@pytest.mark.kernel
@pytest.mark.usefixtures("imports")
@pytest.mark.parametrize(
    ("named", "source", "said"),
    [
        ("shop1:pages", "1 / 0", "ZeroDivisionError: division by zero (shop1.py, line 1)"),
        ("shop2:pages", "import nowhere", "No module named 'nowhere'"),
        ("shop3:pages", "def page(service): ...", "did you mean 'page'?"),
        ("shop4:pages", "def pages(service): return 1", "returns int, not a flask.Blueprint"),
        ("shop5:pages", "def pages(): ...", "takes 0 positional arguments"),
        ("shop6:pages", "{made}'/v1/models/x'{end}", "the address /v1/models/x may hide one of the service's own"),
        ("shop7:pages", "{made}'/<path:all>'{end}", "the address /<path:all> may hide one of the service's own"),
        ("shop8:pages", "{named}'tfserving'{end}", "can't be added"),
    ],
)
def test_routes_that_can_not_be_served_are_an_error_before_a_model_is_loaded(
    delivered: Workshop, named: str, source: str, said: str
) -> None:
    made = "from flask import Blueprint\ndef pages(service):\n    made = Blueprint('shop', __name__)\n    made.get("
    end = ")(lambda **_: 'x')\n    return made"
    source = source.replace("{named}'tfserving'", made.replace("'shop'", "'tfserving'") + "'/shop'")
    with_routes(delivered, named, source.replace("{made}", made).replace("{end}", end), named.partition(":")[0])
    done = told(delivered, "serve", "--port", "0")
    assert done.code == 2
    assert said in done
    assert f"routes {named}" in done
    assert "Traceback" not in done
    assert done.seconds < 10


@pytest.mark.kernel
def test_a_module_that_is_not_there_is_told_with_line_and_the_nearest(delivered: Workshop) -> None:
    with_routes(delivered, "shops:blueprint", SHOP)
    done = told(delivered, "serve")
    assert done.code == 2
    assert "there is no module 'shops' under lib/" in done
    assert "did you mean 'shop'?" in done
