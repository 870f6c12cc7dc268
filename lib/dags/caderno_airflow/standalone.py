"""Airflow on this machine, for trying out: `make airflow`. All it keeps is in .airflow/, and SQLite is its database."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

_DAGS = Path(__file__).resolve().parents[1]
_ROOT = _DAGS.parents[1]
_HOST = "127.0.0.1"
_ENDING = 20.0  # seconds that it may take to end
_READY = 180.0  # seconds that the first start may take: it makes the database


def settings(home: Path, port: int, reports_port: int) -> dict[str, str]:
    """Return the environment variables of such an Airflow."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": f"http://{_HOST}:{port}",
        "AIRFLOW__API__HOST": _HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__DAGS_FOLDER": str(_DAGS),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{_HOST}:{port}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": str(max(2, os.cpu_count() or 2)),
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "CADERNO_REPORTS_URL": f"http://{_HOST}:{reports_port}",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def main() -> int:
    """Start it, say where it is and how to log in, and end it at Ctrl-C."""
    port = int(os.environ.get("AIRFLOW_PORT", "8080"))
    home = _ROOT / ".airflow/home"
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(settings(home, port, port + 1))
    serve = [sys.executable, "-m", "http.server", "--bind", _HOST, "--directory", str(_ROOT / "reports"), str(port + 1)]
    log = home / "standalone.log"
    for number in (signal.SIGINT, signal.SIGTERM):  # explicitly: in the background of a script they may be ignored
        signal.signal(number, signal.default_int_handler)
    with log.open("w") as out, Path(os.devnull).open("w") as nowhere:
        started = [
            subprocess.Popen(command, stdout=to, stderr=to, start_new_session=True)
            for command, to in (([sys.executable, "-m", "airflow", "standalone"], out), (serve, nowhere))
        ]
        try:
            print("starting Airflow: half a minute", flush=True)
            if not _ready(started[0], f"http://{_HOST}:{port}/api/v2/monitor/health"):
                print(f"it did not start; {log} says why", file=sys.stderr)
                return 1
            print(f"http://{_HOST}:{port}/  {_login(home)}\nDAGs are paused until you say otherwise; Ctrl-C ends it")
            return started[0].wait()
        except KeyboardInterrupt:
            return 0
        finally:
            for process in started:
                _end(process)


def _ready(airflow: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until the API answers; False where Airflow ended, or takes too long."""
    until = time.monotonic() + _READY
    while airflow.poll() is None and time.monotonic() < until:
        try:
            with urlopen(address, timeout=5) as answer:  # noqa: S310  # http, on this machine
                return bool(answer.status == 200)
        except (URLError, OSError):
            time.sleep(1)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process with what it started."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ENDING)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _login(home: Path) -> str:
    """Return the name and the password that Airflow made up at its first start."""
    try:
        known = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())
    except (OSError, ValueError):
        return ""
    return ", ".join(f"name {name}, password {password}" for name, password in known.items())


if __name__ == "__main__":
    raise SystemExit(main())
