"""The Open Inference Protocol, asked by Triton's own client and by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from serve.conftest import started
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

Serve = Callable[..., Any]
MODELS = ("half_plus_two", "half_by_column", "several", "shapes", "texts", "scaled")
X = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.0, 5.0]}


@pytest.fixture(scope="module")
def client(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceServerClient]:
    """Triton's client of the real command."""
    folder = tmp_path_factory.mktemp("server")
    with (
        started(models, folder, names=MODELS) as running,
        InferenceServerClient(running.url.removeprefix("http://")) as made,
    ):
        yield made


def tensor(name: str, values: Any, kind: str) -> InferInput:
    made = InferInput(name, list(values.shape), kind)
    made.set_data_from_numpy(values, binary_data=False)
    return made


class TestTritonsClient:
    def test_it_sees_that_all_are_alive_and_ready(self, client: InferenceServerClient) -> None:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("several")
        assert client.is_model_ready("several", "1")
        assert not client.is_model_ready("several", "2")
        assert not client.is_model_ready("other")

    def test_it_reads_who_answers(self, client: InferenceServerClient) -> None:
        said = client.get_server_metadata()
        assert (said["name"], said["extensions"]) == ("caderno", [])

    def test_it_reads_what_a_model_takes(self, client: InferenceServerClient) -> None:
        said = client.get_model_metadata("shapes", "1")
        assert said["versions"] == ["1"]
        assert said["inputs"] == [
            {"name": "tag", "datatype": "BYTES", "shape": [-1]},
            {"name": "signal", "datatype": "INT64", "shape": [-1, 5]},
            {"name": "sensor", "datatype": "INT64", "shape": [-1, 2, 2]},
        ]
        assert client.get_model_metadata("several")["outputs"] == [
            {"name": "double", "datatype": "FP64", "shape": [-1]},
            {"name": "large", "datatype": "BOOL", "shape": [-1]},
            {"name": "word", "datatype": "BYTES", "shape": [-1]},
        ]

    @pytest.mark.parametrize("shape", [(3,), (3, 1)])
    @pytest.mark.parametrize(("dtype", "kind"), [("float64", "FP64"), ("float32", "FP32"), ("int16", "INT16")])
    def test_a_column_is_a_tensor(
        self, client: InferenceServerClient, shape: tuple[int, ...], dtype: str, kind: str
    ) -> None:
        values = np.array([1, 2, 50], dtype).reshape(shape)
        said = client.infer("several", [tensor("x", values, kind)], request_id="42")
        assert said.as_numpy("double").tolist() == [2.0, 4.0, 100.0]
        assert said.as_numpy("large").tolist() == [False, False, True]
        assert said.as_numpy("word").tolist() == ["about 1", "about 2", "about 50"]
        response = said.get_response()
        assert (response["id"], response["model_name"], response["model_version"]) == ("42", "several", "1")

    def test_tensors_keep_their_shapes(self, client: InferenceServerClient) -> None:
        random = np.random.default_rng(3)
        signal, sensor = random.integers(0, 9, (4, 5)), random.integers(0, 9, (4, 2, 2))
        tag = np.array(["a", "b", "ç", "d"], object)
        sent = [tensor("tag", tag, "BYTES"), tensor("signal", signal, "INT64"), tensor("sensor", sensor, "INT64")]
        said = client.infer("shapes", sent)
        assert (said.as_numpy("sum") == signal.sum(1) + sensor.sum((1, 2))).all()
        assert (said.as_numpy("sensor") == sensor).all()
        assert said.as_numpy("tag").tolist() == ["a", "b", "ç", "d"]

    def test_it_gets_the_outputs_that_it_asks_for(self, client: InferenceServerClient) -> None:
        wanted = [InferRequestedOutput("word", binary_data=False), InferRequestedOutput("double")]
        said = client.infer("several", [tensor("x", np.array([1.0]), "FP64")], outputs=wanted)
        assert [one["name"] for one in said.get_response()["outputs"]] == ["word", "double"]

    def test_a_tensor_without_a_name_takes_any(self, client: InferenceServerClient) -> None:
        said = client.infer("half_plus_two", [tensor("inputs", np.array([1.0, 5.0], "float32"), "FP32")], "1")
        output = said.get_output("outputs")
        assert (output["datatype"], output["shape"], output["data"]) == ("FP32", [2], [2.5, 4.5])

    def test_parameters_reach_a_model_that_has_them(self, client: InferenceServerClient) -> None:
        sent = [tensor("x", np.array([1.0]), "FP64")]
        said = client.infer("scaled", sent, parameters={"factor": 3.0, "other": "not the model's"})
        assert said.as_numpy("outputs").tolist() == [3.0]

    def test_errors_are_read(self, client: InferenceServerClient) -> None:
        with pytest.raises(InferenceServerException, match="did you mean 'x'"):
            client.infer("several", [tensor("xx", np.array([1.0]), "FP64")])
        with pytest.raises(InferenceServerException, match="Servable not found") as caught:
            client.infer("other", [tensor("x", np.array([1.0]), "FP64")])
        assert caught.value.status() == "404"

    def test_binary_data_is_refused_with_what_to_do(self, client: InferenceServerClient) -> None:
        sent = InferInput("x", [1], "FP64")
        sent.set_data_from_numpy(np.array([1.0]))
        with pytest.raises(InferenceServerException, match="binary_data=False") as caught:
            client.infer("several", [sent])
        assert caught.value.status() == "415"


