"""The engine as a process: how it is called, what it tells, and what its exit code means.

Nothing here knows Airflow.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

Event = Mapping[str, Any]
Level = str  # of a line in the log: info, warning, error

WRONG_INPUT, GATE, NOT_RUN = 2, 3, 127  # exit codes after which trying again changes nothing
_TAIL = 20  # lines of the standard error that an exception shows
_REMOTE_WAIT = "15m"
_ENDING = 30.0  # seconds that a stopped engine may take: the keeper's graces, and some
_NOT_PASSED = re.compile(r"^_*AIRFLOW|^VIRTUAL_ENV$|^PYTHON(PATH|HOME)$")
_KEEPER = Path(__file__).with_name("keeper.py")


class EngineMissing(Exception):
    """There is no engine to call; the text says what to do."""


@dataclass
class Ended:
    """How a command ended: its exit code, the events that it told, the last lines of its standard error."""

    code: int = -1
    events: list[Event] = field(default_factory=list)
    out: str = ""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))

    @property
    def why(self) -> str:
        """What it said last, as the reason of its end."""
        return "\n".join(self.tail) or f"ended with exit code {self.code}"


def project_of(dags: Path) -> Path:
    """Return the project whose engine runs: CADERNO_PROJECT, else the one that the folder `dags` is in."""
    return Path(os.environ.get("CADERNO_PROJECT") or dags.parents[1])


def command(project: Path) -> list[str]:
    """Return how the engine is called: CADERNO_COMMAND, else the project's own. Raises EngineMissing."""
    if given := os.environ.get("CADERNO_COMMAND"):
        return shlex.split(given)
    own = project / ".venv/bin/caderno"
    if not own.exists():
        raise EngineMissing(
            f"there is no {own}: set the project up there (make run), or name another folder by CADERNO_PROJECT, or "
            "how to call the engine by CADERNO_COMMAND"
        )
    return [str(own)]


def environment() -> dict[str, str]:
    """Return the environment for the engine: this one without what is Airflow's, its secrets above all.

    A remote that does not answer is waited for: what one machine can't send, the next one would compute again.
    """
    own = str(Path(sys.executable).parent)
    path = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder != own]
    kept = {name: value for name, value in os.environ.items() if not _NOT_PASSED.search(name)}
    return {"CADERNO_REMOTE_WAIT": _REMOTE_WAIT, **kept, "PATH": os.pathsep.join(path)}


class Engine:
    """Calls the engine on one project; `stop` ends a call from outside."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._process: subprocess.Popen[str] | None = None

    def call(self, words: Sequence[str], on_event: Callable[[Event], None], say: Callable[[str], None]) -> Ended:
        """Run `caderno WORDS` to its end; each event goes to `on_event`, each other line to `say`.

        Raises EngineMissing where it can't be started.
        """
        line = [sys.executable, "-I", str(_KEEPER), str(os.getpid()), *command(self.project), *words]
        self._process = process = subprocess.Popen(
            line,
            cwd=self.project,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # whoever kills this process with its group leaves the keeper to end the rest
        )
        assert process.stdout
        assert process.stderr
        ended = Ended()
        aside = threading.Thread(target=_listen, args=(process.stderr, ended.tail, say), daemon=True)
        aside.start()
        try:
            kept = []
            for text in process.stdout:
                event = event_in(text)
                if event is None:
                    kept.append(text)
                else:
                    ended.events.append(event)
                    on_event(event)
            ended.out = "".join(kept)
            ended.code = process.wait()
        finally:
            self.stop()
            aside.join(5)  # of what it read last
            process.stdout.close()
        return ended

    def stop(self) -> None:
        """End the call that runs, if one does, with all its processes, and wait for that."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            process.kill()


def _listen(stream: IO[str], tail: deque[str], say: Callable[[str], None]) -> None:
    with stream:
        for text in stream:
            tail.append(text.rstrip("\n"))
            say(text.rstrip("\n"))


