"""The processes of one version: started, asked, replaced when they die, hang or grow. Their side: predictor.py."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import orjson
import psutil

from caderno.serve import predictor
from caderno.serve.errors import ModelFailed, TimedOut

_PATIENCE = 300.0  # seconds for loading a model
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PID = struct.Struct("!i")


class Died(Exception):
    """A worker ended before it answered."""


@dataclass(frozen=True)
class Loaded:
    """What a loader says of its model: its classes where it has some, MLflow's flavor, and how long loading took."""

    classes: list[str] | None
    flavor: str
    seconds: float


class Loader:
    """The process that holds a model, and forks its workers.

    `files` gives the model's folder for as long as it is entered, checked: it is entered anew at each start.
    """

    def __init__(self, files: Callable[[], AbstractContextManager[Path]], threads: int) -> None:
        self._files = files
        self._threads = threads
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False
        self.loaded = self._start()

    def _start(self) -> Loaded:
        """Load the model. Raises ModelFailed with what its process says, and what `files` raises."""
        with self._files() as folder:
            ours, theirs = socket.socketpair()
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            environment |= dict.fromkeys(_THREADS, str(self._threads))
            environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "ARROW_DEFAULT_MEMORY_POOL": "system"}
            self._process = subprocess.Popen(
                [sys.executable, "-P", predictor.__file__, str(folder.resolve())],
                stdin=theirs.fileno(),
                stdout=2,
                env=environment,
                start_new_session=True,  # Ctrl-C is the service's
            )
            theirs.close()
            pipe = Connection(os.dup(ours.fileno()))
            try:
                if not pipe.poll(_PATIENCE):
                    raise ModelFailed(f"the model was not loaded within {_PATIENCE:g} s")
                said = json.loads(pipe.recv_bytes())
            except (EOFError, OSError):
                code = self._process.wait(10)
                raise ModelFailed(f"the process that loads the model ended with code {code}") from None
            finally:
                pipe.close()
        if "error" in said:
            raise ModelFailed(f"the model can't be loaded: {said['error']}")
        self._control = ours
        return Loaded(**said["ready"])

    def worker(self, instead_of: int | None = None) -> Worker:
        """Return a new worker; the one with the number `instead_of` is ended. Loads the model anew if need be."""
        with self._lock:
            if self._closed:
                raise ModelFailed("this version is not served any more")
            try:
                return self._fork(instead_of)
            except OSError:  # the loader itself died, and its workers with it
                self._end()
                self._start()
                return self._fork(None)

    def _fork(self, instead_of: int | None) -> Worker:
        control = self._control
        if control is None:
            raise BrokenPipeError
        if instead_of is not None:
            control.sendall(b"k" + _PID.pack(instead_of))
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(control, [b"w"], [theirs.fileno()])
        number = control.recv(_PID.size, socket.MSG_WAITALL)
        if len(number) < _PID.size:
            ours.close()
            raise BrokenPipeError
        return Worker(_PID.unpack(number)[0], Connection(ours.detach()))

    def memory(self) -> int:
        """Return the bytes that loader and workers hold together, what they share counted once."""
        return sum(_memory(process) for process in self._processes())

    def _processes(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        with contextlib.suppress(psutil.Error):
            loader = psutil.Process(self._process.pid)
            return [loader, *loader.children()]
        return []

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._closed = True
            self._end()

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()  # workers end with it
            self._process.wait()


class Worker:
    """One worker; used by one thread at a time."""

    def __init__(self, pid: int, pipe: Connection) -> None:
        self.pid = pid
        self._pipe = pipe

    def ask(self, request: Mapping[str, Any], patience: float) -> dict[str, Any]:
        """Return what the model says: outputs and seconds, or error. Raises Died; TimedOut after `patience` seconds."""
        try:
            self._pipe.send_bytes(pickle.dumps(request, protocol=5))
            if not self._pipe.poll(patience):
                raise TimedOut(f"the model did not answer within {patience:g} s")
            found: dict[str, Any] = orjson.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise Died from None
        return found

    def memory(self) -> int:
        """Return the bytes that are this worker's own."""
        try:
            return _memory(psutil.Process(self.pid))
        except psutil.Error:
            return 0

    def close(self) -> None:
        """Let go of it; it ends."""
        self._pipe.close()


def _memory(process: psutil.Process) -> int:
    """Return a process's proportional share of memory, in bytes."""
    with contextlib.suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0
