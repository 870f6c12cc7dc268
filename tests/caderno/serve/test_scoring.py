"""MLflow's scoring protocol, and the same bodies asked of MLflow's own server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import requests
from servers import free_port
from workshop import until

Serve = Callable[..., Any]
JSON, CSV = "application/json", "text/csv"
ROWS = [{"x": 1.0}, {"x": 50.0}]
SPLIT = {"columns": ["x"], "data": [[1.0], [50.0]]}
FRUIT = {
    "weight": 101.5,
    "size": 5.25,
    "number": 31,
    "small": 4,
    "fresh": True,
    "kind": "pear",
    "picked": "2026-06-01T00:00:00",
}
TAGS = {
    "tag": ["foo", "bar"],
    "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
    "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
}

# What both servers are asked: a model, a content type, a body.
SAME: list[tuple[str, str, Any]] = [
    *(
        (model, JSON, body)
        for model in ("half_by_column", "several", "table", "series", "scaled")
        for body in (
            {"dataframe_records": ROWS},
            {"dataframe_split": SPLIT},
            {"dataframe_split": {**SPLIT, "index": [7, 8]}},
            {"instances": ROWS},
            {"inputs": {"x": [1.0, 50.0]}},
            {"inputs": {"x": 1.0}},
        )
    ),
    ("half_by_column", JSON, {"instances": [1.0, 50.0]}),
    ("half_by_column", JSON, {"inputs": [1.0, 50.0]}),
    ("half_by_column", JSON, {"inputs": ROWS}),
    ("half_by_column", CSV, "x\n1.0\n50\n"),
    ("half_by_column", CSV, "x\r\n1.0\r\n\r\n50\r\n"),
    ("several", CSV, ",x\n0,1.0\n1,50\n"),
    ("scaled", JSON, {"inputs": {"x": [1.0]}, "params": {"factor": 3.0, "offsets": [1, 2]}}),
    ("scaled", JSON, {"dataframe_records": ROWS, "params": {"factor": 2.5}}),
    ("half_plus_two", JSON, {"inputs": [1.0, 2.0, 5.0]}),
    ("half_plus_two", JSON, {"instances": [1.0, 2.0, 5.0]}),
    ("half_plus_three", JSON, {"inputs": {"x": [1.0, 2.0]}}),
    ("shapes", JSON, {"inputs": TAGS}),
    ("shapes", JSON, {"instances": [{name: TAGS[name][row] for name in TAGS} for row in (0, 1)]}),
    ("bare", JSON, {"inputs": [[1.0, 2.0], [3.0, 4.0]]}),
    ("bare", JSON, {"instances": [[1.0, 2.0], [3.0, 4.0]]}),
    ("bare", JSON, {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}}),
    ("bare", CSV, "a,b\n1,2\n3,4.5\n"),
    ("deep", JSON, {"inputs": [{"values": [1.0, 2.0], "place": {"city": "Porto"}}]}),
    ("deep", JSON, {"dataframe_records": [{"values": [1.0], "place": {"city": "Porto", "floor": 3}}]}),
    ("fruit", JSON, {"dataframe_records": [{**FRUIT, "stamp": "eHg="}, {**FRUIT, "stamp": "eA==", "bonus": 1.5}]}),
    ("fruit_kind", JSON, {"dataframe_records": [{**FRUIT, "stamp": "eHg="}]}),
]

# What both refuse, as the caller's fault.
BAD: list[tuple[str, str, Any]] = [
    *(
        ("several", JSON, body)
        for body in (
            [],
            None,
            {},
            {"other": 1},
            {"instances": ROWS, "inputs": ROWS},
            {"dataframe_records": {"x": [1.0]}},
            {"dataframe_split": [[1.0]]},
            {"dataframe_split": {"columns": ["x"]}},
            {"dataframe_split": {**SPLIT, "more": 1}},
            {"dataframe_split": {"columns": ["x", "y"], "data": [[1.0]]}},
            {"dataframe_records": [{"y": 1.0}]},
            {"dataframe_records": [{"x": "many"}]},
            b"{",
            b"",
            b"\xff",
        )
    ),
    ("several", CSV, "y\n1\n"),
    ("several", CSV, "x\nmany\n"),
    ("several", CSV, b""),
    ("several", CSV, b"x\n\xff\n"),
    ("several", "text/plain", "x"),
    ("shapes", JSON, {"inputs": {"tag": ["foo"]}}),
    ("scaled", JSON, {"inputs": {"x": [1.0]}, "params": {"factor": "many"}}),
    ("scaled", JSON, {"inputs": {"x": [1.0]}, "params": {"offsets": 1}}),
    ("scaled", JSON, {"inputs": {"x": [1.0]}, "params": 3}),
]


def text(body: Any) -> bytes:
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def near(found: Any, wanted: Any) -> bool:
    """Whether two answers are the same, but for the last digits of numbers (MLflow widens 32-bit ones)."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(near(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(near, found, wanted))
    return bool(found == (pytest.approx(wanted, rel=1e-6) if type(wanted) is float else wanted))


