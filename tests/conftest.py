"""What holds for every test: it starts from a clean environment and leaves one behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_OURS = ("MLFLOW_", "CADERNO_")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where all that tests need is installed (CADERNO_NO_SKIP), a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CADERNO_NO_SKIP") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def clean_environment() -> Iterator[None]:
    """Take MLflow's and Caderno's variables away, and put the environment and the working directory back after."""
    before, folder = dict(os.environ), Path.cwd()
    for name in [name for name in before if name.startswith(_OURS)]:
        del os.environ[name]
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if not Path("/sys/devices").exists():
        os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # joblib asks /sys for the cores, and warns where it is not mounted
    yield
    for name in [name for name in os.environ if name not in before and name != "PYTEST_CURRENT_TEST"]:
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if name != "PYTEST_CURRENT_TEST"})
    os.chdir(folder)
