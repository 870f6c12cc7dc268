"""A small project with a schedule, and Airflow in its own environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "caderno")]
from dagsite import AIRFLOW, DECLARED, HEAD, ROOT, TASKS, Site  # noqa: E402
from workshop import Workshop, text  # noqa: E402


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Airflow's Python, and a home with a fresh database."""
    python = AIRFLOW / "bin/python"
    if not python.exists():
        pytest.skip(f"no Airflow in {AIRFLOW}: make test-airflow installs it")
    home = tmp_path_factory.mktemp("airflow")
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    subprocess.run([str(AIRFLOW / "bin/airflow"), "db", "migrate"], env=environment, capture_output=True, check=True)
    return python, home


@pytest.fixture
def site(airflow: tuple[Path, Path], tmp_path: Path) -> Site:
    """A small project with a schedule."""
    shop = Workshop(tmp_path / "project", {"GIT_CONFIG_GLOBAL": "/dev/null", "MLFLOW_DISABLE_TELEMETRY": "true"})
    shop.notebook(
        "fetch.ipynb",
        f"day: str = 'none'\nmade: str = ''\n{DECLARED}",
        text("# Fetch\n\nWhat was known that day?"),
        "open(made, 'w').write(f'{day} {seed} {word}').bit_length()",
    )
    shop.notebook(
        "square.ipynb",
        "n: int = 1\nsource: str = ''\nmade: str = ''",
        "import pathlib",
        "pathlib.Path(made).write_text(str(n * n) + pathlib.Path(source).read_text())",
    )
    shop.notebook(
        "sum.ipynb",
        "parts: list = []\nmade: str = ''",
        "import pathlib",
        "pathlib.Path(made).write_text(' '.join(pathlib.Path(part).read_text() for part in parts))",
    )
    shop.pipeline(TASKS, HEAD)
    shop.write("params/profiles/quick.yaml", "tasks: {square: {matrix: {n: [5]}}}\n")
    shutil.copytree(ROOT / "lib/dags", shop.root / "lib/dags", ignore=shutil.ignore_patterns("__pycache__"))
    return Site(shop, airflow[1], airflow[0])
