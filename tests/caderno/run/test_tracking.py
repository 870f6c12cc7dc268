"""What MLflow holds after runs: in the project's own store, and on a real server."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from servers import Server, free_port
from workshop import Done, Workshop

pytestmark = pytest.mark.kernel

TRAIN = """
import mlflow
class Constant(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[float]) -> list[float]:
        return [rate for _ in model_input]
with mlflow.start_run():
    mlflow.log_params({"depth": 3, "seed": "the notebook's own"})
    mlflow.log_metric("auc", 0.5)
    mlflow.log_metric("auc", 0.75)
    mlflow.pyfunc.log_model(name="model", python_model=Constant(), pip_requirements=[])
"""
USE = """
import mlflow
from pathlib import Path
loaded = mlflow.pyfunc.load_model(model)
Path(used).write_text(repr([model, loaded.predict([1.0, 2.0])]))
"""
DIES = """
import mlflow, os, signal
run = mlflow.start_run()
mlflow.log_metric("auc", 0.5)
mlflow.start_run(nested=True, run_name="nested")
mlflow.end_run()
mlflow.end_run()
other = mlflow.start_run(run_name="another")
os.kill(os.getpid(), signal.SIGKILL)
"""
PIPELINE = """
train: {notebook: train.ipynb, outputs: {model: mlflow-model}}
use: {notebook: use.ipynb, inputs: {model: train.model}, outputs: {used: used.txt}}
"""


def project(shop: Workshop) -> None:
    shop.notebook("train.ipynb", "seed: int = 1\nrate: float = 0.25", TRAIN)
    shop.notebook("use.ipynb", 'model: str = ""\nused: str = ""', USE)
    shop.pipeline(PIPELINE, "description: What is it?\n")


def git(shop: Workshop, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
    done = subprocess.run(command, cwd=shop.root, env=shop.environment(), capture_output=True, text=True, check=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class Tracked:
    """A project with a first run (one task of it dies) and a second one, seen through MLflow."""

    shop: Workshop
    client: MlflowClient
    runs: list[Any]
    commit: str

    def named(self, name: str) -> Any:
        (found,) = [run for run in self.runs if run.data.tags["mlflow.runName"] == name]
        return found

    @property
    def parents(self) -> list[Any]:
        return [run for run in self.runs if run.data.tags["mlflow.runName"].startswith("tiny ")]


@pytest.fixture(scope="module")
def tracked(new_shop: Callable[[], Workshop]) -> Tracked:
    shop = new_shop()
    project(shop)
    shop.notebook("dies.ipynb", None, DIES)
    shop.notebook("forgets.ipynb", None, "x = 1")
    lines = "\ndies: {notebook: dies.ipynb}\nforgets: {notebook: forgets.ipynb, outputs: {model: mlflow-model}}"
    shop.pipeline(PIPELINE + lines, "description: What is it?\n")
    shop.write(".gitignore", "data/\nreports/\nmlflow.db*\nmlartifacts/\n")
    git(shop, "init", "--quiet", "--initial-branch", "main")
    git(shop, "add", ".")
    git(shop, "commit", "--quiet", "--message", "one")
    first = shop.caderno("run")
    assert first.code == 1, first.out
    shop.notebook("use.ipynb", 'model: str = ""\nused: str = ""', USE, "more = 1")
    second = shop.caderno("run", "use")
    assert second.code == 0, second.out
    client = shop.client()
    return Tracked(shop, client, shop.mlflow_runs(client), git(shop, "rev-parse", "HEAD"))


def test_each_run_is_a_parent_and_each_task_that_ran_its_child(tracked: Tracked) -> None:
    first, second = (run.info.run_id for run in tracked.parents)
    children = {
        parent: sorted(
            run.data.tags["mlflow.runName"] for run in tracked.runs if run.data.tags.get("mlflow.parentRunId") == parent
        )
        for parent in (first, second)
    }
    assert children == {first: ["dies", "forgets", "train", "use"], second: ["use"]}


def test_a_run_is_the_child_of_the_one_that_the_environment_names(shop: Workshop) -> None:
    """As `mlflow run` sets it; where the store is, is where artifacts are."""
    shop.notebook("one.ipynb", None, "x = 1")
    shop.pipeline("one: {notebook: one.ipynb}")
    place = shop.root / "elsewhere"
    place.mkdir()
    uri = f"sqlite:///{place / 'mlflow.db'}"
    client = MlflowClient(uri)
    above = client.create_run("0").info.run_id
    done = shop.caderno("run", env={"MLFLOW_TRACKING_URI": uri, "MLFLOW_RUN_ID": above})
    assert done.code == 0, done.out
    runs = {run.data.tags["mlflow.runName"].partition(" ")[0]: run for run in shop.mlflow_runs(client)}
    assert runs["tiny"].data.tags["mlflow.parentRunId"] == above
    assert runs["one"].data.tags["mlflow.parentRunId"] == runs["tiny"].info.run_id
    assert runs["one"].info.artifact_uri.startswith((place / "mlartifacts").as_uri())
    assert client.get_run(above).info.status == "RUNNING"  # it ends by whoever opened it


def test_no_run_is_left_running(tracked: Tracked) -> None:
    status = [(run.data.tags["mlflow.runName"].partition(" ")[0], run.info.status) for run in tracked.runs]
    assert sorted(status) == [
        ("another", "KILLED"),
        ("dies", "FAILED"),
        ("forgets", "FAILED"),
        ("nested", "FINISHED"),
        ("tiny", "FAILED"),
        ("tiny", "FINISHED"),
        ("train", "FINISHED"),
        ("use", "FINISHED"),
        ("use", "FINISHED"),
    ]
    assert all(run.info.end_time for run in tracked.runs)


def test_a_further_run_that_a_notebook_opens_is_a_child_of_its_tasks(tracked: Tracked) -> None:
    task = tracked.named("dies").info.run_id
    for name in ("nested", "another"):
        assert tracked.named(name).data.tags["mlflow.parentRunId"] == task


def test_plain_mlflow_in_a_notebook_joins_the_tasks_run(tracked: Tracked) -> None:
    train = tracked.named("train")
    assert train.data.metrics == {"auc": 0.75}
    assert train.data.params["depth"] == "3"
    assert tracked.shop.record("train").metrics == {"auc": 0.75}
    assert tracked.shop.record("train").tracking is not None


def test_parameters_are_logged_and_the_notebooks_own_go_before(tracked: Tracked) -> None:
    assert tracked.named("train").data.params == {"depth": "3", "seed": "the notebook's own", "rate": "0.25"}


def test_tags_say_what_made_the_result(tracked: Tracked) -> None:
    tags = tracked.named("train").data.tags
    record = tracked.shop.record("train")
    assert tags["caderno.fingerprint"] == record.fingerprint
    assert tags["caderno.pipeline"] == "tiny"
    assert tags["caderno.task"] == "train"
    assert tags["caderno.run"] == record.run
    assert tags["caderno.output.model"] == record.outputs["model"].digest
    assert tags["mlflow.source.git.commit"] == tracked.commit
    assert tags["mlflow.source.git.branch"] == "main"
    assert tags["mlflow.source.name"] == "notebooks/train.ipynb"


def test_a_run_at_a_clean_commit_and_one_at_a_dirty_one_are_told_apart(tracked: Tracked) -> None:
    first, second = tracked.parents
    assert first.data.tags["caderno.git.dirty"] == "false"
    assert second.data.tags["caderno.git.dirty"] == "true"


def test_notebook_page_and_record_are_artifacts_of_the_tasks_run(tracked: Tracked) -> None:
    for name in ("train", "dies", "forgets"):
        paths = {item.path for item in tracked.client.list_artifacts(tracked.named(name).info.run_id)}
        assert {"notebook.ipynb", "report.html", "task.json"} <= paths, name


def test_the_parent_holds_the_runs_record_and_a_description(tracked: Tracked) -> None:
    parent = tracked.parents[1]
    (path,) = [item.path for item in tracked.client.list_artifacts(parent.info.run_id)]
    assert (
        json.loads(Path(tracked.client.download_artifacts(parent.info.run_id, path)).read_text())["pipeline"] == "tiny"
    )
    note = parent.data.tags["mlflow.note.content"]
    assert note.startswith("What is it?")
    assert "| train | cached |" in note
    assert parent.data.tags["mlflow.source.name"] == "caderno run use"


def test_a_cached_task_adds_only_a_link_to_the_run_that_made_it(tracked: Tracked) -> None:
    assert tracked.parents[1].data.tags["caderno.reused/train"] == tracked.named("train").info.run_id
    assert not any(name.startswith("caderno.reused/") for name in tracked.parents[0].data.tags)


def test_a_logged_model_goes_downstream_as_a_path(tracked: Tracked) -> None:
    used, predicted = json.loads((tracked.shop.result("use") / "used.txt").read_text().replace("'", '"'))
    place = (tracked.shop.root / "notebooks" / used).resolve()
    assert place == tracked.shop.result("train") / "model"
    assert (place / "MLmodel").is_file()
    assert predicted == [0.25, 0.25]
    output = tracked.shop.record("train").outputs["model"]
    assert output.model_uri
    assert output.model_uri.startswith("models:/")


def test_a_model_that_was_not_logged_is_a_missing_output(tracked: Tracked) -> None:
    assert "mlflow model named 'model'" in tracked.shop.outcome("forgets").message


def test_a_result_with_a_model_survives_the_loss_of_mlflows_store(tracked: Tracked) -> None:
    store, away = tracked.shop.root / "mlartifacts", tracked.shop.root / "away"
    store.rename(away)
    try:
        assert tracked.shop.states()["use"] == "cached"
        assert (tracked.shop.result("train") / "model/MLmodel").read_text()
    finally:
        away.rename(store)


def test_the_projects_store_admits_readers_while_one_writes(tracked: Tracked) -> None:
    with sqlite3.connect(tracked.shop.root / "mlflow.db") as connection:
        mode = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert mode == ("wal",)


def test_nothing_is_said_of_experiments_or_migrations(tracked: Tracked) -> None:
    done = tracked.shop.caderno("run", "use", "--force")
    assert done.code == 0
    assert not re.search(r"INFO|WARN|alembic|Traceback", done.out), done.out


def test_the_same_notebook_run_by_hand_opens_a_run_of_its_own(tracked: Tracked) -> None:
    """As JupyterLab would: nbclient in the notebook's folder, its parameters' defaults, MLflow's usual variables."""
    script = (
        "import nbformat, nbclient; "
        "nbclient.NotebookClient(nbformat.read('train.ipynb', 4), kernel_name='python3').execute()"
    )
    env = tracked.shop.environment(
        MLFLOW_TRACKING_URI=f"sqlite:///{tracked.shop.root / 'mlflow.db'}", MLFLOW_EXPERIMENT_NAME="by hand"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tracked.shop.root / "notebooks", env=env, check=True)
    experiment = tracked.client.get_experiment_by_name("by hand")
    assert experiment
    (run,) = tracked.client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"auc": 0.75}
    assert "mlflow.parentRunId" not in run.data.tags
    assert not any(tag.startswith("caderno.") for tag in run.data.tags)


