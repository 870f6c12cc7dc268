"""Kills at random moments, full disks, clocks that jump: afterwards the store is whole and the next run goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from workshop import Done, Workshop, ended, until

from caderno.plan import digests
from caderno.plan.store import LATEST, NOTEBOOK, PAGE, RECORD, read_record

pytestmark = pytest.mark.kernel

MARK = "TINY_PROJECT"
MAKE = """
from pathlib import Path
import mlflow
for step in range(20):
    mlflow.log_metric("step", step)
Path(made).write_text(f"{n} " * 2000)
"""
JOIN = "from pathlib import Path\nPath(made).write_text('|'.join(Path(one).read_text()[:1] for one in parts))"
TASKS = """
part: {notebook: part.ipynb, matrix: {n: [1, 2, 3]}, outputs: {made: made.txt}}
join: {notebook: join.ipynb, inputs: {parts: part.made}, outputs: {made: made.txt}}
"""


def project(shop: Workshop) -> None:
    shop.notebook("part.ipynb", "n: int = 1\nmade: str = ''", MAKE)
    shop.notebook("join.ipynb", "parts: list[str] = []\nmade: str = ''", JOIN)
    shop.pipeline(TASKS)


def processes(shop: Workshop) -> dict[str, list[psutil.Process]]:
    """Return the living processes of this project by what they are."""
    found: dict[str, list[psutil.Process]] = {"engine": [], "parent": [], "kernel": []}
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) != str(shop.root) or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = " ".join(process.cmdline())
            kind = "kernel" if process.name() == "caderno-kernel" else "parent" if "run.parent" in words else "engine"
            found[kind].append(process)
        except psutil.Error:
            continue
    return found


def forget_mlflow(shop: Workshop) -> None:
    for path in shop.root.glob("mlflow.db*"):
        path.unlink()


def whole(shop: Workshop) -> int:
    """Assert that whatever stands in the place of a result is one; return how many there are."""
    count = 0
    for home in shop.store.homes():
        for place in shop.store.results(home):
            record = read_record(place)
            assert record, f"{place} has no record"
            assert record.state == "succeeded"
            assert record.fingerprint.startswith(place.name)
            for output in record.outputs.values():
                assert digests.of_path(place / output.path) == (output.digest, output.size)
            assert {NOTEBOOK, PAGE, RECORD} <= {path.name for path in place.iterdir()}
            count += 1
        link = home / LATEST
        assert not link.is_symlink() or link.exists(), f"{link} leads nowhere"
    return count


def right_after(shop: Workshop) -> Done:
    """Assert that the next run does what is missing, and leaves nothing."""
    done = shop.caderno("run")
    assert done.code == 0, done.out
    assert set(shop.run_states().values()) <= {"succeeded", "cached"}
    assert (shop.result("join") / "made.txt").read_text() == "1|2|3"
    assert not list(shop.store.home("").rglob("*.part")), "a half-made result is left"
    assert "RUNNING" not in {run.info.status for run in shop.mlflow_runs()}
    assert not any(processes(shop).values())
    return done


@pytest.mark.slow
@pytest.mark.parametrize("target", ["engine", "kernel", "parent", "all"])
def test_killed_at_random_moments_nothing_is_torn_and_the_next_run_goes_on(shop: Workshop, target: str) -> None:
    """8 moments of each kind, spread over a run; what was killed is always something that lived."""
    project(shop)
    began = time.monotonic()
    assert shop.caderno("run").code == 0
    length, drawn = time.monotonic() - began, random.Random(target)
    for kill in range(8):
        shutil.rmtree(shop.store.home(""))
        if kill % 2:  # MLflow's store is made anew, too
            forget_mlflow(shop)
        run = shop.start("run", "--jobs", "2", env={MARK: str(shop.root)})
        moment = time.monotonic() + drawn.uniform(0, length)
        victims: list[psutil.Process] = []
        while run.poll() is None and not (victims and time.monotonic() >= moment):
            alive = processes(shop)
            victims = [*chain(*alive.values())] if target == "all" else alive[target]
            time.sleep(0.01 if time.monotonic() >= moment else 0.1)  # looking at all processes is work
        for victim in victims:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                continue
        done = ended(run, 60)
        until(lambda: not any(processes(shop).values()), 5, "something is left running")
        whole(shop)
        assert "Traceback (most recent call last):\n  File" not in done
        if target in ("engine", "all"):
            assert done.code in (-signal.SIGKILL, 0), done.out
        else:
            assert done.code in (0, 1), done.out
            states = shop.run_states()
            assert (done.code == 0) == (set(states.values()) <= {"succeeded", "cached"}), (kill, states)
            assert "RUNNING" not in {run.info.status for run in shop.mlflow_runs()}
        right_after(shop)


OPENS = """
import os, sys
from pathlib import Path
from caderno.project import Project
from caderno.run.context import RUN_TAG
from caderno.run.ledger import Ledger
from caderno.run.tracking import Tracking
opened = Tracking.start
Tracking.start = lambda *args: opened(*args) and os._exit(9)
ledger = Ledger(Project(Path.cwd()), "another", "lost", print)
ledger.start("another lost", {RUN_TAG: "lost"}, Path("nowhere"))
"""


@pytest.mark.slow
def test_a_run_that_was_opened_as_its_engine_died_is_ended_by_the_next(shop: Workshop) -> None:
    """MLflow knows it, the journal does not yet."""
    project(shop)
    command = [sys.executable, "-c", OPENS]
    assert subprocess.run(command, cwd=shop.root, env=shop.environment(), check=False).returncode == 9
    client = shop.client()
    [lost] = client.search_runs([client.get_experiment_by_name("another").experiment_id])
    assert lost.info.status == "RUNNING"
    right_after(shop)
    assert client.get_run(lost.info.run_id).info.status == "KILLED"


FIRST = """
import os, sys
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from caderno.project import Project
from caderno.run.tracking import Tracking
failed = 0
for attempt in range(10):
    root = Path(sys.argv[1], str(attempt))
    root.mkdir()
    read, write = os.pipe()
    for _ in range(8):
        if os.fork() == 0:
            os.close(write)
            os.read(read, 1)  # all at the same moment, when the pipe is closed
            Tracking(Project(root), "tiny").start("one", {})
            os._exit(0)
    os.close(read)
    os.close(write)
    failed += sum(os.waitstatus_to_exitcode(os.wait()[1]) != 0 for _ in range(8))
