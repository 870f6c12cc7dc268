"""What a kernel's process runs: ipykernel, bound to the life of the engine.

Linux sends SIGKILL to this process when the thread that started it ends, so a kernel never outlives an
engine that was killed, not even one that is busy in native code.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # prctl(2)


def _die_with_parent() -> None:
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(_PR_SET_NAME, b"caderno-kernel")
    if str(os.getppid()) != os.environ.get("CADERNO_ENGINE"):  # the engine was gone before we asked
        os._exit(1)


if __name__ == "__main__":
    _die_with_parent()
    from caderno.run import watch

    if watch.WATCH in os.environ:
        watch.start(os.environ.pop(watch.WATCH))
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
