"""The processes of one version: started, asked, replaced when they die, hang or grow. Their side: predictor.py."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import socket
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
from caderno.serve.predictor import PACKET, PID

_PATIENCE = 300.0  # seconds for loading a model
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Died(Exception):
    """A worker ended before it answered."""


@dataclass(frozen=True)
class Loaded:
    """What a loader says of its model: its classes where it has some, and how long loading took."""

    classes: list[str] | None
    seconds: float


class _Forker:
    """The service's end of a process that forks others."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    def fork(self, argument: str, end: socket.socket) -> int:
        """Fork a process that holds `end`; return its number. Raises OSError where the forker is gone."""
        with end:
            socket.send_fds(self._control, [b"f" + argument.encode()], [end.fileno()])
        number = self._control.recv(PID.size)
        if len(number) < PID.size:
            raise BrokenPipeError
        return int(PID.unpack(number)[0])

    def kill(self, pid: int) -> None:
        """End a process that it forked. Raises OSError where the forker is gone."""
        self._control.send(b"k" + PID.pack(pid))

    def hear(self, patience: float) -> bytes:
        """Return what it says next; nothing where it is gone. Raises TimeoutError."""
        self._control.settimeout(patience)
        try:
            return self._control.recv(PACKET)
        finally:
            self._control.settimeout(None)

    def close(self) -> None:
        """Let go of it; it ends, and what it forked."""
        self._control.close()


class Nursery:
    """The process that has imported what models need, and forks their loaders; started when it is needed."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._forker: _Forker | None = None

    def loader(self, folder: Path) -> tuple[int, _Forker, Loaded]:
        """Return a process that loads the model in a folder. Raises ModelFailed with what it says."""
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with self._lock:
            try:
                pid = self._running().fork(str(folder.resolve()), theirs.dup())
            except OSError:
                self._end()
                pid = self._running().fork(str(folder.resolve()), theirs.dup())
            finally:
                theirs.close()
        loader = _Forker(ours)
        try:
            said = json.loads(loader.hear(_PATIENCE) or b'{"error": "its process ended"}')
        except TimeoutError:
            said = {"error": f"not within {_PATIENCE:g} s"}
            self._kill(pid)
        if "error" in said:
            loader.close()
            raise ModelFailed(f"the model can't be loaded: {said['error']}")
        return pid, loader, Loaded(**said["ready"])

    def _kill(self, pid: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._running().kill(pid)

    def _running(self) -> _Forker:
        if self._forker is None:
            ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            environment |= dict.fromkeys(_THREADS, str(self._threads))
            environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", predictor.__file__],
                    stdin=theirs.fileno(),
                    stdout=2,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is the service's
                )
            self._forker = _Forker(ours)
        return self._forker

    def memory(self) -> int:
        """Return the bytes that it holds itself."""
        return _memory(self._process.pid) if self._process else 0

    def close(self) -> None:
        """End it, and wait until what it forked has ended, too."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._forker is not None and self._process is not None:
            self._forker.close()
            self._process.wait()
            self._forker = self._process = None


class Loader:
    """The process that holds a version's model, and forks its workers.

    `files` gives the model's folder for as long as it is entered, checked: it is entered anew at each start.
    """

    def __init__(self, files: Callable[[], AbstractContextManager[Path]], nursery: Nursery) -> None:
        """Load the model. Raises ModelFailed with what its process says, and what `files` raises."""
        self._files = files
        self._nursery = nursery
        self._lock = threading.Lock()
        self._closed = False
        self.loaded = self._start()

    def _start(self) -> Loaded:
        with self._files() as folder:
            self._pid, self._forker, loaded = self._nursery.loader(folder)
        return loaded

    def worker(self, instead_of: int | None = None) -> Worker:
        """Return a new worker; the one with the number `instead_of` is ended. Loads the model anew if need be."""
        with self._lock:
            if self._closed:
                raise ModelFailed("this version is not served any more")
            try:
                return self._fork(instead_of)
            except OSError:  # the loader itself died, and its workers with it
                self._forker.close()
                self._start()
                return self._fork(None)

    def _fork(self, instead_of: int | None) -> Worker:
        if instead_of is not None:
            self._forker.kill(instead_of)
        ours, theirs = socket.socketpair()
        try:
            return Worker(self._forker.fork("", theirs), Connection(ours.detach()))
        except OSError:
            ours.close()
            raise

    def memory(self) -> int:
        """Return the bytes that loader and workers hold, each its share of what they have in common."""
        with contextlib.suppress(psutil.Error):
            workers = psutil.Process(self._pid).children()
            return _memory(self._pid) + sum(_memory(one.pid) for one in workers)
        return 0

    def close(self) -> None:
        """Let go of it; it ends, and its workers."""
        with self._lock:
            self._closed = True
            self._forker.close()


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
        return _memory(self.pid)

    def close(self) -> None:
        """Let go of it; it ends."""
        self._pipe.close()


def _memory(pid: int) -> int:
    """Return a process's proportional share of memory, in bytes; 0 if it is gone."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_full_info().pss)
    return 0
