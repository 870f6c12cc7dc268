"""All that a test needs at once: Airflow, the machines' projects, what their notebooks did, and MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import small
from remotes import S3
from rig import Rig
from servers import Server
from workshop import PIPELINE, Workshop

TOLD: list[str] = []  # how the tasks of each run went
Digests = dict[tuple[str, str], dict[str, str]]  # of the outputs, by task and fingerprint
Local = Callable[..., Digests]


@dataclass
class Site:
    """The running whole; `store` and `bucket` are what the machines share, `tally` tells what notebooks did."""

    rig: Rig
    origin: Workshop
    machines: dict[str, Workshop]
    tally: small.Tally
    mlflow: Server
    store: Path
    bucket: S3
    dag: str = PIPELINE

    def run(self, day: str, limit: float = 300) -> str:
        """Trigger a run of a day, wait for its success, and return its id."""
        run = self.rig.client.trigger(self.dag, day)
        self.succeeds(run, limit)
        return run

    def succeeds(self, run: str, limit: float = 300, dag: str = PIPELINE) -> None:
        """Wait for the success of a run, and note how its tasks went."""
        state = self.rig.client.end(dag, run, limit)
        told = self.rig.client.told(dag, run)
        TOLD.append(f"{os.environ['PYTEST_CURRENT_TEST'].split('::')[-1]}\n{told}")
        assert state == "success", f"{told}\n{self.rig.client.failures(dag, run)}"

    def running(self) -> list[str]:
        """Return the MLflow runs that are RUNNING."""
        client = self.mlflow.client()
        ids = [one.experiment_id for one in client.search_experiments()]
        return [run.info.run_name for run in client.search_runs(ids, "attributes.status = 'RUNNING'")]

    def results(self) -> Digests:
        """Return the digests of all outputs on all machines; those of one result must be the same everywhere."""
        every: Digests = {}
        for machine in self.machines.values():
            for key, outputs in small.digests(machine).items():
                assert every.setdefault(key, outputs) == outputs, f"{key} differs between the machines"
        return every
