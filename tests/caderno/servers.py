"""A real `mlflow server`, which tests stop, start again and slow down."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from mlflow import MlflowClient
from workshop import until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server with a store in `folder`, artifacts included."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.uri = f"http://127.0.0.1:{self._port}"

    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        folder = self._folder
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "art")),
        ]
        env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | {
            **self._settings,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
            )
        until(self._answers, 90, "the server does not answer")

    def stop(self) -> None:
        """Kill it and its workers."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            with urlopen(f"{self.uri}/health", timeout=1) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            return False