def event_in(text: str) -> Event | None:
    """Return the event that a line of `caderno run --json` is; None where it is none."""
    if not text.startswith('{"event":'):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def told(event: Event) -> tuple[Level, str]:
    """Return an event as a line of the log, with its level."""
    task = event.get("task")
    match event["event"]:
        case "run_started":
            count = len(event["tasks"])
            return "info", f"run {event['run']}: {count} task{'s' * (count != 1)}, {event['to_run']} to run"
        case "task_cached":
            return "info", f"{task}: the result {event['fingerprint'][:8]} is there"
        case "task_started":
            return "info", f"{task}: starts, {event['cells']} cells; why: {event['why']}"
        case "cell_finished":
            return (
                "info",
                f"{task}: cell {min(event['cell'], event['cells'])} of {event['cells']}, {event['seconds'] or 0:.1f} s",
            )
        case "task_finished":
            return "info", f"{task}: done in {event['seconds'] or 0:.1f} s, result {event['fingerprint'][:8]}"
        case "task_failed":
            where = f"{event['notebook']}, cell {event['cell']}" if event["cell"] else event["notebook"]
            parts = [f"{task}: {event['error']} ({where})", event["source"], event["traceback"]]
            return "error", "\n".join(part.rstrip() for part in parts if part)
        case "task_skipped":
            return "warning", f"{task}: does not run, {event['why']}"
        case "run_warned":
            return "warning", str(event["message"])
        case "run_finished":
            counts = ", ".join(f"{count} {state}" for state, count in event["counts"].items())
            why = f": {event['error']}" if event["error"] else ""
            return "info", f"run {event['run']}: {event['state']} in {event['seconds'] or 0:.1f} s; {counts}{why}"
        case "model_delivered":
            became = "is the champion now" if event["promoted"] else f"is not promoted ({event['outcome']})"
            why = "; ".join(event["missing"]) or event["why"]
            return "info", f"{event['model']} version {event['version']} {became}: {why}"
    rest = {key: value for key, value in event.items() if key not in ("event", "run", "time", "task")}
    about = ", ".join(f"{key} {value}" for key, value in rest.items())
    return "info", " ".join(part for part in (f"{task}:" if task else "", f"{event['event']}", about) if part)


def results(events: Sequence[Event], target: str, pipeline: str) -> list[dict[str, Any]]:
    """Return what became of `target`, a task of the file or one of its matrix: fingerprint, state, MLflow run, page."""
    states = {"task_cached": "reused", "task_fetched": "reused", "task_finished": "computed", "task_failed": "failed"}
    found = []
    for event in events:
        task = str(event.get("task", ""))
        if event["event"] in states and target in (task, task.partition("[")[0]):
            state = states[event["event"]]
            fingerprint = event["fingerprint"]
            page = f"{file_name(pipeline)}/{page_name(task, fingerprint, state)}" if fingerprint else None
            found.append(
                {
                    "task": task,
                    "state": state,
                    "fingerprint": fingerprint,
                    "mlflow_run": event.get("mlflow_run"),
                    "report": page and f"reports/{page}",
                    "seconds": event.get("seconds", 0.0),
                }
            )
    return found


def page_name(task: str, fingerprint: str, state: str) -> str:
    """Return the name of a result's page in the pipeline's folder of reports/."""
    return f"{file_name(task)}.{fingerprint[:16]}{'.failed' if state == 'failed' else ''}.html"


def file_name(text: str) -> str:
    """Return `text` as the engine writes it in the names of pages."""
    name = re.sub(r"\[|, ?", ".", re.sub(r"\]$", "", text))
    safe = re.sub(r"[^A-Za-z0-9._=-]+|^[.-]+", "_", name)[:120]
    return safe if safe == name else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def missing(plan: str) -> list[dict[str, Any]]:
    """Return the tasks that `caderno plan --json` printed and whose results are neither here nor in the remote."""
    return [task for task in json.loads(plan)["tasks"] if task["state"] not in ("cached", "fetch")]
