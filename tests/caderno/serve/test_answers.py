"""What models give, and what becomes of a model's failure, in each protocol's own form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Serve = Callable[..., Any]

# What a model gives for one row, in Python -> what each of TensorFlow Serving's and MLflow's protocol tells.
GIVEN: list[tuple[str, Any, Any]] = [
    ("[1]", [1], [1]),
    ("['late']", ["late"], ["late"]),
    ("[['late', 0.5, True, None]]", [["late", 0.5, True, None]], [["late", 0.5, True, None]]),
    ("[[[1], [1, 2]]]", [[[1], [1, 2]]], [[[1], [1, 2]]]),
    ("[{'label': 'late', 'score': 0.5}]", [{"label": "late", "score": 0.5}], [{"label": "late", "score": 0.5}]),
    ("np.array([np.nan])", [None], [None]),
    ("np.array([0.1], 'float32')", [0.1], [0.1]),
    ("np.array([0.5], 'float16')", [0.5], [0.5]),
    ("np.array([[1, 2]], 'uint8')[:, ::-1]", [[2, 1]], [[2, 1]]),
    ("np.array(['late'])", ["late"], ["late"]),
    ("np.array([None, ], object)", [None], [None]),
    ("[b'late']", [{"b64": "bGF0ZQ=="}], [{"b64": "bGF0ZQ=="}]),
    ("pd.Series([2.5])", [2.5], [{"0": 2.5}]),
    ("pd.Series([2.5], name='y', index=[7])", [2.5], [{"y": 2.5}]),
    ("pd.Series(['late'], dtype='category')", ["late"], [{"0": "late"}]),
    ("pd.DataFrame({'y': [1]})", [1], [{"y": 1}]),
    ("pd.DataFrame({'y': [1], 3: [None]})", [{"y": 1, "3": None}], [{"y": 1, "3": None}]),
    (
        "pd.DataFrame({'t': pd.to_datetime(['2013-07-04T15:30'])})",
        ["2013-07-04T15:30:00"],
        [{"t": "2013-07-04T15:30:00"}],
    ),
    ("pd.DataFrame({'t': pd.to_datetime([None])})", [None], [{"t": None}]),
    ("pd.DataFrame({'n': pd.array([None], 'Int64')})", [None], [{"n": None}]),
    ("{'a': [1], 'b': np.array([[1.5, 2.5]])}", [{"a": 1, "b": [1.5, 2.5]}], {"a": [1], "b": [[1.5, 2.5]]}),
]


@pytest.mark.parametrize(("say", "instances", "mlflows"), GIVEN)
def test_what_a_model_gives_is_told_as_it_is(service: Serve, say: str, instances: Any, mlflows: Any) -> None:
    served, rows = service("odd"), [{"say": say}]
    assert served.post("/v1/models/odd:predict", {"instances": rows}).json == {"predictions": instances}
    assert served.post("/invocations", {"dataframe_records": rows}).json == {"predictions": mlflows}


@pytest.mark.parametrize(
    ("say", "datatype", "shape", "data"),
    [
        ("np.array([[[1, 2], [3, 4]]], 'int8')", "INT8", [1, 2, 2], [1, 2, 3, 4]),
        ("np.array([True])", "BOOL", [1], [True]),
        ("np.array([0.5], 'float16')", "FP16", [1], [0.5]),
        ("[['late', 'early']]", "BYTES", [1, 2], ["late", "early"]),
        ("[{'label': 'late'}]", "BYTES", [1], ['{"label": "late"}']),
        ("[[[1], [1, 2]]]", "BYTES", [1, 2], ["[1]", "[1, 2]"]),
        ("pd.Series([2.5])", "FP64", [1], [2.5]),
    ],
)
def test_as_a_tensor_it_has_datatype_and_shape(
    service: Serve, say: str, datatype: str, shape: list[int], data: list[Any]
) -> None:
    sent = {"inputs": [{"name": "say", "shape": [1], "datatype": "BYTES", "data": [say]}]}
    (output,) = service("odd").post("/v2/models/odd/infer", sent).json["outputs"]
    assert (output["datatype"], output["shape"], output["data"]) == (datatype, shape, data)


@pytest.mark.parametrize(
    "say", ["[1, 2]", "[]", "3", "np.float64(3)", "{}", "{'a': [1], 'b': [1, 2]}", "None", "'late'"]
)
def test_what_is_no_answer_for_each_row_is_the_models_fault(service: Serve, say: str) -> None:
    said = service("odd").post("/v1/models/odd:predict", {"instances": [{"say": say}]})
    assert (said.status_code, "one answer a row" in said.json["error"]) == (500, True)


class TestFailure:
    @pytest.mark.parametrize(
        ("does", "status", "what"),
        [
            ("raise", 500, "the model failed: ValueError: this row is cursed"),
            ("die", 500, "the model's process died of this request"),
            pytest.param("hang", 504, "no answer within", marks=pytest.mark.slow),
            ("short", 500, "the model gave 0 for 1 rows"),
        ],
    )
    def test_is_told_in_each_protocols_form(self, service: Serve, does: str, status: int, what: str) -> None:
        served = service("trouble", patience=1.5)
        row = {"do": does, "x": 1.0}
        tensors = [
            {"name": "do", "shape": [1], "datatype": "BYTES", "data": [does]},
            {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]},
        ]
        asked = {
            "/v1/models/trouble:predict": {"instances": [row]},
            "/v1/models/trouble:regress": {"examples": [row]},
            "/v2/models/trouble/infer": {"inputs": tensors},
            "/invocations": {"dataframe_records": [row]},
        }
        names = {500: "INTERNAL_ERROR", 504: "DEADLINE_EXCEEDED"}
        for path, body in asked.items():
            said = served.post(path, body)
            told = said.json
            assert said.status_code == status
            message = told["message"] if path == "/invocations" else told["error"]
            assert what in message
            assert "not for callers" not in message
            assert list(told) == (["error_code", "message"] if path == "/invocations" else ["error"])
        assert told["error_code"] == names[status]
        well = served.post("/invocations", {"dataframe_records": [{"do": "well", "x": 1.0}]})
        assert well.json == {"predictions": [2.0]}

    def test_of_the_service_itself_shows_no_traceback(
        self, service: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = service("half_by_column", fresh=True)
        monkeypatch.setattr(served.service, "answered", lambda *_: 1 / 0)
        for path, body in {
            "/v1/models/half_by_column:predict": {"instances": [1.0]},
            "/v2/models/half_by_column/infer": {
                "inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}]
            },
            "/invocations": {"inputs": [1.0]},
        }.items():
            said = served.post(path, body)
            assert said.status_code == 500
            assert said.json.get("message", said.json.get("error")) == "the service failed; its log says why"
        assert "ZeroDivisionError" in caplog.text

    def test_of_who_listens_to_answers_fails_no_request(self, service: Serve, caplog: pytest.LogCaptureFixture) -> None:
        served = service("half_by_column", fresh=True)
        served.service.listeners.append(lambda *_: 1 / 0)
        assert served.post("/invocations", {"inputs": [1.0]}).status_code == 200
        assert "ZeroDivisionError" in caplog.text
