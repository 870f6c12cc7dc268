"""A project with a DAG folder, and an Airflow for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workshop import Workshop

ROOT = Path(__file__).parents[2]
AIRFLOW = Path(os.environ.get("CADERNO_AIRFLOW", ROOT / ".airflow/venv"))
TASKS = """
fetch: {notebook: fetch.ipynb, params: {day: "{{ ds }}"}, outputs: {made: day.txt}, retries: 1, pool: small, cpus: 2}
square:
  notebook: square.ipynb
  matrix: {n: [2, 3]}
  inputs: {source: fetch.made}
  outputs: {made: square.txt}
  timeout: 20m
  queue: gpu
sum: {notebook: sum.ipynb, inputs: {parts: square.made}, outputs: {made: sum.txt}}
extra: {notebook: sum.ipynb, inputs: {parts: square.made}, outputs: {made: sum.txt}, on_request: true}
"""
HEAD = """
description: What is the sum?
params: {seed: 1, ratio: 0.5, word: no, on: true, many: [1], deep: {a: 1}}
schedule: {cron: "0 6 * * *", timezone: America/New_York, start: 2013-11-01, end: 2013-11-30, active_runs: 2}
owner: sums
tags: [small]
"""
DECLARED = "seed: int = 1\nratio: float = 0.1\nword: str = ''\non: bool = False\nmany: list = []\ndeep: dict = {}"


@dataclass(frozen=True)
class Site:
    """A project whose lib/dags is this one's, and an Airflow for it in `home`."""

    shop: Workshop
    home: Path
    python: Path

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.shop.root / "lib/dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "CADERNO_COMMAND": f"env PYTHONPATH={ROOT / 'lib'} {sys.executable} -m caderno.cli",
            "CADERNO_REPORTS_URL": "http://reports.example",
        }
        return {**os.environ, **self.shop.variables, **ours}

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command of Airflow's environment to its end."""
        return subprocess.run(
            [str(self.python.parent / words[0]), *words[1:]],
            cwd=self.home,
            env={**self.environment, **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
        )

    def script(self, source: str) -> Any:
        """Run Python in Airflow's environment and return the JSON that it printed last."""
        done = self.run("python", "-c", source)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])
