"""Kernels of tasks: how one is started, and how its whole process group is ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any, Protocol

import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from caderno.run.context import TASK_RUN
from caderno.run.kernel import ENGINE
from caderno.run.meter import Meter, started_by
from caderno.run.warm import PROVISIONER, Parent

TIMEOUT = "timeout"
KILLED = "killed"
MEMORY = "out of memory"
CONNECTION = "kernel.json"  # the connection file's name
_LAUNCHER = ["-m", "ipykernel_launcher"]
_PREFIX, _LOCK = "caderno-", "lock"
_AGAIN = 5  # milliseconds between tries to connect to a kernel that is not there yet; ZeroMQ's own 100 make it late
GRACE = 10.0  # seconds between the request to stop and the kill


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a folder for one kernel's sockets; those that engines which were killed left behind are removed.

    Its path is short, since a socket's has at most 107 bytes.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), left.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with (folder / "new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            Path(lock.name).rename(folder / _LOCK)  # nobody sees it before it is held
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Process(Protocol):
    """What is used of a kernel's process, be it a `subprocess.Popen` or a forked one."""

    pid: int

    def poll(self) -> int | None:
        """Return how it ended, None as long as it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""


class KernelControl:
    """The running kernel of one task, as seen from the other threads: `stop` ends it, whatever it does.

    `reason` says why it was stopped, and is None as long as it was not. `kind` is "warm", or "cold" with its reason.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.kind = "cold"
        self.meter: Meter | None = None
        self._pid: int | None = None
        self._process: Process | None = None
        self._mark = ""
        self._lock = threading.Lock()
        self._killer: threading.Timer | None = None

    def started(self, process: Process, mark: str) -> None:
        """Note the kernel's process, and a `mark` in its environment; end it at once if it was stopped before."""
        with self._lock:
            self._pid, self._process, self._mark = process.pid, process, mark
            if self.meter:
                self.meter.pid = process.pid
            stopped = self.reason is not None
        if stopped:
            self.kill()

    def renew(self) -> None:
        """Forget a limit that was reached before the task is tried again; a task that was killed stays so."""
        with self._lock:
            if self.reason in (TIMEOUT, MEMORY):
                self.reason, self._killer = None, None

    def stop(self, reason: str, grace: float = GRACE) -> None:
        """Interrupt the running cell; kill the kernel's group if it is still there after `grace` seconds."""
        with self._lock:
            if self.reason is None:
                self.reason = reason
            if self._killer is None:
                self._killer = threading.Timer(grace, self.kill)
                self._killer.daemon = True
                self._killer.start()
        self._signal(signal.SIGINT)

    @property
    def alive(self) -> bool:
        """Whether the kernel's process is there."""
        return self._process is not None and self._process.poll() is None

    def ending(self) -> str:
        """Return how the kernel's process ended: "killed by SIGSEGV", "ended with exit code 0"."""
        code = self._process.poll() if self._process else None
        if code is None:
            return "does not answer"
        if code >= 0:
            return f"ended with exit code {code}"
        memory = " (by the system, out of memory?)" if -code == signal.SIGKILL else ""
        return f"was killed by {signal.Signals(-code).name}{memory}"

    def kill(self) -> None:
        """End the kernel's group now."""
        self._signal(signal.SIGKILL)

    def ended(self) -> None:
        """End what the kernel left behind, reap it, and forget it."""
        self.kill()
        if self._pid:
            for pid in started_by(self._pid, self._mark):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if self._process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        with self._lock:
            self._pid = None
            if self._killer:
                self._killer.cancel()

    def _signal(self, number: signal.Signals) -> None:
        pid = self._pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)


class TaskKernelClient(AsyncKernelClient):
    """Talks to a kernel as soon as that has answered, where jupyter_client's own waits for 0.2 s of silence first.

    What it may still hear of the time before is answers to others' requests, which nbclient passes over.
    """

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
        """Return when the kernel has answered, and its outputs are heard. Raises RuntimeError."""
        deadline = time.monotonic() + (timeout or float("inf"))
        while True:
            self.kernel_info()
            with contextlib.suppress(Empty):
                self._handle_kernel_info_reply(await self.get_shell_msg(timeout=1))
                await self.get_iopub_msg(timeout=0.05)  # nothing comes if the answer was faster than the subscription
                return
            if not await self._async_is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Kernel didn't respond in {timeout:g} seconds")

    wait_for_ready = _async_wait_for_ready


class TaskKernelManager(AsyncKernelManager):
    """Starts a kernel for one task. Subclassed per task, since nbclient makes its manager from a class.

    Its sockets are files in a private folder: TCP ports collide when kernels start in parallel. What the
    kernel's process writes past IPython goes to a log, not into the terminal.
    """

    control: KernelControl
    environment: Mapping[str, str]
    folder: Path
    sockets: Path
    warm: Parent | None

    @classmethod
    def for_task(
        cls,
        control: KernelControl,
        environment: Mapping[str, str],
        folder: Path,
        sockets: Path,
        warm: Parent | None = None,
    ) -> type[TaskKernelManager]:
        """Return the manager's class for one kernel: its environment, working directory and folder of sockets.

        With `warm`, its kernels are forked from that parent.
        """
        attributes = {
            "control": control,
            "environment": environment,
            "folder": folder,
            "sockets": sockets,
            "warm": warm,
        }
        return type("TaskKernelManager", (cls,), attributes)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.client_factory = TaskKernelClient
        self.context.setsockopt(zmq.RECONNECT_IVL, _AGAIN)
        if os.name == "posix":
            self.transport = "ipc"
            self.connection_file = str(self.sockets / CONNECTION)
            self.ip = str(self.sockets / "kernel-ipc")

    @property
    def kernel_spec(self) -> KernelSpec | None:
        """The installed kernel's specification; of a warm one with the name of what provides it."""
        spec = super().kernel_spec
        if spec is None or self.warm is None:
            return spec
        if spec.argv[1:3] != _LAUNCHER or spec.argv[0] not in ("python", "python3", sys.executable):
            self.control.kind = "cold: another interpreter or language"
            return spec
        return KernelSpec(**{**spec.to_dict(), "metadata": {"kernel_provisioner": {"provisioner_name": PROVISIONER}}})

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """Return the kernel's command; a kernel of our own interpreter is bound to the engine's life."""
        command = super().format_kernel_cmd(extra_arguments)
        if command[1:3] == _LAUNCHER and command[0] == sys.executable:
            command[2] = "caderno.run.kernel"
        return command

    async def _async_start_kernel(self, **kwargs: Any) -> None:
        with (self.sockets / "kernel.log").open("ab") as log:
            await super()._async_start_kernel(
                **kwargs
                | {
                    "env": {**self.environment, ENGINE: str(os.getpid())},
                    "cwd": str(self.folder),
                    "stdout": log,
                    "stderr": log,
                }
            )
        mark = f"{TASK_RUN}={self.environment.get(TASK_RUN, '')}"
        self.control.started(self.provisioner.process, mark)  # type: ignore[union-attr]  # a local process

    start_kernel = _async_start_kernel

    async def _async_wait(self, pollinterval: float = 0.01) -> None:
        """Wait for the process to end, looking ten times as often as jupyter_client would."""
        await super()._async_wait(min(pollinterval, 0.01))
