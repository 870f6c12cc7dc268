"""What a kernel's process runs: ipykernel, bound to the life of whoever started it.

Linux sends SIGKILL to this process when the thread that started it ends, so a kernel never outlives an
engine that was killed, not even one that is busy in native code. What a cell starts and leaves stays below its
kernel, even a daemon. Forked kernels (see parent.py) end here too.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import sys

ENGINE = "CADERNO_ENGINE"  # the environment variable that names the engine's process
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36  # prctl(2)


def end_with(parent: str | None) -> None:
    """Ask Linux to kill this process when the thread that started it ends; `parent` is that process, in digits."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if str(os.getppid()) != parent:  # it was gone before we asked
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of processes below this one whose own parents end, where Linux would give them to init."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def run() -> None:
    """Be a kernel, as sys.argv and the environment say, until it is shut down."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, b"caderno-kernel")
    adopt_orphans()
    if launcher := importlib.util.find_spec("ipykernel_launcher"):
        sys.argv[0] = str(launcher.origin)  # as in any other kernel
    from caderno.run import watch

    if watch.WATCH in os.environ:
        watch.start(os.environ.pop(watch.WATCH))
    from caderno.run.kernelapp import KernelApp

    KernelApp.launch_instance()


if __name__ == "__main__":
    end_with(os.environ.get(ENGINE))
    run()
