"""Small projects for tests: notebooks, pipelines and helpers in a folder, and the command line run on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caderno import spec
from caderno.plan import digests
from caderno.plan.planner import Plan, Planned, Planner
from caderno.plan.records import Input, Output, RunRecord, TaskRecord
from caderno.plan.store import Store, read_record
from caderno.project import Project
from caderno.spec import Pipeline

if TYPE_CHECKING:
    from mlflow import MlflowClient

Cell = str | dict[str, Any]
PIPELINE = "tiny"
LIMIT = 120.0  # seconds that a command may take: a hang is a failure, not a wait


def code(source: str, *tags: str) -> dict[str, Any]:
    """Return a code cell."""
    return {
        "cell_type": "code",
        "source": textwrap.dedent(source).strip("\n"),
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": [],
        "execution_count": None,
    }


def text(source: str) -> dict[str, Any]:
    """Return a Markdown cell."""
    return {"cell_type": "markdown", "source": source, "metadata": {}}


@dataclass(frozen=True)
class Done:
    """A command that has ended: `out` is what it printed, on both channels."""

    code: int
    out: str
    seconds: float

    def __contains__(self, part: str) -> bool:
        return part in self.out


@dataclass(frozen=True)
class Workshop:
    """A project under construction; `variables` are set for every command that is run on it."""

    root: Path
    variables: Mapping[str, str]

    @property
    def project(self) -> Project:
        return Project(self.root)

    @property
    def store(self) -> Store:
        return Store(self.project, PIPELINE)

    def notebook(self, name: str, parameters: str | None, *cells: Cell, kernel: str = "python3") -> Path:
        """Write notebooks/<name>; `parameters` is the source of its tagged cell, None for no such cell."""
        every = [] if parameters is None else [code(parameters, "parameters")]
        every += [code(cell) if isinstance(cell, str) else cell for cell in cells]
        content = {
            "cells": [{"id": f"cell-{index}", **cell} for index, cell in enumerate(every)],
            "metadata": {
                "kernelspec": {"name": kernel, "display_name": "Python 3", "language": "python"},
                "language_info": {"name": "python"},
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }
        return self.write(f"notebooks/{name}", json.dumps(content, indent=1))

    def pipeline(self, tasks: str, head: str = "", name: str = PIPELINE) -> Path:
        """Write params/<name>.yaml of a head and the mapping of tasks."""
        body = textwrap.indent(textwrap.dedent(tasks).strip("\n"), "  ")
        return self.write(f"params/{name}.yaml", f"name: {name}\n{textwrap.dedent(head)}tasks:\n{body}\n")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the project and return its path."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = textwrap.dedent(content).encode()
        path.write_bytes(content)
        return path

    # In this process: no kernel.

    def load(self, profile: str | None = None, *overrides: tuple[str, str]) -> Pipeline:
        return spec.load(self.project, PIPELINE, profile, overrides)

    def planner(self, profile: str | None = None, *overrides: tuple[str, str]) -> Planner:
        return Planner(self.project, self.load(profile, *overrides))

    def plan(self, *targets: str, force: bool = False) -> Plan:
        return self.planner().plan(targets, force)

    def states(self, *overrides: tuple[str, str]) -> dict[str, str]:
        """Return what a run would do with each task."""
        return {planned.task.id: planned.state for planned in self.planner(None, *overrides).plan().tasks}

    def why(self, task: str, *overrides: tuple[str, str]) -> str:
        """Return why a run would run the task."""
        return next(one.why for one in self.planner(None, *overrides).plan().tasks if one.task.id == task)

    def fingerprint_of(self, task: str) -> str:
        """Return the fingerprint of the newest record of a task."""
        return self.record(task).fingerprint

    def fingerprint(self, task: str, *overrides: tuple[str, str]) -> str:
        plan = self.planner(None, *overrides).plan()
        resolved = next(one.resolved for one in plan.tasks if one.task.id == task)
        assert resolved, f"{task} waits for its upstream"
        return resolved.fingerprint

    def settle(self, content: Callable[[str], bytes] = lambda task: task.encode()) -> None:
        """Give every task a result, as a run would: outputs with content(task id), committed to the store."""
        while True:
            planner = self.planner()
            ready = [one for one in planner.plan().tasks if one.state == "run"]
            if not ready:
                return
            for planned in ready:
                self._commit(planner.store, planned, content(planned.task.id))
            for planned in ready:
                assert planned.resolved
                planner.store.point_latest(planned.task.folder, planned.resolved.fingerprint)

    @staticmethod
    def _commit(store: Store, planned: Planned, content: bytes) -> None:
        task, resolved = planned.task, planned.resolved
        assert resolved
        staged = store.stage(task.folder, resolved.fingerprint)
        outputs = {}
        for name, path in task.outputs.items():
            (staged / path).write_bytes(content)
            digest, size = digests.of_path(staged / path)
            outputs[name] = Output(path=path, digest=digest, size=size)
        store.commit(
            staged,
            record(
                task=task.id,
                fingerprint=resolved.fingerprint,
                notebook=task.notebook.name,
                params=dict(task.params),
                inputs=resolved.inputs,
                env=resolved.env,
                outputs=outputs,
                code=resolved.code,
            ),
        )

    # In processes of their own: the whole engine.

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "CADERNO_"))}
        return kept | {"MLFLOW_DISABLE_TELEMETRY": "true"} | dict(self.variables) | variables

    def start(self, *arguments: str, folder: str = ".", env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `caderno …` in a folder of the project."""
        return subprocess.Popen(
            [sys.executable, "-m", "caderno.cli", *arguments],
            cwd=self.root / folder,
            env=self.environment(**(env or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def caderno(self, *arguments: str, folder: str = ".", env: Mapping[str, str] | None = None) -> Done:
        """Run `caderno …` to its end."""
        return ended(self.start(*arguments, folder=folder, env=env))

    def record(self, task: str) -> TaskRecord:
        """Return the newest record of a task, of a success or a failure."""
        planner = self.planner()
        return planner.newest(planner.one(task))[0]

    def result(self, task: str) -> Path:
        """Return the directory of the newest record of a task."""
        planner = self.planner()
        return planner.newest(planner.one(task))[1]

    def last_run(self) -> RunRecord:
        found = self.store.last_run()
        assert found, "no run left a record"
        return found

    def run_states(self) -> dict[str, str]:
        """Return how each task of the last run went."""
        return {task.task: task.state for task in self.last_run().tasks}

    def outcome(self, task: str) -> Any:
        """Return the failure of a task that failed."""
        failure = self.record(task).failure
        assert failure, f"{task} did not fail"
        return failure

    def finished(self, task: str) -> bool:
        """Whether a task has a result."""
        return self.store.latest(task) is not None

    def calls(self) -> list[str]:
        """Return the words that cells have noted by `note(word)` (see NOTE), in order."""
        path = self.root / "calls.txt"
        return path.read_text().split() if path.exists() else []

    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=f"sqlite:///{self.root / 'mlflow.db'}")

    def mlflow_runs(self, client: MlflowClient | None = None) -> list[Any]:
        """Return all MLflow runs of the pipeline, the oldest first."""
        client = client or self.client()
        experiment = client.get_experiment_by_name(PIPELINE)
        assert experiment
        return list(client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


NOTE = """
from pathlib import Path
def note(word):
    with open(Path("..", "calls.txt").resolve(), "a") as file:
        file.write(word + "\\n")
"""


def ended(process: subprocess.Popen[str], limit: float = LIMIT) -> Done:
    """Wait for a command's end."""
    began = time.monotonic()
    try:
        out, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"still running after {limit:g} s:\n{process.communicate()[0]}") from None
    return Done(process.returncode, out, time.monotonic() - began)


def until(condition: Callable[[], object], limit: float = 60.0, what: str = "") -> None:
    """Wait until `condition()` is true."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, what or "waited in vain"
        time.sleep(0.02)


def record(**fields: Any) -> TaskRecord:
    """Return a record of a success, with what a test cares for in `fields`."""
    from caderno.plan.records import Code

    defaults: dict[str, Any] = {
        "pipeline": PIPELINE,
        "profile": None,
        "task": "one",
        "state": "succeeded",
        "fingerprint": "ab" * 32,
        "notebook": "notebooks/one.ipynb",
        "run": "20131105-073000-3f9a",
        "started": datetime.now(UTC),
        "seconds": 1.5,
        "user": "Ada",
        "host": "here",
        "params": {},
        "overridden": [],
        "inputs": dict[str, Sequence[Input]](),
        "outputs": {},
        "code": Code(notebook="", cells=[], units={}, packages={}, python="3.11"),
        "git": None,
        "tracking": None,
        "metrics": {},
        "cells": [],
    }
    return TaskRecord(**defaults | fields)


__all__ = ["LIMIT", "NOTE", "PIPELINE", "Done", "Workshop", "code", "ended", "read_record", "record", "text", "until"]


NewShop = Callable[[], Workshop]  # makes an empty project
