"""The small project that Airflow's machines work on, and the tally of what its notebooks did."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deliveries
from processes import until
from workshop import PIPELINE, Workshop

LIB = Path(__file__).parents[2] / "lib"
TALLY = '''
"""What notebooks did, told to a file outside of the project; and a place where a test can hold them."""

import json
import os
import time
from pathlib import Path


def tell(what: str, work: str) -> None:
    line = json.dumps({"what": what, "work": work, "machine": os.environ.get("MACHINE"), "time": time.time()})
    with open(os.environ["TALLY"] + "/tally", "a") as file:
        file.write(line + "\\n")


def wait(task: str) -> None:
    while Path(os.environ["TALLY"], f"hold-{task}").exists():
        time.sleep(0.05)
'''
GATHER = """
from datetime import date, timedelta
import tally
tally.tell("begun", f"gather {month} to {until}")
tally.wait("gather")
first, last = date.fromisoformat(month + "-01"), date.fromisoformat(min(until, month + "-28"))
days = [first + timedelta(n) for n in range(max(0, (last - first).days + 1))]
with open(rows, "w") as file:
    file.writelines(f"{day},{day.toordinal() % 97}\\n" for day in days)
tally.tell("ended", f"gather {month} to {until}")
"""
MEASURE = """
import hashlib, json, subprocess
from pathlib import Path
import tally
text = "".join(Path(path).read_text() for path in rows)
work = f"measure {part} of {hashlib.sha256(text.encode()).hexdigest()[:8]}"
tally.tell("begun", work)
child = subprocess.Popen(["sleep", "600"])  # what a task starts ends with it
tally.wait(f"measure-{part}")
child.kill()
values = [int(line.split(",")[1]) for line in text.splitlines()]
Path(figure).write_text(json.dumps({"part": part, "sum": sum(values) * (1 + ord(part)), "rows": len(values)}))
tally.tell("ended", work)
"""
JOIN = """
import json
from pathlib import Path
import mlflow
import tally
found = [json.loads(Path(path).read_text()) for path in figures]
total_sum = sum(one["sum"] for one in found)
tally.tell("begun", f"join {total_sum}")
tally.wait("join")
with mlflow.start_run():
    mlflow.log_metric("total", total_sum)
Path(total).write_text(json.dumps({"total": total_sum, "parts": [one["part"] for one in found]}))
tally.tell("ended", f"join {total_sum}")
"""
HEAD = """
description: Rows of two months, measured in three ways
remote: {remote}
schedule: {{cron: "0 0 * * *", start: 2026-02-01, end: 2026-02-28}}
owner: testers
"""
# What is pinned to a queue has to travel: m1 gathers, m2 joins; who measures is left to chance.
TASKS = """
gather:
  notebook: gather.ipynb
  matrix: {month: [2026-01, 2026-02]}
  params: {until: "{{ [ds, month ~ '-28'] | min }}"}
  outputs: {rows: rows.csv}
  queue: m1
  retries: 2
measure:
  notebook: measure.ipynb
  matrix: {part: [a, b, c]}
  inputs: {rows: gather.rows}
  outputs: {figure: figure.json}
  retries: 2
join:
  notebook: join.ipynb
  inputs: {figures: measure.figure}
  outputs: {total: total.json}
  queue: m2
  retries: 2
"""
PAIR = """
gather:
  notebook: gather.ipynb
  params: {month: 2026-02, until: "{{ ds }}"}
  outputs: {rows: rows.csv}
  queue: m1
  retries: 2
measure:
  notebook: measure.ipynb
  params: {part: z}
  inputs: {rows: [gather.rows]}
  outputs: {figure: figure.json}
  queue: m2
  retries: 2
