"""What the service tells: lines and figures, about real versions of a tiny model."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask import Flask
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as metrics
from serve.running import ask, running
from werkzeug.test import TestResponse

from caderno.errors import CadernoError
from caderno.serve import keys
from caderno.serve.access import Access
from caderno.serve.answering import Service
from caderno.serve.app import create_app
from caderno.serve.batching import Settings
from caderno.serve.keys import Keys
from caderno.serve.shelf import Shelf
from caderno.serve.sources import Folder, Wanted
from caderno.serve.telemetry import Handler, Log, Telemetry

PREDICT = "/v1/models/tiny:predict"
ROW = {"x": 1234.5}
MODEL = """
import sys
import mlflow
import pandas as pd
class Double(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: pd.DataFrame): return model_input["x"].to_numpy() * 2
example = pd.DataFrame({"x": [0.5]})
mlflow.pyfunc.save_model(sys.argv[1], python_model=Double(), pip_requirements=[], input_example=example)
"""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


class Changing(Folder):
    """The same files under whichever version is wanted; "bad" can't be had."""

    now = Wanted(("1",), {"champion": "1"}, "1")

    def wanted(self) -> Wanted:
        return self.now

    def files(self, version: str) -> Any:
        if version == "bad":
            raise CadernoError("its files are not those of the ledger")
        return super().files(version)


