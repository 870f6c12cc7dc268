"""Stopping a run from outside."""

from __future__ import annotations

import signal
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
        self.now = self.signal is not None
        self.signal = self.signal or number
        self._then()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals while inside. Set explicitly: a script's `command &` starts with SIGINT ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
