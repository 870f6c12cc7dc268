"""The engine as Airflow's tasks call it: real processes, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from caderno.report import text
from caderno.run.feed import schema
from caderno_airflow import engine
from caderno_airflow.engine import Engine, EngineMissing, Event

FOLDER = Path(engine.__file__).parent
KEEPER = FOLDER / "keeper.py"


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pids(file: Path, count: int) -> list[int]:
    until(lambda: file.exists() and len(file.read_text().split()) >= count)
    return [int(word) for word in file.read_text().split()]


STUBBORN = """
import os, signal, subprocess, sys, time
note = open(sys.argv[1], "a")
def tell(*pids): print(*pids, file=note, flush=True)
signal.signal(signal.SIGTERM, {handler})
daemon = "import os, time; os.setsid(); os.fork() and os._exit(0); print(os.getpid(), flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", daemon], stdout=subprocess.PIPE, text=True)
tell(os.getpid(), int(child.stdout.readline()))
time.sleep(600)
"""


def script(folder: Path, body: str) -> list[str]:
    path = folder / "command.py"
    path.write_text(body)
    return [sys.executable, str(path)]


@pytest.fixture
def called(tmp_path: Path) -> Callable[..., engine.Ended]:
    """Call a Python script in place of the engine; returns how it ended."""

    def call(body: str, *words: str, told: list[Event] | None = None, said: list[str] | None = None) -> engine.Ended:
        os.environ["CADERNO_COMMAND"] = " ".join(script(tmp_path, body))
        return Engine(tmp_path).call(
            words, ([] if told is None else told).append, ([] if said is None else said).append
        )

    return call


def test_events_come_as_they_happen_and_other_lines_apart(called: Callable[..., engine.Ended]) -> None:
    told: list[Event] = []
    said: list[str] = []
    ended = called(
        """
import sys
print('{"event":"run_warned","run":"r","message":"so"}', flush=True)
print("noise", flush=True)
print('{"event": broken', flush=True)
print("error: it is wrong", file=sys.stderr)
sys.exit(2)
""",
        told=told,
        said=said,
    )
    assert (ended.code, ended.why, said) == (2, "error: it is wrong", ["error: it is wrong"])
    assert [event["message"] for event in told] == ["so"]
    assert ended.out == 'noise\n{"event": broken\n'


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_the_exit_code_is_the_engines(called: Callable[..., engine.Ended], code: int) -> None:
    assert called(f"raise SystemExit({code})").code == code


def test_a_command_that_a_signal_ended_has_its_number(called: Callable[..., engine.Ended]) -> None:
    assert called("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").code == 128 + signal.SIGKILL


def test_a_command_that_does_not_exist_is_said(tmp_path: Path) -> None:
    os.environ["CADERNO_COMMAND"] = "/no/such/caderno --loud"
    ended = Engine(tmp_path).call([], lambda event: None, lambda line: None)
    assert (ended.code, ended.why) == (engine.NOT_RUN, "/no/such/caderno can't be run: No such file or directory")


def test_what_is_airflows_is_not_handed_on(called: Callable[..., engine.Ended]) -> None:
    os.environ |= {"AIRFLOW__CORE__FERNET_KEY": "secret", "_AIRFLOW_X": "1", "PYTHONPATH": "/nowhere", "REGION": "eu"}
    out = called("import os, json; print(json.dumps(dict(os.environ)))").out
    found = json.loads(out)
    assert not [name for name in found if "AIRFLOW" in name or name == "PYTHONPATH"]
    assert found["REGION"] == "eu"


def test_a_missing_engine_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match=r"\.venv/bin/caderno: set the project up there \(make run\)"):
        Engine(tmp_path).call([], lambda event: None, lambda line: None)


def test_the_project_is_where_the_dags_are_unless_another_is_named(tmp_path: Path) -> None:
    assert engine.project_of(tmp_path / "lib/dags") == tmp_path
    os.environ["CADERNO_PROJECT"] = "/srv/project"
    assert engine.project_of(tmp_path / "lib/dags") == Path("/srv/project")


def test_a_stopped_call_ends_everything_below_it(tmp_path: Path) -> None:
    os.environ["CADERNO_COMMAND"] = " ".join(script(tmp_path, STUBBORN.format(handler="lambda *_: sys.exit(143)")))
    running = Engine(tmp_path)
    codes: list[int] = []
    thread = threading.Thread(
        target=lambda: codes.append(running.call([str(tmp_path / "pids")], lambda event: None, lambda line: None).code)
    )
    thread.start()
    found = pids(tmp_path / "pids", 2)
    running.stop()
    thread.join(20)
    assert codes == [143]
    until(lambda: not any(map(alive, found)), 5)


def keeper(folder: Path, handler: str, keeping: str = "") -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start a process that starts the keeper with a command; return it, and the pids of keeper, command and daemon."""
    command = script(folder, STUBBORN.format(handler=handler))
    source = KEEPER.read_text().replace("GRACE = 12.0", "GRACE = 1.0").replace("LAST = 5.0", "LAST = 1.0")
    (folder / "keeper.py").write_text(source)
    outer = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-I', sys.argv[1], str(os.getpid()), *sys.argv[2:]],"
        " start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    line = [sys.executable, "-c", outer, str(folder / "keeper.py"), *command, str(folder / "pids")]
    process = subprocess.Popen(line, stdout=subprocess.PIPE)
    assert process.stdout
    with process.stdout:
        first = int(process.stdout.readline())
    return process, [first, *pids(folder / "pids", 2)]