@dataclass
class Served:
    app: Flask
    shelf: Shelf
    source: Changing
    stream: io.StringIO
    key: str

    def lines(self) -> list[dict[str, Any]]:
        """Return what was told since the last look."""
        found = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        self.stream.seek(0)
        self.stream.truncate()
        return found

    def post(self, path: str = PREDICT, headers: Mapping[str, str] | None = None) -> TestResponse:
        sent = {"X-API-Key": self.key, **(headers or {})}
        return self.app.test_client().post(path, json={"instances": [ROW, ROW]}, headers=sent)

    def line(self, path: str = PREDICT, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Ask, and return the one line about it."""
        self.lines()
        self.post(path, headers)
        found = self.lines()
        assert len(found) == 1
        return found[0]

    def wants(self, default: str, *versions: str) -> list[dict[str, Any]]:
        """Want other versions, and return what was told of it."""
        self.lines()
        self.source.now = Wanted((default, *versions), {"champion": default}, default)
        self.shelf.refresh()
        return self.lines()

    def figures(self, accept: str = "") -> dict[tuple[str, ...], float]:
        """Return each sample: its name and the values of its labels, sorted by the labels' names."""
        answer = self.app.test_client().get("/metrics", headers={"X-API-Key": self.key, "Accept": accept})
        assert answer.status_code == 200
        read = open_metrics if "openmetrics" in str(answer.content_type) else metrics
        return {
            (one.name, *(value for _, value in sorted(one.labels.items()))): one.value
            for family in read(answer.text)
            for one in family.samples
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("models") / "tiny"
    subprocess.run([sys.executable, "-c", MODEL, found], check=True, capture_output=True)
    return found


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    key = keys.add("nightly", file)
    stream, source = io.StringIO(), Changing("tiny", folder)
    telemetry = Telemetry(stream)
    shelf = Shelf([source], Settings(), telemetry)
    app = create_app(Service(shelf, 10), 10_000, Access(keys=Keys(file)), telemetry)
    app.add_url_rule("/v2/broken", "broken", lambda: {}["nothing"])
    app.logger.handlers[:] = [Handler(telemetry.log)]
    app.logger.propagate = False
    shelf.refresh()
    yield Served(app, shelf, source, stream, key)
    shelf.end()


def until(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_request_has_one_line(served: Served) -> None:
    line = served.line(headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "order/7"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert 0 < line.pop("seconds") < 10
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "order/7",
        "trace_id": TRACE,
        "method": "POST",
        "path": PREDICT,
        "status": 200,
        "model": "tiny",
        "version": "1",
        "rows": 2,
        "batch": 2,
        "caller": "nightly",
    }


def test_bodies_queries_and_keys_are_in_no_line(served: Served) -> None:
    served.lines()
    served.post(f"{PREDICT}?token=secret", {"Authorization": "Bearer secret", "Cookie": "secret"})
    served.post(headers={"X-API-Key": "secret"})
    text = served.stream.getvalue()
    assert text.count("\n") == 2
    for hidden in ("secret", "1234.5", served.key):
        assert hidden not in text


def test_a_refused_caller_and_an_unknown_model_have_their_lines(served: Served) -> None:
    refused = served.line(headers={"X-API-Key": "wrong"})
    assert (refused["status"], refused.get("caller"), refused.get("model")) == (401, None, None)
    unknown = served.line("/v1/models/unknown:predict")
    assert (unknown["status"], unknown["caller"], unknown.get("model")) == (404, "nightly", None)


@pytest.mark.parametrize("given", ["a", "7f3e-11", "job:42/step=3", "x" * 128])
def test_a_callers_own_request_id_goes_back(given: str, served: Served) -> None:
    assert served.post(headers={"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, '"}', "é", "<script>", "\x1b[31m", "\x85"])
def test_a_request_id_that_could_do_harm_is_replaced(given: str, served: Served) -> None:
    answer = served.post(headers={"X-Request-Id": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
    assert served.post(headers={"X-Request-Id": given}).headers["X-Request-Id"] != answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "parent",
    [f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01", f"01-{TRACE}-{PARENT}-01-more"],
)
def test_a_trace_is_the_request_id_where_there_is_no_other(parent: str, served: Served) -> None:
    line = served.line(headers={"traceparent": parent})
    assert line["trace_id"] == line["request_id"] == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01more",
    ],
)
def test_a_trace_that_is_none_is_left_out(parent: str, served: Served) -> None:
    line = served.line(headers={"traceparent": parent})
    assert "trace_id" not in line
    assert line["request_id"] != TRACE


def test_a_failure_of_the_service_is_one_line_with_its_traceback_which_no_caller_sees(served: Served) -> None:
    served.lines()
    answer = served.app.test_client().get("/v2/broken", headers={"X-API-Key": served.key, "X-Request-Id": "seven"})
    assert answer.status_code == 500
    assert answer.json == {"error": "the service failed; its log says why"}
    failure, asked = served.lines()
    assert failure["request_id"] == asked["request_id"] == "seven"
    assert "KeyError: 'nothing'" in failure["traceback"]
    assert (failure["level"], asked["level"]) == ("error", "error")


def test_versions_that_come_and_go_are_told(served: Served) -> None:
    loaded, swapped = served.wants("2", "1")
    assert (loaded["event"], loaded["version"]) == ("loaded", "2")
    assert loaded["seconds"] > 0
    assert (swapped["event"], swapped["before"], swapped["now"]) == ("swapped", "1", "2")
    assert swapped["labels"] == {"champion": "2"}
    assert served.figures()["caderno_swaps_total", "tiny"] == 1
    assert [line["event"] for line in served.wants("1")] == ["swapped"]
    assert served.figures()["caderno_swaps_total", "tiny"] == 2
    assert ("caderno_load_seconds", "tiny", "2") not in served.figures()


def test_a_version_that_can_not_be_loaded_is_told_once(served: Served) -> None:
    told = served.wants("1", "bad")
    assert [line["event"] for line in told] == ["swapped", "trouble"]
    assert told[1]["level"] == "warning"
    assert told[1]["what"] == "version bad is not served: its files are not those of the ledger"
    assert served.wants("1", "bad") == []
    assert served.figures()["caderno_troubles_total", "tiny", ""] == 1
    served.wants("1")


def test_a_worker_that_dies_is_told_and_counted(served: Served) -> None:
    served.post()
    served.lines()
    for one in psutil.Process().children(recursive=True):
        if not one.children():
            one.kill()
    assert served.post().status_code == 200
    told = served.lines()
    assert [line["event"] for line in told] == ["worker replaced", "request"]
    assert told[0]["what"] == "a worker is replaced: it died"
    assert served.figures()["caderno_workers_replaced_total", "tiny", "1"] == 1


def test_figures_tell_requests_batches_and_what_is_served(served: Served) -> None:
    before = served.figures()
    for _ in range(3):
        served.post()
    served.post(headers={"X-API-Key": "wrong"})
    after = served.figures()

    def more(*key: str) -> float:
        return after[key] - before.get(key, 0)

    assert more("caderno_requests_total", "tiny", "tfserving", "200", "1") == 3
    assert more("caderno_requests_total", "", "tfserving", "401", "") == 1
    assert more("caderno_errors_total", "UNAUTHENTICATED", "", "tfserving", "") == 1
    assert more("caderno_request_seconds_count", "tiny", "tfserving", "1") == 3
    assert more("caderno_model_seconds_count", "tiny", "1") == 3
    assert more("caderno_batch_rows_sum", "tiny", "1") == 6
    assert more("caderno_batch_rows_bucket", "1.0", "tiny", "1") == 0
    digest = served.source.about("1")["digest"]
    assert after["caderno_model_info", digest, "champion", "tiny", "1"] == 1
    assert after["caderno_load_seconds", "tiny", "1"] > 0
    assert after["caderno_memory_bytes", "tiny", "1"] > 10e6
    assert after["process_resident_memory_bytes",] > 10e6
    assert after["caderno_waiting_requests", "tiny", "1"] == 0
    assert after["caderno_ready", "tiny"] == 1


def test_who_asks_for_open_metrics_gets_them(served: Served) -> None:
    served.post()
    assert served.figures("application/openmetrics-text; version=1.0.0")["caderno_ready", "tiny"] == 1


def test_what_callers_send_is_never_a_label(served: Served) -> None:
    before = set(served.figures())
    for path in (
        "/v1/models/evil:predict",
        "/v1/models/tiny/versions/666:predict",
        "/evil",
        "/v1/models/tiny/labels/evil",
    ):
        served.post(path, {"X-Request-Id": "evil", "User-Agent": "evil"})
    served.app.test_client().open("/evil", method="EVIL")
    told = {word for one in set(served.figures()) - before for word in one}
    assert not [word for word in told if "evil" in word.lower() or "666" in word]


def test_a_registry_is_of_one_service() -> None:
    assert Telemetry().metrics is not Telemetry().metrics


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_lines_are_for_people_and_can_not_paint() -> None:
    stream = Terminal()
    log = Log(stream)
    log.tell("info", "request", method="GET", path="/a\x1b[31m b\n", status=200, caller=None)
    log.tell("warning", "trouble", what="it failed")
    first, second = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d request method=GET path='/a\\x1b\[31m b\\n' status=200", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning trouble what='it failed'", second)


def test_a_log_that_can_not_be_written_stops_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w", buffering=1)
    Log(stream).tell("info", "request")
    closed = io.StringIO()
    log = Log(closed)
    closed.close()
    log.tell("info", "request")
    with pytest.raises(BrokenPipeError):
        stream.close()


def test_the_command_tells_its_life_in_lines(folder: Path, tmp_path: Path) -> None:
    key = keys.add("nightly", tmp_path / "keys")
    with running(tmp_path, {}, "--model", f"tiny={folder}", "--keys", "keys", "--host", "0.0.0.0") as service:
        assert service.get("/metrics").status == 401
        answer = service.post(PREDICT, {"instances": [ROW]}, {"Authorization": f"Bearer {key}"})
        assert answer.status == 200
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not {"Server", "Via"} & answer.headers.keys()
        with contextlib.closing(service.connection()) as connection:  # sends paths as they are
            for path in (
                "//etc/passwd",
                "/../../etc/passwd",
                "/v1/models/../../../etc/passwd",
                "http://evil.example/x",
            ):
                found = ask(connection, "GET", path, headers={"X-API-Key": key})
                assert found.status == 404
                assert b"root:" not in found.body
    told = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
    assert [line["event"] for line in told[:2]] == ["loaded", "swapped"]
    assert [line["status"] for line in told if line["event"] == "request"] == [401, 200, 404, 404, 404, 404]
    assert told[-1]["event"] == "stopping"
    assert key not in service.log.read_text()


def test_lines_about_requests_can_be_left_out(folder: Path, tmp_path: Path) -> None:
    with running(tmp_path, {}, "--model", f"tiny={folder}", "--log-requests", "off") as service:
        assert service.post(PREDICT, {"instances": [ROW]}).status == 200
        assert b"caderno_requests_total" in service.get("/metrics").body
    told = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]
    assert [line["event"] for line in told] == ["loaded", "swapped", "stopping"]
