"""Small projects in temporary folders."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from deliveries import delivered, postgres, prepared  # noqa: F401 - fixtures
from servers import Server
from workshop import NewShop, Workshop


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that keep tools away from the settings of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    return {"HOME": str(home), "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


@pytest.fixture
def shop(tmp_path: Path, settings: dict[str, str]) -> Workshop:
    """An empty project in a folder whose name has a space."""
    return _made(tmp_path, settings)


@pytest.fixture(scope="session")
def new_shop(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> NewShop:
    """Makes empty projects for the fixtures of a module, which its tests share since a run is dear."""
    return lambda: _made(tmp_path_factory.mktemp("shop"), settings)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[Server]:
    """A running MLflow server."""
    found = Server(tmp_path_factory.mktemp("server"), settings)
    found.start()
    yield found
    found.stop()


def _made(folder: Path, settings: dict[str, str]) -> Workshop:
    root = folder / "tiny project"
    for name in ("notebooks", "params", "lib"):
        (root / name).mkdir(parents=True)
    return Workshop(root.resolve(), settings)
