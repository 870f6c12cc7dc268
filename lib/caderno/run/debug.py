"""A failed task once more, its kernel kept at the failing cell for a person to look around in."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from caderno.errors import CadernoError
from caderno.events import now
from caderno.plan.planner import Planner, Resolved
from caderno.plan.records import Cell, Failure
from caderno.run import provenance
from caderno.run.kernels import KILLED, KernelControl
from caderno.run.ledger import Ledger
from caderno.run.stop import Stop
from caderno.run.worker import RunContext, execute_in, tags_of
from caderno.spec import Task

_POLL = 0.2  # seconds between two looks whether the kernel is still there

Show = Callable[[Failure, str], None]  # shows the failure, and the command that attaches a console to its kernel


def debug(
    planner: Planner, task: Task, show: Show, on_cell: Callable[[int, Cell], None], warn: Callable[[str], None]
) -> Failure | None:
    """Execute `task` and return how it failed, or None.

    Where a cell fails, `show` is called and the kernel stays until it ends itself or a signal comes. Nothing of it
    becomes a result; its MLflow run has the tag `caderno.debug`. Raises CadernoError where upstream has no result.
    """
    resolved = _resolved(planner, task)
    project, run = planner.project, f"debug-{now():%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
    ledger = Ledger(project, planner.pipeline.name, run, warn)
    git, user = provenance.git_state(project.root), provenance.user_name(project.root)
    context = RunContext(
        run=run,
        planner=planner,
        ledger=ledger,
        parent=None,
        git=git,
        user=user,
        host=provenance.host_name(),
        machine=provenance.machine(),
        warm=None,
        threads=1,
    )
    tags = tags_of(context, task, resolved) | {"caderno.debug": "true"}
    tracked = ledger.start(f"debug {task.id}", tags, planner.store.run_file(run))
    control = KernelControl()
    stop = Stop(lambda: control.kill() if stop.now else control.stop(KILLED))

    def hold(failure: Failure, connection: Path) -> None:
        if control.reason is None:
            show(failure, console_command(connection))
        while control.reason is None and control.alive:
            time.sleep(_POLL)

    home = planner.store.home(task.folder)
    home.mkdir(parents=True, exist_ok=True)
    with stop.installed(), tempfile.TemporaryDirectory(prefix="debug-", dir=home) as folder:
        staged = Path(folder)
        execution, _ = execute_in(staged, context, task, resolved, tracked, control, on_cell, on_failure=hold)
        ledger.end(tracked, "failed" if execution.failure else "succeeded")
    return execution.failure


def _resolved(planner: Planner, task: Task) -> Resolved:
    """Return what the task's fingerprint is made of; all of its upstream must be there."""
    plan = planner.plan([task.id])
    missing = [one.task.id for one in plan.tasks if one.task.id != task.id and one.state != "cached"]
    if missing:
        words = shlex.join(["caderno", "run", *missing[:3]])
        raise CadernoError(f"{task.id} needs results that are not there: {', '.join(missing[:3])}", f"run: {words}")
    resolved = plan.tasks[-1].resolved
    assert resolved
    return resolved


def console_command(connection: Path) -> str:
    """Return what to type to attach a console to a kernel."""
    words = ["jupyter", "console"]
    if not shutil.which("jupyter-console"):
        words = [sys.executable, "-m", "jupyter_console"]
    command = shlex.join([*words, "--existing", str(connection)])
    if importlib.util.find_spec("jupyter_console") is None:
        command += "    # needs: pip install jupyter-console"
    return command