print(failed)
"""


@pytest.mark.slow
def test_mlflows_store_made_by_eight_processes_at_once_is_whole(shop: Workshop, tmp_path: Path) -> None:
    """80 beginnings, eight at a time, each on no store."""
    command = [sys.executable, "-c", FIRST, str(tmp_path)]
    done = subprocess.run(command, env=shop.environment(), capture_output=True, text=True, check=False)
    assert done.stdout == "0\n", done.stderr
    for attempt in range(10):
        client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / str(attempt) / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("tiny")
        assert experiment
        assert len(client.search_runs([experiment.experiment_id])) == 8


# A disk that fills.


@pytest.fixture
def small_disk(tmp_path: Path, settings: dict[str, str]) -> Iterator[Workshop]:
    """A project on a disk of 24 MB; its MLflow store is there too."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounts a small disk: needs root on Linux")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(disk)], check=False).returncode:
        pytest.skip("mounts a small disk, which is not admitted here")
    try:
        shop = Workshop(disk / "tiny project", settings)
        for name in ("notebooks", "params", "lib"):
            (shop.root / name).mkdir(parents=True)
        project(shop)
        yield shop
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def leave(shop: Workshop, free: int) -> None:
    """Fill the disk until `free` bytes are left."""
    ballast = shop.root / "ballast"
    ballast.unlink(missing_ok=True)
    room = shutil.disk_usage(shop.root).free - free
    with ballast.open("wb") as file:
        while room > 0:
            file.write(b"\0" * min(room, 1 << 20))
            room -= 1 << 20


FREE = (0, 1300, 2400, 4500)  # kB: from the first lock to MLflow's last files


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_stage_tears_nothing(small_disk: Workshop) -> None:
    shop = small_disk
    codes = {}
    for fresh in (True, False):  # with MLflow's store to be made, and with one that is there
        for free in FREE:
            shutil.rmtree(shop.root / "data", ignore_errors=True)
            shutil.rmtree(shop.root / "reports", ignore_errors=True)
            if fresh:
                forget_mlflow(shop)
            leave(shop, free * 1000)
            done = shop.caderno("run")
            codes[fresh, free] = done.code
            assert done.code in (0, 1, 2), done.out
            assert "Traceback" not in done, done.out
            told = done.out.replace("\n", " ")
            assert done.code == 0 or "No space left" in told or "disk is full" in told, done.out
            whole(shop)
            (shop.root / "ballast").unlink()
            right_after(shop)
    assert codes[True, FREE[0]] == codes[False, FREE[0]] == 2, codes
    assert codes[True, FREE[-1]] == codes[False, FREE[-1]] == 0, codes


@pytest.mark.slow
def test_a_cell_that_fills_the_disk_fails_with_its_reason(small_disk: Workshop) -> None:
    small_disk.notebook(
        "part.ipynb", "n: int = 1\nmade: str = ''", "with open(made, 'wb') as f:\n    f.write(b'0' * 30_000_000)"
    )
    done = small_disk.caderno("run", "--jobs", "1", "part[n=1]")
    assert done.code == 1
    assert "OSError: [Errno 28] No space left on device" in done
    whole(small_disk)
    project(small_disk)
    right_after(small_disk)


# A clock that jumps.

