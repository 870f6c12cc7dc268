"""TensorFlow Serving's REST API: its documentation's own examples, and what clients of it rely on."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

Serve = Callable[..., Any]
TAGS = {
    "instances": [
        {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
        {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
    ]
}
FRUIT = {
    "weight": 101.5,
    "size": 5,
    "number": 31,
    "small": 4,
    "fresh": True,
    "kind": "pear",
    "picked": "2026-06-01T00:00:00",
    "stamp": {"b64": "eHg="},
}


class TestDocumentedExamples:
    """https://www.tensorflow.org/tfx/serving/api_rest and …/docker: the bytes of requests and answers."""

    @pytest.mark.parametrize(
        ("model", "text"),
        [
            ("half_plus_two", b'{\n    "predictions": [2.5, 3.0, 4.5]\n}'),
            ("half_plus_three", b'{\n    "predictions": [3.5, 4.0, 5.5]\n}'),
        ],
    )
    def test_half_plus_something_is_predicted_byte_for_byte(self, service: Serve, model: str, text: bytes) -> None:
        said = service(model).post(f"/v1/models/{model}:predict", b'{"instances": [1.0, 2.0, 5.0]}')
        assert (said.status_code, said.mimetype) == (200, "application/json")
        assert said.data == text

    def test_a_model_is_regressed_byte_for_byte(self, service: Serve) -> None:
        body = b'{"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}'
        said = service("half_plus_three").post("/v1/models/half_plus_three:regress", body)
        assert said.data == b'{\n    "results": [3.5, 4.0]\n}'

    def test_a_models_status_is_told_byte_for_byte(self, service: Serve) -> None:
        said = service("half_plus_three").get("/v1/models/half_plus_three")
        assert said.data == (
            b'{\n "model_version_status": [\n  {\n   "version": "1",\n   "state": "AVAILABLE",\n'
            b'   "status": {\n    "error_code": "OK",\n    "error_message": ""\n   }\n  }\n ]\n}\n'
        )

    def test_an_unknown_model_is_not_found(self, service: Serve) -> None:
        said = service("half_plus_three").post("/v1/models/half:predict", {"instances": [1.0, 5.0]})
        assert said.status_code == 404
        assert said.json == {"error": "Servable not found for request: Latest(half)"}

    def test_curls_own_content_type_is_taken(self, service: Serve) -> None:
        kind = "application/x-www-form-urlencoded"
        said = service("half_plus_two").post("/v1/models/half_plus_two:predict", {"instances": [1.0]}, kind)
        assert said.json == {"predictions": [2.5]}

    def test_rows_and_columns_of_named_tensors_mean_the_same(self, service: Serve) -> None:
        columns = {name: [row[name] for row in TAGS["instances"]] for name in ("tag", "signal", "sensor")}
        by_row = service("shapes").post("/v1/models/shapes:predict", TAGS)
        by_column = service("shapes").post("/v1/models/shapes:predict", {"inputs": columns})
        assert by_row.json["predictions"] == [
            {"sum": 25, "tag": "foo", "sensor": [[1, 2], [3, 4]]},
            {"sum": 38, "tag": "bar", "sensor": [[4, 5], [6, 8]]},
        ]
        assert by_column.json["outputs"] == {
            "sum": [25, 38],
            "tag": ["foo", "bar"],
            "sensor": columns["sensor"],
        }

    @pytest.mark.parametrize("body", [{"inputs": [1.0, 5.0]}, {"inputs": {"x": [1.0, 5.0]}}])
    def test_the_only_input_needs_no_name_in_columns(self, service: Serve, body: Any) -> None:
        assert service("half_plus_three").post("/v1/models/half_plus_three:predict", body).json == {
            "outputs": [3.5, 5.5]
        }
        assert service("half_by_column").post("/v1/models/half_by_column:predict", body).json == {"outputs": [2.5, 4.5]}

    def test_bytes_come_and_go_as_base64(self, service: Serve) -> None:
        rows = [
            {"image": {"b64": "aW1hZ2UgYnl0ZXM="}, "caption": "seaside"},
            {"image": {"b64": "YXdlc29tZSBpbWFnZSBieXRlcw=="}, "caption": "mountains"},
        ]
        said = service("texts").post("/v1/models/texts:predict", {"instances": rows}).json["predictions"]
        turned = [base64.b64decode(row["turned_bytes"]["b64"])[::-1] for row in said]
        assert turned == [b"image bytes", b"awesome image bytes"]
        assert [row["caption"] for row in said] == ["seaside", "mountains"]


