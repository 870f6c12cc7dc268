"""From a service with champion and challenger to `caderno shadow`: the real commands on a small project."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from deliveries import AUTHOR, REVIEWER, delivery, project, run, told
from serve.running import Running, running
from servers import free_port
from workshop import Workshop

from caderno.run.tracking import Tracking

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

TASKS = """
data: {notebook: data.ipynb, outputs: {test: test.csv}}
train: {notebook: train.ipynb, inputs: {rows: data.test}, outputs: {model: mlflow-model}}
"""


@pytest.fixture(scope="module")
def shop(new_shop: Callable[[], Workshop]) -> Workshop:
    """Version 1 is the champion, version 2 the challenger; they learned from a table with the columns x and noise."""
    made = new_shop()
    project(made, tasks=TASKS)
    notebook = made.root / "notebooks/train.ipynb"
    notebook.write_text(notebook.read_text().replace("skill: float = 0.6", "skill: float = 0.6\\nrows: str = ''"))
    for skill in (0.6, 0.9):
        run(made, skill)
        assert told(made, "release").code == 0
        if skill == 0.6:
            assert told(made, "shadow").out.startswith("error: tiny has no champion")
            delivery(made).sign("approve", "1", REVIEWER, "fine")
            delivery(made).promote("1", AUTHOR, "the first", False, None)
    return made


def ask(service: Running, rows: pd.DataFrame) -> None:
    assert service.post("/v1/models/tiny:predict", {"instances": rows.to_dict("records")}).status == 200


def test_nothing_that_was_logged_is_said_with_what_to_do(shop: Workshop) -> None:
    done = told(shop, "shadow")
    assert done.code == 2
    assert "no prediction of tiny was logged since" in done
    assert "--shadow 0.1" in done


def test_a_duration_without_a_unit_is_refused(shop: Workshop) -> None:
    done = told(shop, "shadow", "--since", "7")
    assert done.code == 2
    assert "is no duration with a unit" in done


def test_a_field_that_no_model_takes_cannot_be_left_out(shop: Workshop) -> None:
    done = shop.caderno("serve", "--port", str(free_port()), "--log-share", "1", "--log-without", "noice")
    assert done.code == 2
    assert "did you mean 'noise'?" in done


def test_champion_and_challenger_are_compared_and_features_too(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in shop.variables.items():
        monkeypatch.setenv(name, value)
    random = np.random.default_rng(2)
    rows = pd.DataFrame({"x": random.normal(1, 1, 400), "noise": random.normal(size=400)})
    with running(shop.root, shop.variables, "--log-share", "1", "--shadow", "1") as service:
        for start in range(0, 400, 4):
            ask(service, rows[start : start + 4])
        shown = b'caderno_shadow_rows{challenger="2",champion="1",model="tiny"} 400.0'
        service.wait("/metrics", lambda one: shown in one.body)
    done = told(shop, "shadow")
    assert done.code == 0, done.out
    assert "champion v1 against challenger v2" in done
    assert "400 rows of 100 requests were answered by both" in done
    assert re.search(r"x +\d\.\d{3} +much change", done.out)
    assert re.search(r"noise +0\.\d{3} +(stable|no more than chance)", done.out)
    assert "test.csv" in done
    found = json.loads(told(shop, "shadow", "--json", "--since", "1d").out)
    ours, theirs = (1 / (1 + np.exp(-2 * (s * rows["x"] + (1 - s) * rows["noise"]))) for s in (0.6, 0.9))
    assert found["agreement"]["rows"] == found["served"] == 400
    assert found["agreement"]["mean"] == pytest.approx(np.abs(ours - theirs).mean())
    assert found["agreement"]["same_side"] == pytest.approx(np.mean((ours > 0.5) == (theirs > 0.5)))
    assert 0 < found["latency"]["challenger"]["median"] <= found["latency"]["challenger"]["p99"]
    assert [one["feature"] for one in found["drift"]] == ["x", "noise"]
    assert found["lost"] == found["notes"] == []
    client = Tracking(shop.project, "tiny").client
    experiment = client.get_experiment_by_name("tiny")
    assert experiment
    logged = client.search_runs([experiment.experiment_id], "attributes.run_name = 'shadow'")
    assert len(logged) == 2
    assert {one.info.status for one in logged} == {"FINISHED"}
    assert logged[0].data.metrics["agreement.mean"] == pytest.approx(found["agreement"]["mean"])
    assert logged[0].data.metrics["psi.x"] == pytest.approx(found["drift"][0]["psi"])
    assert [one.path for one in client.list_artifacts(logged[0].info.run_id)] == ["shadow.json"]


def test_a_server_that_is_away_is_said_and_the_figures_are_printed(shop: Workshop) -> None:
    began = time.monotonic()
    done = told(shop, "shadow", env={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"})
    assert done.code == 0, done.out
    assert "answered by both" in done
    assert "the figures are not in MLflow" in done
    assert time.monotonic() - began < 30


def test_a_table_that_changed_is_no_reference(shop: Workshop) -> None:
    [table] = {path.resolve() for path in shop.root.glob("data/tiny/data/*/test.csv")}
    before = table.read_bytes()
    table.chmod(0o644)
    table.write_bytes(before + b"2026-01-01,north,1,1,1\n")
    try:
        done = told(shop, "shadow")
    finally:
        table.write_bytes(before)
    assert done.code == 0
    assert "features are not compared" in done
    assert "changed since train learned from it" in done
    assert "answered by both" in done
