"""Stopping a run from outside."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether a run shall stop. The first signal asks running tasks to end, a second one kills them.

    `signal` is the number of the first one, or None.
    """

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        """Call `then` at each signal."""
        self._then = then
        self.signal: int | None = None
        self.now = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal `number`: this is the handler."""
        if number == signal.SIGHUP:
            _forget_terminal()
        self.now = self.signal is not None
        self.signal = self.signal or number
        self._then()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals while inside.

        Set explicitly, since a script's `command &` starts with SIGINT ignored; an ignored SIGHUP is a `nohup`'s.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        before = {number: signal.signal(number, self) for number in _SIGNALS if not (nohup and number == signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _forget_terminal() -> None:
    """Write to nowhere in place of a terminal that is gone: each write to it would be an error."""
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
