"""Caderno against named peers, in one run: CPU seconds of the whole process tree, and wall time.

    make bench                  all cases
    make bench CASE=nothing     one of them

Each case builds a project in a temporary folder and runs the contestants in turn, over and over, so that a noisy
minute hits all of them; printed are medians, and ratios to the first named. Absolute times say little about another
machine; the ratios do.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import peers
import projects

PYTHON = sys.executable
CADERNO = [PYTHON, "-m", "caderno.cli"]
PAPERMILL = [PYTHON, "-m", "papermill", "--no-progress-bar", "--log-level", "ERROR"]


@dataclass(frozen=True)
class Contestant:
    """One way to do the work: `prepare` undoes what the last repetition left, outside of the measured time."""

    name: str
    command: Callable[[], list[list[str]]]
    prepare: Callable[[], None] = lambda: None
    folder: Path | None = None  # where it runs, if not where all do


@dataclass(frozen=True)
class Cost:
    cpu: float
    wall: float


def measure(contestant: Contestant, folder: Path) -> Cost:
    contestant.prepare()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    for command in contestant.command():
        subprocess.run(
            command, cwd=contestant.folder or folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall)


def compete(title: str, contestants: list[Contestant], folder: Path, repetitions: int) -> None:
    costs: dict[str, list[Cost]] = {contestant.name: [] for contestant in contestants}
    for contestant in contestants:
        measure(contestant, folder)  # fills caches of files and byte code
    for _ in range(repetitions):
        for contestant in contestants:
            costs[contestant.name].append(measure(contestant, folder))
    print(f"\n{title} (medians of {repetitions})")
    print(f"  {'':34}{'CPU s':>8}{'ratio':>8}{'wall s':>9}{'ratio':>8}")
    base_cpu = statistics.median(cost.cpu for cost in costs[contestants[0].name])
    base_wall = statistics.median(cost.wall for cost in costs[contestants[0].name])
    for name, found in costs.items():
        cpu, wall = statistics.median(c.cpu for c in found), statistics.median(c.wall for c in found)
        print(f"  {name:34}{cpu:8.2f}{cpu / max(base_cpu, 1e-3):8.2f}{wall:9.2f}{wall / max(base_wall, 1e-3):8.2f}")


TRAIN = projects.notebook(
    "depth: int = 3  # of the trees\nscore: str = 'score.txt'  # out",
    "import mlflow\nfrom pathlib import Path\nfrom sklearn.datasets import load_breast_cancer\n"
    "from sklearn.ensemble import RandomForestClassifier\nfrom sklearn.model_selection import cross_val_score",
    "X, y = load_breast_cancer(return_X_y=True)\n"
    "forest = RandomForestClassifier(30, max_depth=depth, random_state=0)\n"
    "auc = cross_val_score(forest, X, y, scoring='roc_auc').mean()",
    "with mlflow.start_run():\n    mlflow.log_metric('auc', auc)",
    "Path(score).write_text(str(auc))",
)
TRIVIAL = projects.notebook(
    "n: int = 0  # which\nout: str = 'n.txt'  # out", "from pathlib import Path\nPath(out).write_text(str(n))"
)


def remove(*paths: Path) -> None:
    for path in paths:
        subprocess.run(["rm", "-rf", str(path)], check=True)


def sweep(folder: Path, repetitions: int) -> None:
    """A sweep of 8 small training notebooks that log to MLflow."""
    projects.single(folder, "depth", 8, "score", TRAIN)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    out = folder / "out"

    def loop() -> list[list[str]]:
        out.mkdir(exist_ok=True)
        return [
            [*PAPERMILL, "notebooks/task.ipynb", f"out/{n}.ipynb", "-p", "depth", str(n), "-p", "score", f"out/{n}.txt"]
            for n in range(1, 9)
        ]

    compete(
        "a sweep of 8 small training notebooks",
        [
            Contestant("papermill, one after the other", loop, lambda: remove(out)),
            Contestant("caderno run", lambda: [[*CADERNO, "run"]], lambda: remove(folder / "data")),
        ],
        folder,
        repetitions,
    )


def one(folder: Path, repetitions: int) -> None:
    """One trivial notebook."""
    projects.single(folder, "n", 1, "out", TRIVIAL)
    compete(
        "one trivial notebook",
        [
            Contestant("papermill", lambda: [[*PAPERMILL, "notebooks/task.ipynb", "out.ipynb"]]),
            Contestant("caderno run", lambda: [[*CADERNO, "run"]], lambda: remove(folder / "data")),
        ],
        folder,
        repetitions,
    )


SIZES = (10, 100, 1_000, 10_000)
PEERS_UP_TO = 1_000  # tasks; DVC takes minutes to set up more


def nothing(folder: Path, repetitions: int) -> None:
    """A run with nothing to do."""
    binaries = peers.peers()
    for count in SIZES:
        every = []
        for name, set_up, words in (
            ("caderno run (by content)", lambda place, count=count: projects.finished(place, count), [*CADERNO, "run"]),
            ("make (by times of files)", lambda place, count=count: peers.make_done(place, count), ["make", "--quiet"]),
            *_peers(binaries, count),
        ):
            place = folder / f"{count}" / name.split()[0]
            place.mkdir(parents=True)
            set_up(place)
            every.append(Contestant(name, lambda words=words, place=place: [words], folder=place))
        compete(f"nothing to do, {count:,} tasks", every, folder, repetitions)


def _peers(binaries: Path | None, count: int) -> list[tuple[str, Callable[[Path], None], list[str]]]:
    if binaries is None or count > PEERS_UP_TO:
        return []
    snakemake = [str(binaries / "snakemake"), "--cores", "1", "--quiet"]
    return [
        ("snakemake (by times of files)", lambda place: peers.snakemake_done(place, count), snakemake),
        (
            "dvc repro (by content)",
            lambda place: peers.dvc_done(place, count, binaries),
            [str(binaries / "dvc"), "repro"],
        ),
    ]


CASES = {"nothing": nothing, "one": one, "sweep": sweep}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("case", nargs="*", choices=[*CASES, []], help="which cases; default: all")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} processors; {shlex.join(CADERNO)}")
    for name in arguments.case or CASES:
        with tempfile.TemporaryDirectory() as folder:
            CASES[name](Path(folder), arguments.repetitions)


if __name__ == "__main__":
    main()
