"""The tools that Caderno is measured against, in environments of their own: they are no dependency of the project.

They are installed once into a cache folder, pinned. Each `…_done` makes a folder in which the tool finds N targets
that are up to date, by the tool's own means and without running N commands.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import nbformat

PINNED = ("snakemake==9.27.0", "dvc==3.67.1")
_OURS = tuple(f"{name}=={version(name)}" for name in ("mlflow", "papermill", "scikit-learn"))  # what both use
_MODEL = tuple(f"{name}=={version(name)}" for name in ("mlflow", "scikit-learn", "skops"))  # what loads a model
MLSERVER = ("mlserver==1.7.1", "mlserver-mlflow==1.7.1", "uvloop==0.21.0", *_MODEL)  # its workers need that loop
BENTOML = ("bentoml==1.4.40", *_MODEL)
PLOOMBER = ("ploomber==0.23.3", "ipykernel", *_OURS)
_HOME = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "caderno-bench"


def peers() -> Path | None:
    """Return the folder with the commands of Snakemake and DVC; None where they can't be had."""
    return _installed("peers", PINNED, "dvc")


def ploomber() -> Path | None:
    """Return the folder with Ploomber's command, which runs notebooks in its own environment; None as above."""
    return _installed("ploomber", PLOOMBER, "ploomber")


def mlserver() -> Path | None:
    """Return the folder with MLServer's command and what loads the model; None as above."""
    return _installed("mlserver", MLSERVER, "mlserver")


def bentoml() -> Path | None:
    """Return the folder with BentoML's command and what loads the model; None as above."""
    return _installed("bentoml", BENTOML, "bentoml")


def _installed(name: str, packages: tuple[str, ...], command: str) -> Path | None:
    """Return the folder with commands of packages, installing these once."""
    binaries = _HOME / name / "bin"
    if not (binaries / command).exists():
        print(f"setting up {', '.join(packages)} in {_HOME}: minutes, once", file=sys.stderr)
        venv.create(_HOME / name, with_pip=True)
        done = subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", *packages])
        if done.returncode:
            print(f"{command} can't be installed here: measured without it", file=sys.stderr)
            return None
    return binaries


def make_done(folder: Path, count: int) -> None:
    """Make a Makefile whose `count` targets are newer than what they are made from."""
    targets = _files(folder, count)
    (folder / "Makefile").write_text(f"all: {targets}\nmade/%.txt: source.csv\n\tfalse\n")


def snakemake_done(folder: Path, count: int) -> None:
    """Make a Snakefile whose `count` targets are newer than what they are made from."""
    _files(folder, count)
    (folder / "Snakefile").write_text(
        f"rule all:\n    input: expand('made/{{n}}.txt', n=range(1, {count + 1}))\n"
        "rule one:\n    input: 'source.csv'\n    output: 'made/{n}.txt'\n    shell: 'false'\n"
    )


def dvc_done(folder: Path, count: int, binaries: Path) -> None:
    """Make a DVC project of `count` stages whose outputs were committed as they are."""
    _files(folder, count)
    numbers = ", ".join(str(n) for n in range(1, count + 1))
    (folder / "dvc.yaml").write_text(
        f"stages:\n  one:\n    foreach: [{numbers}]\n    do:\n      cmd: 'false'\n      deps: [source.csv]\n"
        "      outs: [{'made/${item}.txt': {cache: false}}]\n"
    )
    for words in (["init", "--no-scm", "--quiet"], ["commit", "--force", "--quiet"]):
        subprocess.run([binaries / "dvc", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _files(folder: Path, count: int) -> str:
    (folder / "made").mkdir(parents=True)
    (folder / "source.csv").write_text("a,b\n1,2\n")
    os.utime(folder / "source.csv", (1_380_000_000, 1_380_000_000))
    for n in range(1, count + 1):
        (folder / f"made/{n}.txt").write_text(f"{n}\n")
    return " ".join(f"made/{n}.txt" for n in range(1, count + 1))


def ploomber_sweep(folder: Path, notebook: Path, name: str, values: list[int], product: str) -> None:
    """Make a Ploomber pipeline that runs a notebook once for each value of a parameter, two at a time."""
    content = nbformat.read(notebook, as_version=4)
    content.cells[1].source += f"\nupstream = None\nproduct = None\n{product} = ''"
    content.cells[2].source += f"\n{product} = product['{product}']"
    folder.mkdir()
    nbformat.write(content, folder / "task.ipynb")
    (folder / "pipeline.yaml").write_text(
        "executor: {dotted_path: ploomber.executors.Parallel, processes: 2}\n"
        "tasks:\n"
        f"  - source: task.ipynb\n    name: task-[[{name}]]\n    grid: {{{name}: {values}}}\n"
        f"    product: {{nb: 'out/[[{name}]].ipynb', {product}: 'out/[[{name}]].txt'}}\n"
    )


def dvc_sweep(folder: Path, binaries: Path, name: str, values: list[int], command: str) -> None:
    """Make a DVC project that runs `command`, with a value in place of N, once for each value."""
    listed = ", ".join(map(str, values))
    (folder / "dvc.yaml").write_text(
        f"stages:\n  one:\n    foreach: [{listed}]\n    do:\n      cmd: {command.replace('N', '${item}')}\n"
        "      outs: [{'out/${item}.txt': {cache: false}}]\n"
    )
    subprocess.run([binaries / "dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
