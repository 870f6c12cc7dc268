"""One Airflow for all tests of this folder, with two machines and an MLflow server that both reach."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests/caderno")]
import small  # noqa: E402
from remotes import S3  # noqa: E402
from rig import Rig  # noqa: E402
from servers import Server  # noqa: E402
from together import TOLD, Digests, Local, Site  # noqa: E402
from workshop import PIPELINE, Workshop  # noqa: E402

AIRFLOW = Path(os.environ.get("CADERNO_AIRFLOW", ROOT / ".airflow/venv"))


@pytest.fixture(scope="session")
def airflow() -> Path:
    """Airflow's own environment."""
    if not (AIRFLOW / "bin/airflow").exists():
        pytest.skip(f"no Airflow in {AIRFLOW}: make test-airflow installs it")
    return AIRFLOW


@pytest.fixture(scope="session")
def site(airflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running Airflow with the machines m1 and m2."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("central", "mlflow", "tally", "store", "origin"):
        (folder / name).mkdir()
    settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    origin = Workshop(folder / "origin", settings)
    with ExitStack() as stack:
        bucket = S3(folder)
        stack.callback(bucket.stop)
        bucket.start()
        small.make(origin, ROOT / "lib/dags", folder / "store", bucket.url)
        server = Server(folder / "mlflow", settings)
        stack.callback(server.stop)
        server.start()
        rig = Rig(folder / "central", airflow, origin.root / "lib/dags")
        stack.callback(rig.stop)
        machines = {name: small.clone(origin, folder / name) for name in ("m1", "m2")}
        for name, shop in machines.items():
            rig.machine(
                name,
                shop.root,
                **settings,
                TALLY=str(folder / "tally"),
                MLFLOW_TRACKING_URI=server.uri,
                MLFLOW_DISABLE_TELEMETRY="true",
                **bucket.variables,
            )
        rig.start()
        rig.knows(PIPELINE)
        for name in ("pair", "model", "model.approval"):
            rig.knows(name)
        yield Site(rig, origin, machines, small.Tally(folder / "tally"), server, folder / "store", bucket)


@pytest.fixture(scope="session")
def local(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Local:
    """Runs days one by one in a clone that knows neither Airflow nor a remote; returns the digests of all outputs."""
    folder = tmp_path_factory.mktemp("local")
    shop = small.clone(site.origin, folder, TALLY=str(folder), CADERNO_REMOTE="")

    def run(*days: str) -> Digests:
        for day in days:
            done = shop.caderno("run", "--day", day)
            assert done.code == 0, done.out
        return small.digests(shop)

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell which task ran on which machine, and when."""
    if TOLD:
        terminalreporter.section("what ran where")
        terminalreporter.write("\n\n".join(TOLD) + "\n")
