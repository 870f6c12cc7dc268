"""The command line in a checkout of the worked example, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment(project: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "CADERNO_"))}
    return kept | {"PYTHONPATH": str(project / "lib")}


def caderno(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "caderno.cli", *arguments]
    return subprocess.run(command, cwd=project, env=environment(project), capture_output=True, text=True)
