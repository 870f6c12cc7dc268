"""What a kernel and all that it started take: processor time and memory, of each cell and at the peak.

One thread for all kernels looks through /proc a few times a second; a kernel's processes are those of its session,
which they keep whoever started them. Memory is resident memory added up (what several share counts for each). The peak
of the kernel's own process is exact: Linux keeps it (VmHWM, proc(5)), and it is set back before each cell.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.2  # seconds between two looks, or more
_SHARE = 0.05  # of a processor that looking may take, on a machine of many processes
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True)
class Usage:
    """Processor time in seconds, peak of resident memory in bytes; None where the system does not tell."""

    cpu: float | None = None
    peak: int | None = None


@dataclass(frozen=True)
class _Process:
    pid: int
    session: int
    cpu: float
    memory: int


class Meter:
    """Measures one kernel. Use as a context manager around its life; it begins when `pid` is known.

    `over(peak)` is called once, from the measuring thread, when more than `limit` bytes are taken.
    """

    def __init__(self, limit: int | None = None, over: Callable[[int], None] = lambda peak: None) -> None:
        self.pid: int | None = None
        self.peak = 0
        self._limit = limit
        self._over = over
        self._cell_peak = 0
        self._cell_cpu = 0.0
        self._cpu = 0.0  # of the kernel, with what it waited for, and of the others, at the last look
        self._others: dict[int, _Process] = {}  # of the session, without the kernel itself, at the last look

    def __enter__(self) -> Meter:
        _SAMPLER.add(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self._look_at_kernel()
        _SAMPLER.remove(self)

    def cell_started(self) -> None:
        """Begin to measure a cell."""
        self._look_at_kernel()
        self._cell_cpu, self._cell_peak = self._cpu, 0
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")  # sets VmHWM back

    def cell_ended(self) -> Usage:
        """Return what the cell took since `cell_started`."""
        if not self._look_at_kernel():
            return Usage()
        return Usage(round(max(self._cpu - self._cell_cpu, 0.0), 2), self._cell_peak)

    @property
    def usage(self) -> Usage:
        """What the kernel took in all, up to the last look at it."""
        return Usage(round(self._cpu, 2), self.peak) if self.peak else Usage()

    def sampled(self, members: list[_Process]) -> None:
        """Take in a look at the session's processes."""
        others = {one.pid: one for one in members if one.pid != self.pid}
        if len(others) == len(members):  # the kernel itself is gone
            return
        self._others = others
        self._see(sum(one.memory for one in members))

    def _look_at_kernel(self) -> bool:
        """Take in what the kernel and the others took up to now; return whether it is there."""
        own = _read(str(self.pid)) if self.pid else None
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
        if line is None or own is None:
            return False
        self._others = {pid: now for pid in self._others if (now := _read(str(pid)))}
        self._cpu = own.cpu + sum(one.cpu for one in self._others.values())
        self._see(int(line.split()[1]) * 1024 + sum(one.memory for one in self._others.values()))
        return True

    def _see(self, memory: int) -> None:
        self._cell_peak = max(self._cell_peak, memory)
        self.peak = max(self.peak, memory)
        if self._limit is not None and memory > self._limit:
            self._limit = None
            self._over(memory)


class _Sampler:
    """The thread that looks, as long as there is a kernel to look at; where there is no /proc, none."""

    def __init__(self) -> None:
        self._meters: set[Meter] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, meter: Meter) -> None:
        """Look at one more kernel."""
        with self._lock:
            self._meters.add(meter)
            if self._thread is None and Path("/proc/self/stat").exists():
                self._thread = threading.Thread(target=self._look, name="meter", daemon=True)
                self._thread.start()

    def remove(self, meter: Meter) -> None:
        """Look at it no more."""
        with self._lock:
            self._meters.discard(meter)

    def _look(self) -> None:
        wait = threading.Event()
        while True:
            with self._lock:
                if not self._meters:
                    self._thread = None
                    return
                meters = {meter.pid: meter for meter in self._meters if meter.pid}
            began = time.monotonic()
            members: dict[int, list[_Process]] = {pid: [] for pid in meters}
            for process in _processes() if meters else ():
                if process.session in members:
                    members[process.session].append(process)
            for pid, meter in meters.items():
                meter.sampled(members[pid])
            wait.wait(max(_EVERY, (time.monotonic() - began) / _SHARE))


def _processes() -> Iterator[_Process]:
    for name in os.listdir("/proc"):  # noqa: PTH208  # names only
        if name.isdigit() and (process := _read(name)):
            yield process


def started_by(kernel: int, mark: str) -> list[int]:
    """Return the processes that a kernel started: those of its session, and those with `mark` in their environment."""
    return [one.pid for one in _processes() if one.session == kernel or _has(one.pid, mark.encode())]


def _has(pid: int, mark: bytes) -> bool:
    with contextlib.suppress(OSError):
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def _read(pid: str) -> _Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # read very often
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # proc(5): from the third on, the state
    ticks = sum(int(fields[place]) for place in (11, 12, 13, 14))  # user and system, own and of children waited for
    return _Process(int(pid), int(fields[3]), ticks / _TICK, int(fields[21]) * _PAGE)


_SAMPLER = _Sampler()
