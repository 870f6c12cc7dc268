"""Processes that tests start, watch and kill: each service in a session of its own, with a log."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

Found = TypeVar("Found")

MARK = "CADERNO_TEST_MARK"  # in the environment of all that a service starts: by it the last grandchild is found


def marked(mark: str) -> list[psutil.Process]:
    """Return every process whose environment has the mark, also those that left their parents."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_marked(mark: str) -> None:
    """Kill all that has the mark, as if the power went; what is born meanwhile, too."""
    while found := marked(mark):
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=5)


def until(condition: Callable[[], Found], limit: float, what: Callable[[], str] | str) -> Found:
    """Wait until `condition()` is true, and return it; `what` says what was waited for, and what there is instead."""
    end = time.monotonic() + limit
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.1)
    return found


class Service:
    """A command that runs until it is stopped; one that ends by itself is started again, as systemd does."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self.mark = f"{folder}:{name}"
        self.restarts = 0
        self._command, self._folder = list(command), folder
        self._variables = {**variables, MARK: self.mark, "SPT_NOENV": "1"}  # a new title must not overwrite the mark
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = threading.Event()
        self._turn = threading.Lock()

    @property
    def pid(self) -> int:
        assert self._process, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it, and see to it that it runs until `kill` or `stop`."""
        with self._turn:
            self._launch()
        self._wanted.set()
        threading.Thread(target=self._keep, daemon=True).start()

    def kill(self, *, alone: bool = False) -> None:
        """Kill it (SIGKILL) with all that it started, or alone; it stays away until it is started again."""
        with self._turn:
            self._wanted.clear()
            if self._process:
                self._process.kill()
                self._process.wait()
            if not alone:
                kill_marked(self.mark)

    def stop(self) -> None:
        """End it as an operator would; then whatever is left."""
        with self._turn:
            self._wanted.clear()
            if self._process and self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
            kill_marked(self.mark)
            if self._process:
                self._process.wait()

    def tail(self, lines: int = 25) -> str:
        """Return the end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([f"--- {self.name} (started again {self.restarts} times)", *text.splitlines()[-lines:]])

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _keep(self) -> None:
        mine = self._process
        while self._wanted.is_set() and mine is self._process:
            time.sleep(0.5)
            with self._turn:
                if self._wanted.is_set() and mine is self._process and mine and mine.poll() is not None:
                    self.restarts += 1
                    time.sleep(1)
                    self._launch()
                    mine = self._process


def bare(**variables: str) -> dict[str, str]:
    """Return an environment without what belongs to the tests' own process."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LOKY_MAX_CPU_COUNT")
    return {name: os.environ[name] for name in kept if name in os.environ} | variables