class TestInfer:
    def test_nested_data_means_the_same_as_flat(self, service: Serve) -> None:
        nested = {**X, "shape": [2, 1], "data": [[1.0], [5.0]]}
        found = [service("several").post("/v2/models/several/infer", {"inputs": [one]}).json for one in (X, nested)]
        assert found[0] == found[1]

    def test_a_missing_number_is_null(self, service: Serve) -> None:
        body = {"inputs": [{**X, "data": [1.0, None]}]}
        said = service("half_by_column").post("/v2/models/half_by_column/infer", body).json
        assert said["outputs"] == [{"name": "y", "datatype": "FP64", "shape": [2], "data": [2.5, None]}]

    def test_a_column_of_lists_is_a_tensor_of_them(self, service: Serve) -> None:
        rows = {"name": "x", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}
        assert service("bare").post("/v2/models/bare/infer", {"inputs": [rows]}).json["outputs"][0]["data"] == [
            3.0,
            7.0,
        ]

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            ({"shape": [3]}, "the shape [3] has 3 values, but data has 2"),
            ({"shape": [-1]}, "shape must be"),
            ({"shape": 2}, "shape must be"),
            ({"shape": [1] * 70 + [2]}, "shape must have 1 to 31 sizes"),
            ({"shape": []}, "shape must have 1 to 31 sizes"),
            ({"datatype": "FP128"}, "datatype must be one of"),
            ({"datatype": "INT64", "data": [1.5, 2]}, "row 0, x: the number 1.5 is no INT64"),
            ({"datatype": "BYTES", "data": ["1", "2"]}, "row 0, x: expected a number, got the text '1'"),
            ({"datatype": "BOOL", "data": [True, False]}, "row 0, x: expected a number, got true"),
            ({"data": ["1", 2]}, "row 0, x: the text '1' is no FP64"),
            ({"data": "12"}, "x: data must be a list"),
            ({"data": None}, "x: data must be a list"),
            ({"name": None}, "input 0 must be an object with a name"),
            ({"name": "why"}, "x: is missing"),
            ({"parameters": {"binary_data_size": 16}}, "binary_data=False"),
        ],
    )
    def test_a_bad_tensor_is_refused_by_its_name(self, service: Serve, change: dict[str, Any], what: str) -> None:
        said = service("several").post("/v2/models/several/infer", {"inputs": [{**X, **change}]})
        assert 400 <= said.status_code < 500
        assert what in said.json["error"]

    @pytest.mark.parametrize(
        "body",
        [
            *({"inputs": one} for one in (None, [], {}, [None], [X, X])),
            *({"inputs": [X], "outputs": one} for one in ("double", [None], [{"name": "other"}], {"name": "double"})),
            *({"inputs": [X], "id": 42}, {"inputs": [X], "parameters": []}, {}, [], None),
        ],
    )
    def test_a_bad_request_is_refused(self, service: Serve, body: Any) -> None:
        said = service("several").post("/v2/models/several/infer", body)
        assert (said.status_code, list(said.json)) == (400, ["error"])

    def test_an_address_that_is_not_there_is_told_in_json(self, service: Serve) -> None:
        for said in (service("several").get("/v2/models/several/infer"), service("several").get("/v2/repository")):
            assert (said.status_code in (404, 405), list(said.json)) == (True, ["error"])


class TestHealth:
    def test_it_is_not_ready_before_a_model_has_a_version(self, service: Serve) -> None:
        served = service("half_plus_two", fresh=True)
        assert served.get("/v2/health/ready").status_code == 200
        shown = served.shelf.shown["half_plus_two"]
        served.shelf._shown = {"half_plus_two": type(shown)("half_plus_two")}
        said = served.get("/v2/health/ready")
        assert (said.status_code, said.json["ready"]) == (503, False)
        assert served.get("/v2/models/half_plus_two/ready").json == {"name": "half_plus_two", "ready": False}
        assert served.get("/ping").status_code == 503
        served.shelf._shown = {"half_plus_two": shown}

    def test_a_trouble_is_told_while_the_one_before_answers(self, service: Serve) -> None:
        served = service("half_plus_two", fresh=True)
        served.shelf.troubles["half_plus_two"] = "version 2 is not served: its files were changed"
        for path in ("/v2", "/v2/health/ready"):
            said = served.get(path)
            assert said.status_code == 200
            assert said.json["troubles"] == {"half_plus_two": "version 2 is not served: its files were changed"}

    def test_it_is_alive_but_not_ready_while_it_stops(self, service: Serve) -> None:
        served = service("half_plus_two", fresh=True)
        served.service.stop()
        assert served.get("/v2/health/ready").status_code == 503
        assert served.get("/v2/health/live").status_code == 200
