"""The tools that Caderno is measured against, in an environment of their own: they are no dependency of the project.

`Peers` installs them once into a cache folder, pinned. Each `…_done` makes a folder in which the tool finds N targets
that are up to date, by the tool's own means and without running N commands.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

PINNED = ("snakemake==9.27.0", "dvc==3.67.1")
_HOME = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "caderno-bench"


def peers() -> Path | None:
    """Return the folder with the peers' commands, installing them if need be; None where they can't be had."""
    binaries = _HOME / "peers" / "bin"
    if not (binaries / "dvc").exists():
        print(f"setting up {', '.join(PINNED)} in {_HOME}: minutes, once", file=sys.stderr)
        venv.create(_HOME / "peers", with_pip=True)
        done = subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", *PINNED])
        if done.returncode:
            print("the peers can't be installed here: measured without them", file=sys.stderr)
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
