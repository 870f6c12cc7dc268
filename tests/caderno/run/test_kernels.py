"""Kills and stops: nothing is left running, nothing half-done is taken for whole, and the next run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from workshop import NOTE, Workshop, ended, until

pytestmark = pytest.mark.kernel

MARK = "TINY_PROJECT"
WAIT = """
import subprocess, time
child = subprocess.Popen(["sleep", "300"])
note("slow")
while not Path("../go").exists():
    time.sleep(0.02)
"""
NATIVE = """
import ctypes, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
note("native")
ctypes.PyDLL(None).sleep(300)  # holds the interpreter's lock
"""


@pytest.fixture(params=["warm", pytest.param("cold", marks=pytest.mark.slow)])
def waits(shop: Workshop, request: pytest.FixtureRequest) -> Iterator[Workshop]:
    """`done` ends at once; then `slow` waits for the file `go`, and `after` for `slow`."""
    shop.notebook("done.ipynb", 'made: str = ""', f"{NOTE}\nnote('done')\nPath(made).write_text('made')")
    shop.notebook("slow.ipynb", 'made: str = ""', NOTE, WAIT, "note('end')\nchild.kill()")
    shop.notebook("native.ipynb", 'made: str = ""', NOTE, NATIVE)
    shop.notebook("after.ipynb", None, f"{NOTE}\nnote('after')")
    shop.pipeline("""
        done: {notebook: done.ipynb, outputs: {made: made.txt}}
        slow: {notebook: slow.ipynb, inputs: {made: done.made}}
        after: {notebook: after.ipynb, after: [slow]}
    """)
    yield replace(shop, variables={**shop.variables, "CADERNO_KERNELS": request.param})
    for process in processes(shop):
        process.kill()


def processes(shop: Workshop) -> list[psutil.Process]:
    """Return all living processes that were started for this project, children of kernels included."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(shop.root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def kernels(shop: Workshop) -> list[psutil.Process]:
    return [process for process in processes(shop) if process.name() == "caderno-kernel"]


