"""What holds for every test: it starts from a clean environment and leaves one behind."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).parent))

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
_OURS = ("MLFLOW_", "CADERNO_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files first whose tests take long, so that at the end no worker waits for the last one."""
    slowest = ("long", "e2e", "slow", "kernel", "browser")
    ranks: dict[Path, int] = {}
    for item in items:
        marked = [place for place, name in enumerate(slowest) if item.get_closest_marker(name)]
        rank = min(marked, default=len(slowest))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no Chromium here; Debian: apt install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()