CLOCK = """
import datetime, os, time
jump = float(os.environ["JUMP"])  # seconds, from the second half of a run on
asked = 0
real = time.time
def jumping():
    global asked
    asked += 1
    return real() + (jump if asked > 20 or "ALWAYS" in os.environ else 0)
time.time = jumping
import caderno.events
caderno.events.now = lambda: datetime.datetime.fromtimestamp(jumping(), datetime.UTC)
"""


@pytest.mark.slow
@pytest.mark.parametrize("jump", [-86_400, 86_400])
def test_a_clock_that_jumps_while_a_run_is_on_confuses_nothing(shop: Workshop, jump: int) -> None:
    project(shop)
    shop.write("clock/sitecustomize.py", CLOCK)
    env = {"PYTHONPATH": str(shop.root / "clock"), "JUMP": str(jump)}
    done = shop.caderno("run", env=env)
    assert done.code == 0, done.out
    for task in ("part[n=1]", "join"):
        record = shop.record(task)
        assert 0 < record.seconds < 100
        assert all(0 <= cell.seconds < 100 for cell in record.cells)
    assert 0 < shop.last_run().seconds < 100
    assert {*shop.states().values()} == {"cached"}


@pytest.mark.slow
def test_after_the_clock_was_set_back_the_last_run_is_still_the_last(shop: Workshop) -> None:
    project(shop)
    shop.write("clock/sitecustomize.py", CLOCK)
    ahead = {"PYTHONPATH": str(shop.root / "clock"), "JUMP": "86400", "ALWAYS": "1"}
    assert shop.caderno("run", env=ahead).code == 0
    before = shop.last_run().run
    shop.notebook("join.ipynb", "parts: list[str] = []\nmade: str = ''", JOIN, "more = 1")
    assert shop.caderno("run").code == 0
    assert shop.last_run().run != before
    assert "more = 1" in (shop.result("join") / "notebook.ipynb").read_text()
    assert {*shop.states().values()} == {"cached"}


# What a cell may do.

FLOOD = "import sys\nfor _ in range(50):\n    sys.stdout.write('x' * 999_999 + '\\n')"


@pytest.mark.slow
def test_fifty_megabytes_of_print_are_kept_whole_and_harm_nothing(shop: Workshop) -> None:
    shop.notebook("flood.ipynb", None, FLOOD, "after = 1")
    shop.pipeline("flood: {notebook: flood.ipynb}")
    done = shop.caderno("run")
    assert done.code == 0, done.out
    place = shop.result("flood")
    assert 50_000_000 < (place / "notebook.ipynb").stat().st_size < 51_000_000
    assert (place / "report.html").stat().st_size < 5_000_000
    assert len(done.out) < 2000


@pytest.mark.slow
def test_a_cell_that_gets_no_more_memory_fails_and_says_so(shop: Workshop) -> None:
    """Of the system, which refuses: `memory:` has its own tests."""
    cap = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))"
    shop.notebook("greedy.ipynb", None, cap, "held = bytearray(8 << 30)", "after = 1")
    shop.pipeline("greedy: {notebook: greedy.ipynb}")
    done = shop.caderno("run")
    assert done.code == 1
    failure = shop.record("greedy").failure
    assert failure
    assert (failure.kind, failure.number) == ("MemoryError", 2)


def test_a_closed_terminal_ends_a_run_in_order(shop: Workshop) -> None:
    """The terminal's end is a SIGHUP, and nobody to write to any more."""
    import pty

    project(shop)
    shop.notebook("part.ipynb", "n: int = 1\nmade: str = ''", "open('../begun', 'w')\nimport time; time.sleep(100)")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(shop.root)
        env = {**shop.environment(), MARK: str(shop.root)}
        os.execve(sys.executable, [sys.executable, "-m", "caderno.cli", "run"], env)
    until(lambda: (shop.root / "begun").exists(), what="the cell did not start")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert not any(processes(shop).values())
    assert shop.last_run().state == "killed"
    assert "RUNNING" not in {run.info.status for run in shop.mlflow_runs()}


@pytest.mark.parametrize("kind", ["warm", pytest.param("cold", marks=pytest.mark.slow)])
def test_a_second_ctrl_c_does_not_wait_for_the_grace(shop: Workshop, kind: str) -> None:
    stubborn = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nopen('../begun', 'w')\ntime.sleep(100)"
    )
    shop.notebook("one.ipynb", None, stubborn)
    shop.pipeline("one: {notebook: one.ipynb}")
    shop = replace(shop, variables={**shop.variables, "CADERNO_KERNELS": kind})
    run = shop.start("run", env={MARK: str(shop.root)})
    until(lambda: (shop.root / "begun").exists(), what="the cell did not start")
    run.send_signal(signal.SIGINT)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert ended(run, 30).code == 130
    assert time.monotonic() - began < 8  # the grace is 10
    assert not any(processes(shop).values())
    assert shop.last_run().state == "killed"