# A real server.


@pytest.fixture(scope="module")
def served(server: Server, new_shop: Callable[[], Workshop]) -> tuple[Workshop, Done]:
    """A project and what its run against the server said."""
    shop = new_shop()
    project(shop)
    return shop, shop.caderno("run", env={"MLFLOW_TRACKING_URI": server.uri})


def test_a_run_against_a_server_is_found_there(server: Server, served: tuple[Workshop, Done]) -> None:
    shop, done = served
    assert done.code == 0, done.out
    client = server.client()
    runs = shop.mlflow_runs(client)
    assert {run.info.status for run in runs} == {"FINISHED"}
    train = next(run for run in runs if run.data.tags["mlflow.runName"] == "train")
    assert train.data.metrics == {"auc": 0.75}
    assert {"notebook.ipynb", "report.html", "task.json"} <= {
        item.path for item in client.list_artifacts(train.info.run_id)
    }
    assert not (shop.root / "mlflow.db").exists()
    assert not (shop.root / "mlartifacts").exists()


def test_a_model_logged_to_a_server_goes_downstream_as_a_local_path(served: tuple[Workshop, Done]) -> None:
    shop, done = served
    assert done.code == 0, done.out
    assert (shop.result("train") / "model/MLmodel").is_file()
    assert "[0.25, 0.25]" in (shop.result("use") / "used.txt").read_text()


def test_the_record_leads_to_the_servers_page(server: Server, served: tuple[Workshop, Done]) -> None:
    tracking = served[0].record("train").tracking
    assert tracking
    assert tracking.url == f"{server.uri}/#/experiments/{tracking.experiment_id}/runs/{tracking.run_id}"


def test_without_anything_to_run_a_server_that_is_away_does_not_matter(served: tuple[Workshop, Done]) -> None:
    done = served[0].caderno("run", env={"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"})
    assert done.code == 0, done.out
    assert "nothing to run" in done


def test_a_password_in_the_servers_address_is_shown_nowhere(served: tuple[Workshop, Done]) -> None:
    uri = f"http://ada:sesame@127.0.0.1:{free_port()}"
    done = served[0].caderno("run", "--force", "use", env={"MLFLOW_TRACKING_URI": uri})
    assert done.code == 0, done.out
    assert "sesame" not in done
    assert "sesame" not in (served[0].result("use") / "task.json").read_text()
