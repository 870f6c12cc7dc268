"""Caderno against named peers, in one run: CPU seconds of the whole process tree, and wall time.

    make bench                  all cases
    make bench CASE=nothing     one of them

Each case builds a project in a temporary folder and runs the contestants in turn, over and over, so that a noisy
minute hits all of them; printed are medians, and ratios to the first named. Absolute times say little about another
machine; the ratios do. `gate` is of another kind: it measures how often chance misleads the gate.
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
import chance
import orchestrated
import peers
import projects
import serving

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
    if repetitions > 1:  # what is long enough to be measured once does not notice
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


FLOOR = """
import sys
from pathlib import Path
import mlflow
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score
Path("out").mkdir(exist_ok=True)
mlflow.set_experiment("bench")
for depth in range(1, int(sys.argv[1]) + 1):
    X, y = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(30, max_depth=depth, random_state=0)
    auc = cross_val_score(forest, X, y, scoring="roc_auc").mean()
    with mlflow.start_run():
        mlflow.log_metric("auc", auc)
    Path(f"out/{depth}.txt").write_text(str(auc))
"""
API = """
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import papermill


def run(depth):
    parameters = {"depth": depth, "score": f"out/{depth}.txt"}
    papermill.execute_notebook("notebooks/task.ipynb", f"out/{depth}.ipynb", parameters, progress_bar=False)


if __name__ == "__main__":
    Path("out").mkdir(exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(run, range(1, int(sys.argv[1]) + 1)))
"""


def sweep(folder: Path, repetitions: int) -> None:
    """A sweep of 8 small training notebooks that log to MLflow."""
    _sweep(folder, repetitions, 8)


def sweep32(folder: Path, _repetitions: int) -> None:
    """The same with 32: once, since papermill in a loop takes minutes."""
    _sweep(folder, 1, 32)


def _sweep(folder: Path, repetitions: int, count: int) -> None:
    binaries = peers.peers()
    values = list(range(1, count + 1))
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    projects.single(folder, "depth", count, "score", TRAIN)
    (folder / "floor.py").write_text(FLOOR)
    (folder / "api.py").write_text(API)
    task = f"{shlex.join(PAPERMILL)} notebooks/task.ipynb out/N.ipynb -p depth N -p score out/N.txt"
    (folder / "Snakefile").write_text(
        f"rule all:\n    input: expand('out/{{n}}.txt', n=range(1, {count + 1}))\n"
        f"rule task:\n    output: 'out/{{n}}.txt'\n    shell: '{task.replace('N', '{wildcards.n}')}'\n"
    )
    loop = [shlex.split(task.replace("N", str(n))) for n in values]
    cold = [*CADERNO, "run", "--kernels", "cold"]

    def clean() -> None:
        remove(folder / "data", folder / "out")
        (folder / "out").mkdir()

    every = [
        Contestant("caderno run", lambda: [[*CADERNO, "run"]], clean),
        Contestant("caderno run --kernels cold", lambda: [cold], clean),
        Contestant("the same as plain functions", lambda: [[PYTHON, "floor.py", str(count)]], clean),
        Contestant("papermill, one after the other", lambda: loop, clean),
        Contestant("papermill's API, two at a time", lambda: [[PYTHON, "api.py", str(count)]], clean),
    ]
    if binaries:
        words = [str(binaries / "snakemake"), "--cores", "2", "--quiet"]
        every.append(Contestant("snakemake -c2, calling papermill", lambda: [words], clean))
        peers.dvc_sweep(folder, binaries, "depth", values, task)
        dvc = [str(binaries / "dvc"), "repro", "--quiet"]

        def clean_dvc() -> None:
            clean()
            remove(folder / "dvc.lock")

        every.append(Contestant("dvc repro, calling papermill", lambda: [dvc], clean_dvc))
    if binary := peers.ploomber():
        place = folder / "ploomber"
        peers.ploomber_sweep(place, folder / "notebooks/task.ipynb", "depth", values, "score")
        build = [str(binary / "ploomber"), "build", "--force"]
        every.append(Contestant("ploomber, two at a time", lambda: [build], lambda: remove(place / "out"), place))
    compete(f"a sweep of {count} small training notebooks", every, folder, repetitions)


def one(folder: Path, repetitions: int) -> None:
    """One trivial notebook."""
    projects.single(folder, "n", 1, "out", TRIVIAL)
    compete(
        "one trivial notebook",
        [
            Contestant("caderno run", lambda: [[*CADERNO, "run"]], lambda: remove(folder / "data")),
            Contestant(
                "caderno run --kernels cold",
                lambda: [[*CADERNO, "run", "--kernels", "cold"]],
                lambda: remove(folder / "data"),
            ),
            Contestant("papermill", lambda: [[*PAPERMILL, "notebooks/task.ipynb", "out.ipynb"]]),
        ],
        folder,
        repetitions,
    )


def many(folder: Path, _repetitions: int) -> None:
    """500 trivial notebooks, 16 at once: each must start."""
    projects.single(folder, "n", 500, "out", TRIVIAL)
    compete(
        "500 trivial notebooks, 16 at once",
        [
            Contestant("caderno run", lambda: [[*CADERNO, "run", "--jobs", "16"]], lambda: remove(folder / "data")),
        ],
        folder,
        1,
    )


ROOT = Path(__file__).parents[2]


def example(folder: Path, repetitions: int) -> None:
    """The worked example's smoke profile, from nothing but its sources."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "example")], check=True)
    place = folder / "example"
    subprocess.run([PYTHON, "-m", "flights.sources", "--to", "data/sources"], cwd=place, check=True)
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{place}/mlflow.db"
    command = [*CADERNO, "run", "--profile", "smoke"]

    def clean() -> None:
        remove(*(path for path in (place / "data").iterdir() if path.name != "sources"))

    every = [
        Contestant("caderno run", lambda: [command], clean, place),
        Contestant("caderno run --kernels cold", lambda: [[*command, "--kernels", "cold"]], clean, place),
    ]
    compete("the worked example, smoke profile", every, folder, repetitions)