def started(shop: Workshop, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a run and wait until its slow cell runs."""
    before = len(shop.calls())
    run = shop.start("run", env={MARK: str(shop.root), **(env or {})})
    until(lambda: {"slow", "native"} & set(shop.calls()[before:]), what="the cell did not start")
    assert kernels(shop)
    return run


def statuses(shop: Workshop, client: MlflowClient | None = None) -> dict[str, str]:
    """Return the status in MLflow of the latest run of each name ("tiny" for the parents)."""
    runs = shop.mlflow_runs(client)
    return {run.data.tags["mlflow.runName"].partition(" ")[0]: run.info.status for run in runs}


def test_a_killed_engine_takes_its_kernels_along_and_the_next_run_goes_on(waits: Workshop) -> None:
    run = started(waits)
    run.kill()
    run.communicate()
    until(lambda: not kernels(waits), 2, "a kernel outlives its engine")
    assert statuses(waits) == {"tiny": "RUNNING", "done": "FINISHED", "slow": "RUNNING"}
    waits.write("go", "")
    done = waits.caderno("run")
    assert done.code == 0, done.out
    assert waits.calls() == ["done", "slow", "slow", "end", "after"]
    assert waits.run_states() == {"done": "cached", "slow": "succeeded", "after": "succeeded"}
    every = sorted(run.info.status for run in waits.mlflow_runs())
    assert every == ["FINISHED"] * 4 + ["KILLED"] * 2
    left = [path.name for path in (waits.root / "data").rglob("*.part")]
    assert left == []


@pytest.mark.parametrize("waits", ["warm"], indirect=True)
def test_a_killed_parent_costs_the_task_that_ran_and_later_ones_start_cold(waits: Workshop) -> None:
    waits.notebook("late.ipynb", "made: str = ''", f"{NOTE}\nnote('late')")
    waits.pipeline("""
        done: {notebook: done.ipynb, outputs: {made: made.txt}}
        slow: {notebook: slow.ipynb, inputs: {made: done.made}}
        after: {notebook: after.ipynb, after: [slow]}
        late: {notebook: late.ipynb, inputs: {made: done.made}}
    """)
    run = waits.start("run", "--jobs", "1", env={MARK: str(waits.root)})
    until(lambda: "slow" in waits.calls())
    (parent,) = [one for one in psutil.Process(run.pid).children() if "caderno.run.parent" in one.cmdline()]
    parent.kill()
    done = ended(run, 60)
    assert done.code == 1, done.out
    assert waits.run_states() == {"done": "succeeded", "slow": "failed", "after": "skipped", "late": "succeeded"}
    assert waits.outcome("slow").kind == "dead kernel"
    assert waits.record("done").kernel == "warm"
    assert waits.record("late").kernel == "cold: the parent of warm kernels is gone"
    until(lambda: not kernels(waits), 2, "a kernel outlives its parent")
    assert statuses(waits) == {"tiny": "FAILED", "done": "FINISHED", "slow": "FAILED", "late": "FINISHED"}
    waits.write("go", "")
    assert waits.caderno("run").code == 0


def test_a_kernel_in_native_code_dies_with_its_engine_too(waits: Workshop) -> None:
    waits.pipeline("native: {notebook: native.ipynb}")
    run = started(waits)
    run.kill()
    run.communicate()
    until(lambda: not kernels(waits), 2, "a kernel outlives its engine")


def test_what_a_killed_run_left_is_closed_by_the_next_one_that_uses_the_same_store(waits: Workshop) -> None:
    """Even when nothing is to run, and even when a run with another store came between."""
    elsewhere = {"MLFLOW_TRACKING_URI": f"sqlite:///{waits.root / 'elsewhere.db'}"}
    client = MlflowClient(tracking_uri=elsewhere["MLFLOW_TRACKING_URI"])
    run = started(waits, env=elsewhere)
    run.kill()
    run.communicate()
    assert "nothing to run" in waits.caderno("run", "done")
    assert statuses(waits, client) == {"tiny": "RUNNING", "done": "FINISHED", "slow": "RUNNING"}
    assert "nothing to run" in waits.caderno("run", "done", env=elsewhere)
    assert statuses(waits, client) == {"tiny": "KILLED", "done": "FINISHED", "slow": "KILLED"}
    assert list((waits.root / "data/.caderno/runs").iterdir()) == []


def test_an_interrupt_ends_the_run_in_order(waits: Workshop) -> None:
    run = started(waits)
    run.send_signal(signal.SIGINT)
    done = ended(run, 20)
    assert done.code == 130, done.out
    assert processes(waits) == [], "a kernel or a child of one is left"
    assert waits.run_states() == {"done": "succeeded", "slow": "killed", "after": "skipped"}
    assert waits.last_run().state == "killed"
    assert statuses(waits) == {"tiny": "KILLED", "done": "FINISHED", "slow": "KILLED"}
    assert waits.outcome("slow").kind == "killed"
    assert (waits.result("slow") / "notebook.ipynb").exists()
    assert "after: the run was stopped" in done
    assert "Traceback (most recent call last)\n  File" not in done


def test_a_termination_ends_a_run_whose_cell_hangs_in_native_code(waits: Workshop) -> None:
    """The second signal does not wait for the grace that the first one gives."""
    waits.pipeline("native: {notebook: native.ipynb}")
    run = started(waits)
    (kernel,) = kernels(waits)
    run.terminate()
    time.sleep(1)
    run.terminate()
    until(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE, 8, "the kernel is left running")
    done = ended(run, 60)
    assert done.code == 143, done.out
    assert processes(waits) == []
    assert statuses(waits) == {"tiny": "KILLED", "native": "KILLED"}


def test_a_run_started_in_the_background_of_a_script_can_be_interrupted(waits: Workshop) -> None:
    """There a shell lets its commands ignore SIGINT."""
    command = f'"{sys.executable}" -m caderno.cli run & pid=$!; echo $pid > pid; wait $pid; echo code $?'
    script = subprocess.Popen(
        ["sh", "-c", command],
        cwd=waits.root,
        env=waits.environment(**{MARK: str(waits.root)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: "slow" in waits.calls(), what="the cell did not start")
    os.kill(int((waits.root / "pid").read_text()), signal.SIGINT)
    assert "code 130" in ended(script, 20)
    assert processes(waits) == []


LEFT = {
    "a child": "import subprocess\nchild = subprocess.Popen(['sleep', '300'])",
    "a child in a session of its own": "import subprocess\nsubprocess.Popen(['sleep', '300'], start_new_session=True)",
    "a shell's job": "import os\nos.system('set -m; sleep 300 & (setsid sleep 300 &)')",
    "a daemon that was forked": """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(300)
            os._exit(0)
        os.wait()""",
}


def test_what_a_notebook_leaves_in_the_background_ends_with_its_task(waits: Workshop) -> None:
    """Another task that runs meanwhile keeps what it started."""
    for number, source in enumerate(LEFT.values()):
        waits.notebook(f"leaves{number}.ipynb", None, textwrap.dedent(source))
    tasks = "\n".join(f"leaves{number}: {{notebook: leaves{number}.ipynb}}" for number in range(len(LEFT)))
    waits.pipeline(f"slow: {{notebook: slow.ipynb}}\n{tasks}")
    run = waits.start("run", "--jobs", "2", env={MARK: str(waits.root)})
    until(lambda: all(waits.finished(f"leaves{number}") for number in range(len(LEFT))), what="they did not end")
    left = [one.cmdline() for one in processes(waits) if one.name() == "sleep"]
    assert left == [["sleep", "300"]], "of the task that runs"
    waits.write("go", "")
    done = ended(run)
    assert done.code == 0, done.out
    assert processes(waits) == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="makes a process namespace: needs root")
def test_it_runs_as_the_first_process_of_a_container(waits: Workshop) -> None:
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "--pid", "--fork", "--mount-proc", "true"], check=False).returncode:
        pytest.skip("process namespaces are not admitted here")
    waits.pipeline("done: {notebook: done.ipynb, outputs: {made: made.txt}}")
    command = [unshare, "--pid", "--fork", "--mount-proc", sys.executable, "-m", "caderno.cli", "run"]
    done = subprocess.run(command, cwd=waits.root, env=waits.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert waits.calls() == ["done"]


def test_a_kernel_without_its_engine_ends_at_once(tmp_path: Path) -> None:
    """The engine may die between starting a kernel and the kernel's request to die with it."""
    done = subprocess.run(
        [sys.executable, "-m", "caderno.run.kernel", "-f", str(tmp_path / "kernel.json")],
        env={**os.environ, "CADERNO_ENGINE": "1"},
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert not (tmp_path / "kernel.json").exists()
