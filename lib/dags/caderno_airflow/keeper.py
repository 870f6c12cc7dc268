"""Runs one command and, when it is told to stop, ends all that came of it: `python -I keeper.py PARENT COMMAND…`.

It stands between Airflow's task and the engine because Airflow kills a task's process five seconds after it asked it to
end, and the engine may need longer to close what it has open. Linux tells this process (SIGTERM) when PARENT, whose
child it is, has died, be it by SIGKILL; then, as at any SIGTERM, the command is asked to end, after a grace to end at
once, and at last killed. Whatever the command left behind, even a daemon, is killed when it has ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE = 12.0  # seconds for an end in order: the engine lets a cell's interrupt take ten
LAST = 5.0  # seconds for an end at once
NOT_RUN = 127  # the exit code where there is no such command
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def keep(parent: int, command: list[str]) -> int:
    """Run `command` to its end, which a signal or the death of `parent` hastens; return its exit code."""
    watched = {*_STOP, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    _prepare(parent)

    def begin() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _end_with(signal.SIGTERM)

    try:
        child = subprocess.Popen(command, start_new_session=True, preexec_fn=begin)  # there are no threads here
    except OSError as error:
        print(f"{command[0]} can't be run: {error.strerror}", file=sys.stderr)
        return NOT_RUN
    signals = [(GRACE, signal.SIGTERM), (LAST, signal.SIGKILL)]  # what follows the first request, and when
    deadline: float | None = None
    while child.poll() is None:
        left = 3600.0 if deadline is None else max(deadline - time.monotonic(), 0)
        told = signal.sigtimedwait(watched, left)
        if told is not None and told.si_signo in _STOP and deadline is None:
            child.send_signal(signal.SIGTERM)
        elif deadline is not None and time.monotonic() >= deadline and signals:
            _tell(child.pid, signals.pop(0)[1])
        else:
            continue
        deadline = time.monotonic() + signals[0][0] if signals else None
    sweep()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _prepare(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _end_with(signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before we asked
        raise SystemExit(128 + signal.SIGTERM)


def _end_with(number: signal.Signals) -> None:
    """Ask Linux to send this process a signal when its parent has died."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _tell(leader: int, number: signal.Signals) -> None:
    """Ask the command to end at once, or kill it with its group."""
    if number == signal.SIGKILL:
        os.killpg(leader, number)
    else:
        os.kill(leader, number)


def sweep() -> None:
    """Kill every process that is left below this one: orphans have become its children."""
    while left := _below(os.getpid()):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _below(top: int) -> list[int]:
    """Return the processes below `top` that still run."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has ended meanwhile
            continue
        if state != "Z":
            parents[int(entry.parent.name)] = int(parent)
    found: list[int] = []
    level = {top}
    while level := {pid for pid, parent in parents.items() if parent in level}:
        found += level
    return found


if __name__ == "__main__":
    raise SystemExit(keep(int(sys.argv[1]), sys.argv[2:]))