REPORT = projects.notebook(
    "n: int = 1  # seed\nout: str = 'out.txt'  # file",
    "import numpy as np\nimport pandas as pd\nimport matplotlib.pyplot as plt\nrandom = np.random.default_rng(n)",
    "table = pd.DataFrame(random.normal(size=(200, 8)), columns=list('abcdefgh'))\ntable.head(20)",
    *[
        f"# Figure {i}\nfig, ax = plt.subplots(figsize=(8, 4))\nax.scatter(table['a'], table['{c}'])\nplt.show()"
        for i, c in enumerate("bcdefg")
    ],
    *[f"# Step {i}\nvalues_{i} = table['a'].rolling({i + 2}).mean()\nvalues_{i}.describe()" for i in range(12)],
    "open(out, 'w').write('done')",
)


def pages(folder: Path, repetitions: int) -> None:
    """Pages of 10 results with 20 cells and 6 figures each, against nbconvert's stock template; and a large site."""
    place = folder / "small"
    projects.single(place, "n", 10, "out", REPORT)
    subprocess.run([*CADERNO, "run", "--quiet"], cwd=place, check=True, stdout=subprocess.DEVNULL)
    stock, notebooks = place / "stock", []
    for i, made in enumerate(sorted((place / "data" / projects.NAME).rglob("notebook.ipynb"))):
        notebooks.append(made.rename(place / f"{i}.ipynb"))
        made.symlink_to(notebooks[-1])

    def clean() -> None:
        remove(place / "reports", stock, *(place / "data").rglob("report.html"))

    convert = [PYTHON, "-m", "nbconvert", "--to", "html", "--output-dir", "stock"]
    every = [
        Contestant("caderno report", lambda: [[*CADERNO, "report"]], clean, place),
        Contestant("caderno report, nothing changed", lambda: [[*CADERNO, "report"]], folder=place),
        Contestant(
            "nbconvert --to html (lab)",
            lambda: [[*convert, *(str(path) for path in notebooks)]],
            clean,
            place,
        ),
    ]
    subprocess.run([*CADERNO, "report"], cwd=place, check=True, stdout=subprocess.DEVNULL)
    compete("pages of 10 results", every, folder, repetitions)
    subprocess.run([*CADERNO, "report"], cwd=place, check=True, stdout=subprocess.DEVNULL)
    ours = [path.stat().st_size for path in (place / "reports" / projects.NAME).glob("task.n=*.*.html")]
    stocks = [path.stat().st_size for path in stock.glob("*.html")]
    theirs = [path.stat().st_size for path in notebooks]
    for name, sizes in (("caderno", ours), ("nbconvert, but for its two scripts", stocks), ("the notebook", theirs)):
        print(f"  {name:34}{statistics.median(sizes) / 1e3:8.0f} kB")

    large = folder / "large"
    projects.finished(large, 1000)
    subprocess.run([*CADERNO, "report"], cwd=large, check=True, stdout=subprocess.DEVNULL)
    some = sorted((large / "reports" / projects.NAME).glob("*=*.*.html"))[:10]
    every = [
        Contestant("caderno report, nothing changed", lambda: [[*CADERNO, "report"]], folder=large),
        Contestant("… 10 pages missing", lambda: [[*CADERNO, "report"]], lambda: remove(*some), large),
        Contestant("… all pages missing", lambda: [[*CADERNO, "report"]], lambda: remove(large / "reports"), large),
    ]
    compete("a site of 1,000 results", every, folder, repetitions)


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


def gate(_folder: Path, _repetitions: int) -> None:
    """Not how long it takes, but how often chance misleads the gate: coverage, equal models, power."""
    chance.report()


def serve(folder: Path, repetitions: int) -> None:
    """The prediction service against named ones, under load."""
    serving.report(folder, repetitions)


def serveoptions(folder: Path, repetitions: int) -> None:
    """What the service's options change under load."""
    serving.options(folder, repetitions)


def airflow(folder: Path, repetitions: int) -> None:
    """A task of Airflow's against the same by hand."""
    orchestrated.measure(folder, repetitions)


CASES = {
    case.__name__: case
    for case in (nothing, one, sweep, sweep32, many, pages, example, gate, serve, serveoptions, airflow)
}


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
