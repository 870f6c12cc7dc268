"""A tracking server that is away, dies, or is slow: results are kept, and the next run that reaches it logs them."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from servers import Server, free_port
from workshop import NOTE, Done, Workshop, ended, until

pytestmark = pytest.mark.kernel

TRAIN = """
import mlflow
class Constant(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[float]) -> list[float]:
        return [rate for _ in model_input]
with mlflow.start_run():
    mlflow.log_param("depth", 3)
    for step in range(3):
        mlflow.log_metric("auc", 0.5 + step / 8, step=step)
    mlflow.log_text("what I thought", "notes/thoughts.txt")
    mlflow.log_input(mlflow.data.from_numpy(__import__("numpy").ones(3), name="ones"))
    mlflow.pyfunc.log_model(name="model", python_model=Constant(), pip_requirements=[], params={"rate": rate})
"""
WAIT = f"{NOTE}\nimport time\nnote('slow')\nwhile not Path('../go').exists():\n    time.sleep(0.02)"


@dataclass(frozen=True)
class Away:
    """What a run said while the server was away, and a later one when it was back."""

    shop: Workshop
    server: Server
    first: Done
    still: Done
    back: Done
    kept: dict[str, str]

    @property
    def runs(self) -> dict[str, Any]:
        return {run.data.tags["mlflow.runName"].split()[0]: run for run in self.shop.mlflow_runs(self.server.client())}


def tracking(shop: Workshop, task: str) -> str:
    found = shop.record(task).tracking
    assert found
    return found.run_id


@pytest.fixture(scope="module")
def away(server: Server, new_shop: Callable[[], Workshop]) -> Away:
    """A run while the server is away; a second one, which has nothing to do; a third when the server is back."""
    shop = new_shop()
    shop.notebook("train.ipynb", "seed: int = 1\nrate: float = 0.25", TRAIN)
    shop.notebook("fails.ipynb", None, "1 / 0")
    shop.pipeline("train: {notebook: train.ipynb, outputs: {model: mlflow-model}}\nfails: {notebook: fails.ipynb}")
    env = {"MLFLOW_TRACKING_URI": server.uri}
    server.stop()
    first = shop.caderno("run", env=env)
    kept = {"train": tracking(shop, "train"), "uri": shop.record("train").outputs["model"].model_uri or ""}
    still = shop.caderno("run", "train", env=env)
    server.start()
    return Away(shop, server, first, still, shop.caderno("run", "train", env=env), kept)


def test_a_run_goes_on_without_its_server_and_says_so(away: Away) -> None:
    assert away.first.code == 1, away.first.out
    assert f"MLflow at {away.server.uri} does not answer (Connection refused)" in away.first
    assert "is kept in data/.caderno/untold/" in away.first.out.replace("\n", "")
    assert "for the next run to log" in away.first
    assert "finished train" in away.first
    assert "Traceback (most" not in away.first.out.split("1 / 0")[0]


def test_a_run_with_nothing_to_do_says_that_what_was_kept_still_waits(away: Away) -> None:
    assert away.still.code == 0, away.still.out
    assert "is still kept" in away.still
    assert away.still.seconds < 30


def test_the_next_run_that_reaches_the_server_logs_what_was_kept(away: Away) -> None:
    assert away.back.code == 0, away.back.out
    assert "now has what was kept: 3 runs" in away.back
    runs = away.runs
    assert {name: run.info.status for name, run in runs.items()} == {
        "tiny": "FAILED",
        "train": "FINISHED",
        "fails": "FAILED",
    }
    assert not list((away.shop.root / "data/.caderno/untold").iterdir())
    for name in ("train", "fails"):
        assert runs[name].data.tags["mlflow.parentRunId"] == runs["tiny"].info.run_id
        assert runs["tiny"].info.start_time <= runs[name].info.start_time <= runs[name].info.end_time


def test_a_copied_run_holds_all_that_was_logged(away: Away) -> None:
    client, run = away.server.client(), away.runs["train"]
    assert run.data.params == {"depth": "3", "seed": "1", "rate": "0.25"}
    history = client.get_metric_history(run.info.run_id, "auc")
    assert [(one.step, one.value) for one in history] == [(0, 0.5), (1, 0.625), (2, 0.75)]
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"notes", "notebook.ipynb", "report.html", "task.json"} <= files
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["ones"]
    assert len(run.outputs.model_outputs) == 1


def test_the_record_and_its_page_name_the_servers_run_from_then_on(away: Away) -> None:
    run_id = away.runs["train"].info.run_id
    record = away.shop.record("train")
    assert record.tracking
    assert record.tracking.run_id == run_id != away.kept["train"]
    assert record.tracking.url == f"{away.server.uri}/#/experiments/{record.tracking.experiment_id}/runs/{run_id}"
    assert run_id in (away.shop.result("train") / "report.html").read_text()
    logged = Path(away.server.client().download_artifacts(run_id, "task.json"))
    assert run_id in logged.read_text()


def test_a_copied_model_answers_under_its_new_name(away: Away) -> None:
    uri = away.shop.record("train").outputs["model"].model_uri
    assert uri
    assert uri != away.kept["uri"]
    program = f"import mlflow; print(mlflow.pyfunc.load_model({uri!r}).predict([1.0, 2.0]))"
    env = away.shop.environment(MLFLOW_TRACKING_URI=away.server.uri)
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[0.25, 0.25]"
    model = away.server.client().get_logged_model(uri.removeprefix("models:/"))
    assert (model.source_run_id, str(model.status)) == (away.runs["train"].info.run_id, "READY")
    assert model.params == {"depth": "3", "rate": "0.25"}  # the run's own among them, as MLflow has it


def bereft(shop: Workshop, server: Server, env: dict[str, str]) -> Done:
    """Run, and stop the server while the cell of `slow` waits."""
    run = shop.start("run", env=env)
    until(lambda: shop.calls() == ["slow"], what="the cell did not start")
    server.stop()
    shop.write("go", "")
    return ended(run, 110)


def test_a_server_that_dies_during_a_run_costs_no_result(server: Server, shop: Workshop) -> None:
    shop.notebook("slow.ipynb", "out: str = ''", WAIT, "import mlflow\nPath(out).write_text('made')")
    shop.notebook("after.ipynb", "made: str = ''", "import mlflow\nmlflow.log_metric('seen', 1)")
    shop.pipeline("""
        slow: {notebook: slow.ipynb, outputs: {out: made.txt}}
        after: {notebook: after.ipynb, inputs: {made: slow.out}}
    """)
    env = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    done = bereft(shop, server, env)
    assert done.code == 0, done.out
    assert done.out.count("does not answer") == 1
    assert "Traceback" not in done
    assert shop.run_states() == {"slow": "succeeded", "after": "succeeded"}
    server.start()
    again = shop.caderno("run", env=env)
    assert again.code == 0, again.out
    assert "2 cached" in again or "nothing to run" in again
    runs = {run.data.tags["mlflow.runName"].split()[0]: run for run in shop.mlflow_runs(server.client())}
    assert {name: run.info.status for name, run in runs.items() if name in ("slow", "after")} == {
        "slow": "FINISHED",
        "after": "FINISHED",
    }
    assert runs["after"].data.metrics == {"seen": 1.0}
    assert runs["after"].data.tags["mlflow.parentRunId"] == runs["tiny"].info.run_id
    assert {item.path for item in server.client().list_artifacts(runs["slow"].info.run_id)} >= {"task.json"}
    assert "RUNNING" not in {run.info.status for run in shop.mlflow_runs(server.client())}


@pytest.mark.slow
def test_a_cell_that_logs_to_a_dead_server_fails_and_says_why(server: Server, shop: Workshop) -> None:
    shop.notebook("slow.ipynb", None, f"import mlflow\n{WAIT}", "mlflow.log_metric('auc', 1)")
    shop.pipeline("slow: {notebook: slow.ipynb}")
    env = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    done = bereft(shop, server, env)
    server.start()
    assert done.code == 1, done.out
    failure = shop.record("slow").failure
    assert failure
    assert (failure.kind, failure.number) == ("MlflowException", 2)
    assert shop.caderno("run", env=env).code == 0
    statuses = sorted(run.info.status for run in shop.mlflow_runs(server.client())[-4:])
    assert statuses == ["FAILED", "FAILED", "FINISHED", "FINISHED"]


@pytest.mark.slow
def test_an_engine_killed_while_the_server_was_away_leaves_the_truth(server: Server, shop: Workshop) -> None:
    shop.notebook("slow.ipynb", None, WAIT)
    shop.pipeline("slow: {notebook: slow.ipynb}")
    run = shop.start("run", env={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"})
    until(lambda: shop.calls() == ["slow"], what="the cell did not start")
    run.kill()
    ended(run)
    (kept,) = (shop.root / "data/.caderno/untold").iterdir()
    (kept / "server").write_text(server.uri)  # now it is there
    shop.write("go", "")
    done = shop.caderno("run", env={"MLFLOW_TRACKING_URI": server.uri})
    assert done.code == 0, done.out
    assert "now has what was kept: 2 runs" in done
    assert sorted(run.info.status for run in shop.mlflow_runs(server.client())[-4:]) == [
        *("FINISHED", "FINISHED"),
        *("KILLED", "KILLED"),
    ]


@pytest.fixture
def slow_line(server: Server) -> Iterator[str]:
    """The address of a relay to the server that holds back each packet for a tenth of a second."""
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(one: socket.socket, other: socket.socket) -> None:
        with one, other:
            while data := one.recv(65536):
                time.sleep(0.1)
                other.sendall(data)

    def serve() -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", int(server.uri.rpartition(":")[2])))
            for pair in ((near, far), (far.dup(), near.dup())):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.close()


@pytest.mark.slow
def test_a_slow_server_makes_a_run_slower_and_no_more(slow_line: str, server: Server, shop: Workshop) -> None:
    shop.notebook("one.ipynb", None, "import mlflow\nmlflow.log_metric('auc', 1)")
    shop.pipeline("one: {notebook: one.ipynb}")
    done = shop.caderno("run", env={"MLFLOW_TRACKING_URI": slow_line})
    assert done.code == 0, done.out
    assert "does not answer" not in done
    assert shop.record("one").metrics == {"auc": 1.0}
    assert [run.info.status for run in shop.mlflow_runs(server.client())[-2:]] == ["FINISHED", "FINISHED"]


def test_a_server_that_refuses_is_an_error_before_anything_starts(shop: Workshop) -> None:
    """Only silence is waited out: who is not let in should know it now."""
    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        body = b'{"error_code": "PERMISSION_DENIED", "message": "you may not"}'
        head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(head + body)

    threading.Thread(target=refuse, daemon=True).start()
    shop.notebook("one.ipynb", None, f"{NOTE}\nnote('one')")
    shop.pipeline("one: {notebook: one.ipynb}")
    done = shop.caderno("run", env={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{listening.getsockname()[1]}"})
    listening.close()
    assert done.code == 2, done.out
    assert "you may not" in done
    assert "Traceback" not in done
    assert shop.calls() == []