@contextmanager
def mlflows(folder: Path, log: Path) -> Iterator[str]:
    """Run MLflow's own server of a model."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        folder,
        "-p",
        str(port),
        "--env-manager",
        "local",
    ]
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        until(answers, 120, "MLflow's server does not answer")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted({model for model, _, _ in SAME}))
def test_mlflows_own_server_says_the_same(service: Serve, models: Path, tmp_path: Path, model: str) -> None:
    served = service(model)
    with mlflows(models / model, tmp_path / "log") as url:
        for _, kind, body in [one for one in SAME if one[0] == model]:
            wanted = requests.post(f"{url}/invocations", text(body), headers={"Content-Type": kind}, timeout=60)
            found = served.post("/invocations", text(body), kind)
            assert wanted.status_code == 200, (body, wanted.text)
            assert found.status_code == 200, (body, found.json)
            assert found.mimetype == wanted.headers["Content-Type"]
            assert near(found.json, wanted.json()), (body, found.json, wanted.json())
        for _, kind, body in [one for one in BAD if one[0] == model]:
            wanted = requests.post(f"{url}/invocations", text(body), headers={"Content-Type": kind}, timeout=60)
            found = served.post("/invocations", text(body), kind)
            assert found.status_code == wanted.status_code, (body, found.json, wanted.text)
            if found.status_code == 400:
                assert found.json.keys() <= wanted.json().keys(), (body, wanted.text)
        for path in ("/ping", "/health", "/version"):
            theirs, ours = requests.get(url + path, timeout=30), served.get(path)
            assert (ours.status_code, ours.data, ours.mimetype) == (
                theirs.status_code,
                theirs.content,
                theirs.headers["Content-Type"],
            )


@pytest.mark.parametrize(("model", "kind", "body"), SAME)
def test_what_mlflow_answers_is_answered(service: Serve, model: str, kind: str, body: Any) -> None:
    said = service(model).post("/invocations", text(body), kind)
    assert said.status_code == 200, said.json
    assert list(said.json) == ["predictions"]
    assert said.headers["Model-Version"] == "1"


@pytest.mark.parametrize(("model", "kind", "body"), BAD)
def test_what_mlflow_refuses_is_refused_in_its_form(service: Serve, model: str, kind: str, body: Any) -> None:
    said = service(model).post("/invocations", text(body), kind)
    assert said.status_code == (415 if kind == "text/plain" else 400)
    assert said.json.keys() == {"error_code", "message"}
    assert said.json["error_code"] == "BAD_REQUEST"


class TestAnswers:
    """A model's answer has the layout that MLflow gives it."""

    def test_an_array_is_a_list(self, service: Serve) -> None:
        said = service("half_by_column").post("/invocations", {"dataframe_split": SPLIT})
        assert said.json == {"predictions": [2.5, 27.0]}

    def test_a_table_is_records_and_an_object_is_one(self, service: Serve) -> None:
        table = service("table").post("/invocations", {"dataframe_split": SPLIT}).json["predictions"]
        assert table[1] == {"double": 100.0, "large": True, "word": "about 50"}
        told = service("several").post("/invocations", {"dataframe_split": SPLIT}).json["predictions"]
        assert told == {name: [row[name] for row in table] for name in table[0]}

    def test_a_series_is_records_of_one_column(self, service: Serve) -> None:
        assert service("series").post("/invocations", {"dataframe_split": SPLIT}).json["predictions"] == [
            {"x": 2.0},
            {"x": 51.0},
        ]


class TestCsv:
    def test_an_empty_value_is_a_missing_one(self, service: Serve) -> None:
        said = service("half_by_column").post("/invocations", b'x\n1\n""\n', CSV)
        assert said.json == {"predictions": [2.5, None]}

    def test_values_are_of_the_columns_types(self, service: Serve) -> None:
        names = ",".join([*FRUIT, "stamp"])
        rows = b"101.5,5.25,31,4,True,pear,2026-06-01T00:00:00,eHg=\n"
        by_csv = service("fruit").post("/invocations", names.encode() + b"\n" + rows, CSV)
        by_json = service("fruit").post("/invocations", {"instances": [{**FRUIT, "stamp": "eHg="}]})
        assert by_csv.json == by_json.json

    @pytest.mark.parametrize(
        ("csv", "what"),
        [
            (b"x\nmany\n", "row 0, x: expected a number, got the text 'many'"),
            (b"x\n1\nnan\n", "row 1, x: expected a number"),
            (b"x\n1e999\n", "row 0, x: expected a number"),
            (b"x,x\n1,2\n", "different names"),
            (b"x\n1\n1,2\n", "row 1 must have 1 values, not 2"),
            (b"x\n", "there are no rows"),
            (b"xx\n1\n", "did you mean 'x'?"),
            (b'x\n"1\n', "no CSV"),
            (b"x\n" + b"1\n" * 1001, "1,001 rows are more than 1,000"),
        ],
    )
    def test_a_mistake_is_told_by_its_row_and_column(self, service: Serve, csv: bytes, what: str) -> None:
        said = service("half_by_column").post("/invocations", csv, CSV)
        assert 400 <= said.status_code < 500
        assert what in said.json["message"]

    def test_tensors_do_not_come_as_csv(self, service: Serve) -> None:
        assert service("half_plus_two").post("/invocations", b"x\n1\n", CSV).status_code == 400


class TestWhichModel:
    def test_of_several_models_none_is_meant_unless_one_is_the_default(self, service: Serve) -> None:
        served = service("half_by_column", "series", fresh=True)
        said = served.post("/invocations", {"dataframe_split": SPLIT})
        assert (said.status_code, said.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert "half_by_column, series" in said.json["message"]
        served.service.default = "half_by_column"
        assert served.post("/invocations", {"dataframe_split": SPLIT}).json == {"predictions": [2.5, 27.0]}

    def test_it_says_that_it_is_well_and_which_mlflow_is_meant(self, service: Serve) -> None:
        served = service("half_by_column")
        assert [served.get(path).data for path in ("/ping", "/health")] == [b"\n", b"\n"]
        assert served.get("/version").text == version("mlflow")

    def test_another_method_is_refused_in_its_form(self, service: Serve) -> None:
        said = service("half_by_column").get("/invocations")
        assert (said.status_code, said.json.keys()) == (405, {"error_code", "message"})
        assert "POST" in said.headers["Allow"]
