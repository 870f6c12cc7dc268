"""Models that raise, die, hang and leak, processes that are killed, callers of each bad kind: the service goes on."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import mlflow
import pandas as pd
import psutil
import pytest
from mlflow.models import infer_signature
from serve.running import Load, Reply, Running, running

MOODY = """
import os, time
import pandas as pd
import mlflow
LEAKED = []
class Moody(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        moods = set(model_input["mood"])
        if "raise" in moods: raise RuntimeError("no good mood")
        if "die" in moods: os._exit(0)
        if "hang" in moods: time.sleep(600)
        if "leak" in moods: LEAKED.append(bytearray(os.urandom(1 << 20) * 80))
        if "short" in moods: return [1.0]
        return (2 * model_input["x"]).to_numpy()
mlflow.models.set_model(Moody())
"""
PREDICT = "/v1/models/moody:predict"
GOOD = {"instances": [{"x": 1.5, "mood": "good"}]}


def bad(mood: str) -> dict[str, object]:
    return {"instances": [{"x": 1.0, "mood": mood}] * (2 if mood == "short" else 1)}


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose input says how it behaves."""
    folder = tmp_path_factory.mktemp("moody")
    (folder / "code.py").write_text(MOODY, "utf-8")
    example = pd.DataFrame({"x": [1.0], "mood": ["good"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow would like a type hint and an example
        mlflow.pyfunc.save_model(
            folder / "model",
            python_model=str(folder / "code.py"),
            signature=infer_signature(example, pd.Series([2.0])),
            pip_requirements=[],
        )
    return folder / "model"


@pytest.fixture(scope="module")
def service(moody: Path, settings: dict[str, str]) -> Iterator[Running]:
    arguments = ("--model", f"moody={moody}", "--timeout", "3", "--memory", "600M")
    with running(moody.parent, settings, *arguments) as found:
        yield found


def right(reply: Reply) -> str:
    return "" if reply.status == 200 and reply.json == {"predictions": [3.0]} else f"{reply.status} {reply.body!r}"


def test_a_model_that_raises_fails_that_request_and_no_other_in_its_batch(service: Running) -> None:
    with Load(service, PREDICT, GOOD, wrong=right) as load:
        for _ in range(20):
            reply = service.post(PREDICT, bad("raise"))
            assert (reply.status, "no good mood" in reply.json["error"]) == (500, True)
            assert "Traceback" not in reply.json["error"]
    assert load.failures == []


def test_a_model_that_ends_its_process_fails_that_request_alone(service: Running) -> None:
    with Load(service, PREDICT, GOOD, wrong=right) as load:
        for _ in range(10):
            reply = service.post(PREDICT, bad("die"))
            assert (reply.status, reply.json["error"]) == (500, "the model's process died of this request")
    assert load.failures == []


def test_a_model_that_gives_too_few_answers_is_an_error_not_a_shift(service: Running) -> None:
    reply = service.post(PREDICT, bad("short"))
    assert (reply.status, "one answer a row" in reply.json["error"]) == (500, True)
    assert right(service.post(PREDICT, GOOD)) == ""


def test_a_model_that_hangs_is_ended_after_the_timeout(service: Running) -> None:
    began = time.monotonic()
    reply = service.post(PREDICT, bad("hang"))
    assert (reply.status, "within 3 s" in reply.json["error"]) == (504, True)
    assert time.monotonic() - began < 6
    assert right(service.post(PREDICT, GOOD)) == ""


@pytest.mark.slow
def test_a_model_that_leaks_is_replaced_and_no_request_fails(service: Running) -> None:
    with Load(service, PREDICT, GOOD, callers=2, wrong=right) as load:
        until = time.monotonic() + 60
        while "more than 600 MB" not in service.told():
            assert time.monotonic() < until
            assert service.post(PREDICT, bad("leak")).status == 200
            time.sleep(0.2)
    assert load.failures == []
    assert sum(one.memory_info().rss for one in service.workers()) < 1e9


def test_kill_9_of_a_worker_under_load_fails_no_request(service: Running) -> None:
    with Load(service, PREDICT, GOOD, wrong=right) as load:
        for _ in range(30):
            for worker in service.workers():
                with contextlib.suppress(psutil.Error):
                    worker.kill()
            time.sleep(random.uniform(0.0, 0.2))
        assert load.answers["1"] > 30
    assert load.failures == []


@pytest.mark.parametrize("which", ["nursery", "loader"])
def test_kill_9_of_what_forks_is_mended_by_starting_anew(moody: Path, settings: dict[str, str], which: str) -> None:
    with running(moody.parent, settings, "--model", f"moody={moody}") as service:
        with Load(service, PREDICT, GOOD, callers=4, wrong=right) as load:
            time.sleep(0.5)
            nursery, loader = service.processes()[0], service.loaders()[0]
            (nursery if which == "nursery" else loader).kill()
            time.sleep(0.5)
            assert right(service.post(PREDICT, GOOD)) == ""
            if which == "nursery":  # the model goes on, and a worker can still be had
                service_pid = loader.pid
                assert psutil.Process(service_pid).is_running()
        assert load.failures == []


@pytest.mark.slow
def test_kill_9_of_the_service_leaves_no_process_behind(moody: Path, settings: dict[str, str]) -> None:
    with running(moody.parent, settings, "--model", f"moody={moody}") as service:
        hanging = threading.Thread(target=_hanging, args=(service,))
        hanging.start()
        time.sleep(0.5)
        service.end(signal.SIGKILL)
        hanging.join()


def _hanging(service: Running) -> None:
    with contextlib.suppress(OSError, HTTPException):
        service.post(PREDICT, bad("hang"))


def test_at_sigterm_no_request_is_lost(moody: Path, settings: dict[str, str]) -> None:
    with running(moody.parent, settings, "--model", f"moody={moody}") as service:
        with Load(service, PREDICT, GOOD, callers=32, wrong=right) as load:
            time.sleep(1)
            assert service.end() == 0
        assert load.failures == []
        assert load.answers["1"] > 100


def test_slow_and_half_open_callers_keep_nobody_waiting(service: Running) -> None:
    head = b"POST /v1/models/moody:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    slow = []
    for number in range(300):
        connection = socket.create_connection(("127.0.0.1", service.port))
        connection.sendall((head + b'{"inst')[: 1 + number % len(head)] if number % 2 else head + b"{")
        slow.append(connection)
    began = time.monotonic()
    for _ in range(20):
        assert right(service.post(PREDICT, GOOD)) == ""
    assert time.monotonic() - began < 10
    for connection in slow:
        connection.close()


def test_a_thousand_connections_at_once_are_all_answered(service: Running) -> None:
    open_ones = [service.connection() for _ in range(1000)]
    body = b'{"instances": [{"x": 1.5, "mood": "good"}]}'
    for connection in open_ones:
        connection.request("POST", PREDICT, body, {"Content-Type": "application/json"})
    answers = []
    for connection in open_ones:
        found = connection.getresponse()
        answers.append((found.status, found.read()))
        connection.close()
    assert set(answers) == {(200, b'{\n    "predictions": [3.0]\n}')}
