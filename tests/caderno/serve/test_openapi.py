"""The service's description of itself: valid, whole, and as exact as the service is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from flask import Flask
from jsonschema import Draft202012Validator

sys.path.insert(0, str(Path(__file__).parent))
from served import NAME, Bounded, classifier, doubler, echo, listening, serving

from caderno.serve import openapi
from caderno.serve.answering import Service
from caderno.serve.errors import ServiceError
from caderno.serve.sources import Folder
from caderno.serve.tables import from_columns, from_rows

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# For each column values that are right and values that are wrong.
VALUES: dict[str, tuple[list[Any], list[Any]]] = {
    "x": ([0, 1.5, -2, 2], [None, "1", True, 2.1, -3, [1], {}]),
    "shop": (["north", "south"], [None, "east", "", 1, ["north"]]),
    "count": ([0, -5, 2**63 - 1], [None, 1.5, "1", False, 2**63]),
    "sunny": ([True, False], [None, 0, "true"]),
    "day": (["2026-01-02T03:04:05Z"], [5, True, []]),
    "note": (["", "any", None], [1, [], False]),
    "wind_1": ([0, 50, None], [-1, 51]),
    "wind_2": ([0, 1e6, None], [-0.5]),
    "wind_3": ([None, -1e300], ["x"]),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flask, Service]]:
    """A classifier with limits, a model of a tensor, and one whose names are hostile."""
    root = tmp_path_factory.mktemp("models")
    sources = [
        Bounded("shop", classifier(root / "shop")),
        Folder("double", doubler(root / "double")),
        Folder(NAME, echo(root / "echo")),
    ]
    with serving(*sources) as found:
        yield found


@pytest.fixture(scope="module")
def document(made: tuple[Flask, Service]) -> Any:
    answer = made[0].test_client().get("/openapi.json")
    assert answer.mimetype == "application/json"
    return json.loads(answer.data)


def test_a_tool_reads_it(made: tuple[Flask, Service]) -> None:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", made[0])
    assert "/v1/models/shop:predict" in schema


def validator(document: Any, schema: Any) -> Draft202012Validator:
    """Return what judges by a schema of the document."""
    return Draft202012Validator({"$schema": DIALECT, **schema, "components": document["components"]})


def test_every_schema_is_one_and_every_reference_leads_to_one(document: Any) -> None:
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert named <= document["components"]["schemas"].keys()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in document["components"]["schemas"])


def test_operations_have_names_of_their_own_and_say_what_they_are_for(document: Any) -> None:
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert all(one["summary"] for one in operations)


def test_every_parameter_of_an_address_is_described(document: Any) -> None:
    for address, methods in document["paths"].items():
        for operation in methods.values():
            described = {one["name"] for one in operation.get("parameters", ())}
            assert described == set(re.findall(r"\{(\w+)\}", address)), address


def test_no_route_is_left_out_or_undescribed(made: tuple[Flask, Service], document: Any) -> None:
    app, _ = made
    assert openapi.undescribed(app) == set()
    described = set(document["paths"])
    for rule in app.url_map.iter_rules():
        address = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        assert {address, address.replace("{name}", "shop")} & described, address


def test_a_model_s_own_example_fits_its_description_and_is_answered_as_described(
    made: tuple[Flask, Service], document: Any
) -> None:
    for verb in ("predict", "classify", "regress"):
        address = f"/v1/models/shop:{verb}"
        operation = document["paths"][address]["post"]
        content = operation["requestBody"]["content"]["application/json"]
        assert validator(document, content["schema"]).is_valid(content["example"])
        answer = made[0].test_client().post(address, json=content["example"])
        assert answer.status_code == 200
        given = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert list(validator(document, given).iter_errors(answer.json)) == []


@pytest.mark.parametrize("by", ["row", "column"])
@pytest.mark.parametrize("name", VALUES)
def test_the_description_takes_and_refuses_what_the_service_takes_and_refuses(
    name: str, by: str, made: tuple[Flask, Service], document: Any
) -> None:
    version = made[1].shelf.model("shop").version()
    schema = validator(document, document["components"]["schemas"]["shop.Row" if by == "row" else "shop.Columns"])
    for right, values in zip((True, False), VALUES[name], strict=True):
        for value in values:
            row = {**version.example[0], name: value}
            columns = {field: [one] for field, one in row.items()}
            try:
                if by == "row":
                    from_rows(version.signature, [row], 10)
                else:
                    from_columns(version.signature, columns, 10)
                taken = True
            except ServiceError:
                taken = False
            assert taken is right, value
            assert schema.is_valid(row if by == "row" else columns) is right, value


def test_fields_that_are_missing_or_unknown_are_refused_by_both(made: tuple[Flask, Service], document: Any) -> None:
    version = made[1].shelf.model("shop").version()
    row = dict(version.example[0])
    schema = validator(document, document["components"]["schemas"]["shop.Row"])
    without_note = {name: value for name, value in row.items() if name != "note"}
    assert schema.is_valid(without_note)
    from_rows(version.signature, [without_note], 10)
    for wrong in ({**row, "more": 1}, {name: value for name, value in row.items() if name != "x"}):
        assert not schema.is_valid(wrong)
        with pytest.raises(ServiceError):
            from_rows(version.signature, [wrong], 10)


def test_a_tensor_is_described_by_its_shape(document: Any) -> None:
    row = validator(document, document["components"]["schemas"]["double.Row"])
    assert row.is_valid([1, 2.5, 3])
    assert not any(row.is_valid(one) for one in ([1, 2], [1, 2, "3"], 1, [[1, 2, 3]]))


def test_the_columns_limits_stand_in_the_description(document: Any) -> None:
    fields = document["components"]["schemas"]["shop.Row"]["properties"]
    assert fields["x"] == {"type": "number", "minimum": -2, "maximum": 2}
    assert fields["shop"] == {"type": "string", "enum": ["north", "south"]}
    assert fields["wind_2"] == {"type": ["number", "null"], "minimum": 0}
    assert "note" not in document["components"]["schemas"]["shop.Row"]["required"]


def test_a_hostile_name_is_an_address_that_works(made: tuple[Flask, Service], document: Any) -> None:
    (address,) = [one for one in document["paths"] if one.endswith(":predict") and "pwned" in one]
    example = document["paths"][address]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert made[0].test_client().post(address, json=example).status_code == 200


@pytest.mark.slow
def test_no_request_is_answered_otherwise_than_described(made: tuple[Flask, Service], tmp_path: Path) -> None:
    """Checks are left out that ask for more than can be said.

    A body that fits may be refused: columns must be of one length, and what a version's model takes is not known there.
    `GET /v1/models/NAME:predict` asks for a model with a colon in its name: 404, and by OPTIONS it is allowed.
    """
    checks = "--exclude-checks=positive_data_acceptance,allow_header_conformance,unsupported_method"
    limits = ["--max-examples=30", "--phases=examples,coverage,fuzzing", "--seed=1"]
    where = r"--include-path-regex=^/(v1|v2|invocations|openapi|$)"  # MLflow's /ping says JSON and sends an empty line
    with listening(made[0]) as address:
        command = [Path(sys.executable).with_name("schemathesis"), "run", f"{address}/openapi.json", "--no-color"]
        done = subprocess.run(
            [*command, *limits, checks, where], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout
