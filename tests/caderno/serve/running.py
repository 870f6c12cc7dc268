"""`caderno serve` as a process of its own, and callers that never stop asking."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil

_START = 60.0  # seconds until a service must answer


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A service that runs in a folder."""

    def __init__(self, folder: Path, variables: Mapping[str, str], *arguments: str) -> None:
        environment = {**os.environ, **variables, "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.log = folder / f"serve-{time.monotonic_ns()}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "caderno.cli", "serve", "--port", "0", *arguments],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
            )
        self.port = self._port()

    def _port(self) -> int:
        until = time.monotonic() + _START
        while time.monotonic() < until:
            for line in self.told().splitlines():
                if line.startswith("http://"):
                    return int(line.rstrip("/").rpartition(":")[2])
            assert self.process.poll() is None, self.told()
            time.sleep(0.05)
        raise AssertionError(f"no address after {_START} s: {self.log.read_text('utf-8')}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def told(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def connection(self, timeout: float = 60) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        with contextlib.closing(self.connection()) as connection:
            return ask(connection, method, path, body, headers)

    def get(self, path: str) -> Reply:
        return self.ask("GET", path)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        return self.ask("POST", path, body, headers)

    def wait(self, path: str, wanted: Callable[[Reply], bool], seconds: float = 60) -> float:
        """Wait until an address answers as wanted; return how many seconds it took."""
        began = time.monotonic()
        while not wanted(self.get(path)):
            assert time.monotonic() - began < seconds, self.told()
            time.sleep(0.05)
        return time.monotonic() - began

    def processes(self) -> list[psutil.Process]:
        """Return all processes that it started: nursery, loaders, workers."""
        every = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in every if one.status() != psutil.STATUS_ZOMBIE]

    def loaders(self) -> list[psutil.Process]:
        nursery = psutil.Process(self.process.pid).children()
        return [loader for one in nursery for loader in one.children() if loader.status() != psutil.STATUS_ZOMBIE]

    def workers(self) -> list[psutil.Process]:
        return [worker for loader in self.loaders() for worker in loader.children()]

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it and return its exit code; nothing that it started may stay."""
        children = self.processes() if self.process.poll() is None else []
        self.process.send_signal(number)
        code = self.process.wait(60)
        _, alive = psutil.wait_procs(children, 10)
        assert not alive
        return code


@contextmanager
def running(folder: Path, variables: Mapping[str, str], *arguments: str) -> Iterator[Running]:
    """Run a service while inside."""
    service = Running(folder, variables, *arguments)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.end()


def ask(
    connection: HTTPConnection, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """Ask by an open connection."""
    sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, sent, {"Content-Type": "application/json", **(headers or {})})
    found = connection.getresponse()
    return Reply(found.status, dict(found.getheaders()), found.read())


@dataclass
class Load:
    """Callers that ask again and again, each by a connection of its own, and what came of it."""

    service: Running
    path: str
    body: Any
    callers: int = 8
    wrong: Callable[[Reply], str] = lambda reply: "" if reply.status == 200 else f"{reply.status} {reply.body[:200]!r}"
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._call) for _ in range(self.callers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        with contextlib.closing(self.service.connection()) as connection:
            self._asking(connection)

    def _asking(self, connection: HTTPConnection) -> None:
        while not self.ending.is_set():
            try:
                reply = ask(connection, "POST", self.path, self.body)
            except ConnectionRefusedError:  # it does not listen any more: no request was taken
                self.answers["refused"] += 1
                connection.close()
                if self.service.process.poll() is not None:
                    return
                continue
            except (OSError, HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            self.answers[reply.headers.get("Model-Version", "none")] += 1
            if wrong := self.wrong(reply):
                self.failures.append(wrong)


def rows(*values: float) -> Sequence[Mapping[str, float]]:
    """Return rows for the small project's model."""
    return [{"x": value, "noise": -value / 3} for value in values]