def test_a_task_that_is_killed_takes_keeper_engine_and_daemons_with_it(tmp_path: Path) -> None:
    process, found = keeper(tmp_path, "lambda *_: sys.exit(143)")
    assert all(map(alive, found))
    process.kill()
    process.wait()
    until(lambda: not any(map(alive, found)))


def test_an_engine_that_does_not_end_is_asked_again_and_then_killed(tmp_path: Path) -> None:
    process, found = keeper(tmp_path, "lambda *_: tell(0)")
    os.kill(found[0], signal.SIGTERM)
    until(lambda: not any(map(alive, found)))
    assert (tmp_path / "pids").read_text().split()[2:] == ["0", "0"]  # asked twice
    process.kill()
    process.wait()


def test_a_killed_keeper_has_the_engine_end_in_order(tmp_path: Path) -> None:
    process, found = keeper(tmp_path, "lambda *_: (tell(0), sys.exit(143))")
    os.kill(found[0], signal.SIGKILL)
    until(lambda: not alive(found[1]))
    assert (tmp_path / "pids").read_text().split()[2:] == ["0"]
    os.kill(found[2], signal.SIGKILL)  # nobody is left to do it
    process.kill()
    process.wait()


def test_every_kind_of_event_has_a_line() -> None:
    values = {
        "string": "text",
        "integer": 3,
        "number": 1.5,
        "array": ["a"],
        "object": {"succeeded": 2},
        "boolean": True,
    }
    for kind in schema()["oneOf"]:
        event = {"event": kind["title"]}
        for name, shape in kind["properties"].items():
            options = shape.get("anyOf", [shape])
            types = options[0].get("type", "string")
            event.setdefault(name, values[types if isinstance(types, str) else types[0]])
        level, line = engine.told(event)
        assert level in ("info", "warning", "error")
        assert line.strip()


def test_an_event_of_a_kind_that_is_not_known_is_told_too() -> None:
    line = engine.told({"event": "task_fetched", "run": "r", "time": "t", "task": "a", "bytes": 12})
    assert line == ("info", "a: task_fetched bytes 12")


def test_a_failure_shows_where_and_how() -> None:
    event = {
        "event": "task_failed",
        "task": "a",
        "error": "ValueError: no",
        "notebook": "a.ipynb",
        "cell": 3,
        "source": "x = 1\n",
        "traceback": "Traceback …",
    }
    assert engine.told(event) == ("error", "a: ValueError: no (a.ipynb, cell 3)\nx = 1\nTraceback …")


def test_results_say_what_was_computed_and_what_reused() -> None:
    events: list[Event] = [
        {"event": "task_cached", "task": "up", "fingerprint": "f" * 64, "mlflow_run": "1"},
        {"event": "task_cached", "task": "train[model=a b]", "fingerprint": "a" * 64, "mlflow_run": "2"},
        {
            "event": "task_finished",
            "task": "train[model=c]",
            "fingerprint": "b" * 64,
            "mlflow_run": "3",
            "seconds": 2.0,
        },
    ]
    one, two = engine.results(events, "train", "p")
    assert (one["state"], one["mlflow_run"], two["state"], two["seconds"]) == ("reused", "2", "computed", 2.0)
    assert engine.results(events, "train[model=c]", "p") == [two]
    assert two["report"] == f"reports/p/train.model=c.{'b' * 16}.html"


@pytest.mark.parametrize(
    "task", ["a", "train[model=forest]", "train[model=a b,fold=2]", "t[x=é]", "t[x=" + "y" * 200 + "]"]
)
@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_pages_are_named_as_the_engine_names_them(task: str, state: str) -> None:
    assert engine.page_name(task, "0123456789abcdef" * 4, state) == text.result_name(
        task, "0123456789abcdef" * 4, state
    )
