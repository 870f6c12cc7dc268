"""The engine's side of warm kernels: starts their parent, asks it for kernels, and stands for each of them.

See parent.py for what the other side does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from caderno.run.kernel import ENGINE
from caderno.run.parent import LONGEST

PROVISIONER = "caderno-warm"  # the name of its entry point
# In the parent: no native threads, which a fork would lose, and matplotlib as kernels have it.
_QUIET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "GIT_PYTHON_REFRESH": "quiet",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
}
_PATIENCE = 120.0  # seconds to wait for the parent's imports
_GONE = -signal.SIGKILL  # how a kernel ended whose parent was killed: it was killed with it


class Parent:
    """A process with everything imported, which forks kernels. Start it in the main thread: it dies with its thread."""

    def __init__(self, modules: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """Start it in `folder`; native thread pools have one thread there, and as many as a task may in its kernel."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONGEST)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "caderno.run.parent", str(theirs.fileno()), json.dumps(list(modules)), "{}"],
                cwd=folder,
                env={**environment, **_QUIET, ENGINE: str(os.getpid())},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        ours.settimeout(_PATIENCE)
        self._socket = ours
        self._asking = threading.Lock()
        self._loaded: dict[str, str] | None = None

    @property
    def loaded(self) -> dict[str, str]:
        """What it has imported: for each module "" or why it is left to the kernels; waits for it."""
        with self._asking:
            if self._loaded is None:
                try:
                    self._loaded = json.loads(self._socket.recv(LONGEST) or b"{}")
                except TimeoutError:  # an import that hangs: kernels start cold
                    self._process.kill()
                    self._loaded = {}
        return self._loaded

    def fork(self, arguments: Sequence[str], folder: str, environment: Mapping[str, str], log: int) -> WarmKernel:
        """Return a new kernel with ipykernel's `arguments`. Raises OSError where the parent is gone."""
        assert self.loaded is not None
        request = {"arguments": list(arguments), "cwd": folder, "env": dict(environment)}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_PATIENCE)
        with contextlib.ExitStack() as stack:
            stack.enter_context(ours)
            with theirs, self._asking:
                socket.send_fds(self._socket, [json.dumps(request).encode()], [theirs.fileno(), log])
            told = json.loads(ours.recv(LONGEST) or b"{}")
            if "pid" not in told:
                raise OSError("the parent of warm kernels is gone")
            stack.pop_all()
        return WarmKernel(told["pid"], ours)

    def close(self) -> None:
        """End it; kernels that are still there end with it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


class WarmKernel:
    """A forked kernel, as far as jupyter_client and the engine use a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, told: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._told = told

    def poll(self) -> int | None:
        """Return how it ended, as Popen does, or None."""
        return self._end(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        code = self._end(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(["kernel"], timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it now."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def _end(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            told = json.loads(self._told.recv(LONGEST) or b"{}")
            self.returncode = told.get("exit", _GONE)
            self._told.close()
        return self.returncode


class WarmProvisioner(LocalProvisioner):
    """Takes kernels from a parent, where jupyter_client's own provisioner would start processes."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork a kernel for the command that would have started one; where the parent is gone, start one."""
        manager: Any = self.parent  # the engine's
        try:
            kernel = manager.warm.fork(cmd[3:], kwargs["cwd"], kwargs["env"], kwargs["stdout"].fileno())
        except OSError:
            manager.control.kind = "cold: the parent of warm kernels is gone"
            return await super().launch_kernel(cmd, **kwargs)
        manager.control.kind = "warm"
        self.process = kernel
        self.cwd = kwargs["cwd"]
        self.pid = self.pgid = kernel.pid
        return self.connection_info