class TestClassifyAndRegress:
    def test_each_class_comes_with_its_probability(self, service: Serve) -> None:
        said = service("fruit").post("/v1/models/fruit:classify", {"examples": [FRUIT, FRUIT]})
        predicted = service("fruit").post("/v1/models/fruit:predict", {"instances": [FRUIT]}).json["predictions"][0]
        first, second = said.json["results"]
        for found in (first, second):
            assert [label for label, _ in found] == ["apple", "pear", "quince"]
            assert [score for _, score in found] == pytest.approx(predicted)
        assert said.headers["Model-Version"] == "1"

    def test_context_is_common_to_all_examples(self, service: Serve) -> None:
        context = {name: value for name, value in FRUIT.items() if name != "kind"}
        body = {"context": context, "examples": [{"kind": "pear"}, {"kind": ["apple"]}]}
        whole = {"examples": [FRUIT, {**FRUIT, "kind": "apple"}]}
        found, wanted = (service("fruit").post("/v1/models/fruit:classify", one).json for one in (body, whole))
        assert found == wanted
        assert found["results"][0] != found["results"][1]

    def test_a_feature_of_one_value_may_be_a_list(self, service: Serve) -> None:
        said = service("half_plus_three").post("/v1/models/half_plus_three:regress", {"examples": [{"x": [1.0]}]})
        assert said.json == {"results": [3.5]}

    def test_a_model_without_probabilities_is_not_classified(self, service: Serve) -> None:
        said = service("half_by_column").post("/v1/models/half_by_column:classify", {"examples": [{"x": 1.0}]})
        assert (said.status_code, ":predict" in said.json["error"]) == (400, True)

    def test_a_model_of_many_classes_is_not_regressed(self, service: Serve) -> None:
        assert service("fruit").post("/v1/models/fruit:regress", {"examples": [FRUIT]}).status_code == 400

    @pytest.mark.parametrize("verb", ["predict", "classify", "regress"])
    def test_an_unknown_signature_is_refused(self, service: Serve, verb: str) -> None:
        body = {"signature_name": "other", "instances": [{"x": 1.0}], "examples": [{"x": 1.0}]}
        said = service("half_by_column").post(f"/v1/models/half_by_column:{verb}", body)
        assert said.status_code == 400
        assert said.json["error"] == 'Serving signature key "other" not found.'

    @pytest.mark.parametrize("examples", [None, [], {}, "x", [1], [None]])
    def test_examples_are_a_list_of_objects(self, service: Serve, examples: Any) -> None:
        said = service("several").post("/v1/models/several:regress", {"examples": examples})
        assert (said.status_code, list(said.json)) == (400, ["error"])


class TestMetadata:
    def test_it_describes_tensors_as_tensorflow_does(self, service: Serve) -> None:
        said = service("shapes").get("/v1/models/shapes/metadata").json
        assert said["model_spec"] == {"name": "shapes", "signature_name": "", "version": "1"}
        signature = said["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        assert signature["inputs"]["sensor"] == {
            "dtype": "DT_INT64",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}, {"size": "2", "name": ""}],
                "unknown_rank": False,
            },
            "name": "sensor",
        }

    def test_a_column_of_each_type_has_a_dtype(self, service: Serve) -> None:
        said = service("fruit").get("/v1/models/fruit/versions/1/metadata").json
        inputs = said["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
        assert [one["dtype"] for one in inputs.values()][:6] == [
            "DT_DOUBLE",
            "DT_FLOAT",
            "DT_INT64",
            "DT_INT32",
            "DT_BOOL",
            "DT_STRING",
        ]


class TestAddresses:
    @pytest.mark.parametrize("path", ["/versions/1", ""])
    def test_a_version_may_be_named(self, service: Serve, path: str) -> None:
        served, address = service("half_plus_two"), f"/v1/models/half_plus_two{path}"
        assert served.post(f"{address}:predict", {"instances": [1.0]}).json == {"predictions": [2.5]}
        assert served.get(address).status_code == 200

    @pytest.mark.parametrize("path", ["/versions/2", "/labels/champion", f"/versions/{'9' * 5000}", "/versions/x"])
    def test_what_is_not_there_is_not_found(self, service: Serve, path: str) -> None:
        served, address = service("half_plus_two"), f"/v1/models/half_plus_two{path}"
        for said in (served.get(address), served.post(f"{address}:predict", {"instances": [1.0]})):
            assert (said.status_code, list(said.json)) == (404, ["error"])

    def test_another_verb_is_malformed(self, service: Serve) -> None:
        said = service("half_plus_two").post("/v1/models/half_plus_two:guess", {})
        assert said.json["error"] == "Malformed request: POST /v1/models/half_plus_two:guess"

    @pytest.mark.parametrize("body", [{}, {"instances": [1.0], "inputs": [1.0]}, [], None, {"instances": "x"}])
    def test_a_body_has_instances_or_inputs(self, service: Serve, body: Any) -> None:
        said = service("half_plus_two").post("/v1/models/half_plus_two:predict", body)
        assert (said.status_code, list(said.json)) == (400, ["error"])


def test_the_real_command_answers_as_documented(server: Serve) -> None:
    at = server(names=("half_plus_two",)).url
    body = Request(f"{at}/v1/models/half_plus_two:predict", b'{"instances": [1.0, 2.0, 5.0]}')
    with urlopen(body, timeout=30) as said:
        assert said.read() == b'{\n    "predictions": [2.5, 3.0, 4.5]\n}'
        assert said.headers["Content-Type"] == "application/json"
    with pytest.raises(HTTPError) as caught:
        urlopen(f"{at}/v1/models/half", timeout=30)
    assert (caught.value.code, b"error" in caught.value.read()) == (404, True)
