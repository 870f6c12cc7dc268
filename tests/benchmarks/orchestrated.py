"""What a task costs under Airflow: the same chain of trivial notebooks by `caderno run`, and as a DAG on one worker.

CPU seconds are those of all processes that did the work: of the worker and its children, and, apart, of Airflow's own
services, which also cost while nothing runs. Each repetition takes another day, so that every task is computed.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/airflow"), str(ROOT / "tests/caderno")]
import small  # noqa: E402
from processes import Service, marked  # noqa: E402
from rig import Rig  # noqa: E402
from servers import Server  # noqa: E402
from workshop import Workshop  # noqa: E402

AIRFLOW = Path(os.environ.get("CADERNO_AIRFLOW", ROOT / ".airflow/venv"))
COUNT = 5
HEAD = "schedule: {cron: '0 0 * * *', start: 2026-02-01, end: 2026-02-28}\n"


def measure(folder: Path, repetitions: int) -> None:
    """Print medians, for one task."""
    if not (AIRFLOW / "bin/airflow").exists():
        print(f"no Airflow in {AIRFLOW}: make test-airflow installs it; left out")
        return
    with tempfile.TemporaryDirectory(prefix="caderno-bench-") as short, ExitStack() as stack:
        server = Server(folder, {})
        stack.callback(server.stop)
        server.start()
        origin = _project(Path(short) / "origin")
        variables = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
        alone = small.clone(origin, Path(short) / "alone", **variables)
        rig = Rig(folder, AIRFLOW, origin.root / "lib/dags")
        stack.callback(rig.stop)
        shop = small.clone(origin, Path(short) / "m1")
        machine = rig.machine("m1", shop.root, **variables)
        rig.start()
        rig.knows("chain")
        costs: dict[str, list[tuple[float, ...]]] = {}
        for repetition in range(repetitions + 1):
            day = f"2026-02-{repetition + 1:02}"
            found = {
                "one caderno run": _commands(alone, [["run", "--day", f"{day}"]]),
                "a caderno run for each": _commands(
                    alone, [["run", f"t{n}", "--force", "--day", day] for n in range(COUNT)]
                ),
                "a task of Airflow": _dag(rig, machine.worker, day),
            }
            for name, cost in found.items() if repetition else []:  # the first one fills caches
                costs.setdefault(name, []).append(cost)
    print(f"\n{COUNT} trivial notebooks, one after the other, for each (medians of {repetitions})")
    print(f"  {'':26}{'CPU s':>8}{'wall s':>8}{'task s':>8}{'services CPU s':>16}")
    for name, every in costs.items():
        cpu, wall, own, services = (statistics.median(one[n] for one in every) for n in range(4))
        print(f"  {name:26}{cpu:8.2f}{wall:8.2f}{own:8.2f}{services:16.2f}")


def _project(root: Path) -> Workshop:
    shop = Workshop(root, {})
    small.git("init", "-q", "-b", "main", str(root))
    shop.notebook(
        "t.ipynb", "day: str = ''\nnumber: int = 0\nbefore: str = ''\nmade: str = 'made'", "open(made, 'w').write(day)"
    )
    tasks = []
    for number in range(COUNT):
        inputs = f"inputs: {{before: t{number - 1}.made}}, " if number else ""
        params = f'params: {{day: "{{{{ ds }}}}", number: {number}}}'
        tasks.append(f"t{number}: {{notebook: t.ipynb, {params}, {inputs}outputs: {{made: made.txt}}}}")
    shop.pipeline("\n".join(tasks), HEAD, "chain")
    small.commit(shop, ROOT / "lib/dags")
    return shop


def _commands(shop: Workshop, commands: list[list[str]]) -> tuple[float, ...]:
    before, began = os.times(), time.monotonic()
    for command in commands:
        done = shop.caderno(*command)
        assert done.code == 0, done.out
    wall, after = time.monotonic() - began, os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return cpu / COUNT, wall / COUNT, wall / COUNT, 0.0


def _dag(rig: Rig, worker: Service, day: str) -> tuple[float, ...]:
    central = [rig.api, rig.scheduler, rig.processor]
    spent: list[Callable[[], float]] = [lambda: _spent(worker), lambda: sum(map(_spent, central))]
    before = [one() for one in spent]
    run = rig.client.trigger("chain", day)
    assert rig.client.end("chain", run) == "success", rig.client.failures("chain", run)
    cpu, services = (one() - was for one, was in zip(spent, before, strict=True))
    tasks = [one for one in rig.client.tasks("chain", run) if one["task_id"] != "pipeline.check"]
    begin = min(one["start_date"] for one in tasks)
    wall = _seconds(begin, max(one["end_date"] for one in tasks)) / COUNT
    own = statistics.mean(_seconds(one["start_date"], one["end_date"]) for one in tasks)
    return cpu / COUNT, wall, own, services / COUNT


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()


def _spent(service: Service) -> float:
    """Return the CPU seconds of a service: of its processes, and of those that they have waited for."""
    total = 0.0
    for process in marked(service.mark):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total