"""
MODEL_HEAD = """
params: {{skill: 0.6}}
remote: {remote}
schedule: {{cron: "0 0 * * *", start: 2026-02-01, end: 2026-02-28, delivery_queue: m1}}
delivery: automatic
"""


def make(shop: Workshop, dags: Path, folder: Path, bucket: str) -> None:
    """Write the project into an empty folder and commit it, with the folder that Airflow reads.

    The results of `tiny` travel through a shared folder; those of `pair`, which has two tasks, through a bucket. What
    `model` trains is delivered, and somebody must approve it.
    """
    shop.write("lib/tally.py", TALLY)
    shop.notebook("gather.ipynb", "month: str = '2026-01'\nuntil: str = '2026-01-28'\nrows: str = ''", GATHER)
    shop.notebook("measure.ipynb", "part: str = 'a'\nrows: list[str] = []\nfigure: str = ''", MEASURE)
    shop.notebook("join.ipynb", "figures: list[str] = []\ntotal: str = ''", JOIN)
    shop.pipeline(TASKS, HEAD.format(remote=folder) + "default: true\n")
    shop.pipeline(PAIR, HEAD.format(remote=bucket), "pair")
    shop.notebook("data.ipynb", "test: str = ''", deliveries.DATA)
    shop.notebook("train.ipynb", "skill: float = 0.6", deliveries.TRAIN)
    shop.pipeline(deliveries.TASKS, MODEL_HEAD.format(remote=folder) + deliveries.GATE, "model")
    git("init", "-q", "-b", "main", str(shop.root))
    commit(shop, dags)


def commit(shop: Workshop, dags: Path) -> None:
    """Commit a project, with the folder that Airflow reads."""
    shop.write(".gitignore", "/data/\n/reports/\n/mlflow.db*\n/mlartifacts/\n/.venv\n__pycache__/\n")
    for path in dags.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            shop.write(f"lib/dags/{path.relative_to(dags)}", path.read_bytes())
    git("-C", str(shop.root), "add", "-A")
    git("-C", str(shop.root), "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qm", "all")


def clone(shop: Workshop, folder: Path, **variables: str) -> Workshop:
    """Clone the project as another machine would, with the engine of this checkout in the place of its own."""
    root = folder / "project"
    git("clone", "-q", str(shop.root), str(root))
    command = root / ".venv/bin/caderno"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{LIB}" exec "{sys.executable}" -m caderno.cli "$@"\n')
    command.chmod(0o755)
    return Workshop(root, {**shop.variables, **variables})


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True)


def digests(shop: Workshop) -> dict[tuple[str, str], dict[str, str]]:
    """Return the outputs' digests of every result in a project's store, by task and fingerprint."""
    found = {}
    for path in (shop.root / "data" / PIPELINE).rglob("task.json"):
        record = json.loads(path.read_text())
        if record["state"] == "succeeded":
            outputs = {name: output["digest"] for name, output in record["outputs"].items()}
            found[record["task"], record["fingerprint"]] = outputs
    return found


@dataclass(frozen=True)
class Tally:
    """What notebooks told, on whatever machine, since the tally's `start`."""

    folder: Path
    start: int = 0

    def lines(self) -> list[dict[str, Any]]:
        path = self.folder / "tally"
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines()[self.start :]]

    def now(self) -> Tally:
        """Return a tally that begins here."""
        return Tally(self.folder, self.start + len(self.lines()))

    def count(self, what: str) -> Counter[str]:
        """Return how often each piece of work was begun, or ended."""
        return Counter(line["work"] for line in self.lines() if line["what"] == what)

    @contextmanager
    def hold(self, task: str) -> Iterator[None]:
        """Let a task that begins wait in its middle."""
        path = self.folder / f"hold-{task}"
        path.touch()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def begun(self, work: str, limit: float = 180) -> str:
        """Wait until work has begun, and return the machine on which it did last."""

        def machine() -> str | None:
            found = [line["machine"] for line in self.lines() if line["what"] == "begun" and work in line["work"]]
            return found[-1] if found else None

        return until(machine, limit, f"{work} has not begun") or ""
