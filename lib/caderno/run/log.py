"""What a task prints, as text that can be followed while it runs: log.txt in its directory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from caderno.run.console import clean
from caderno.run.masking import Mask

_PICTURE = re.compile(r"<Figure size .*>|<[\w.]+ object at 0x[0-9a-f]+>")  # in words what only a page can show
_EVERY = 5.0  # seconds between the states of a progress bar, which overwrites its line, that are kept
_LONGEST = 100_000  # characters without an end of line that are held back
_POLL = 0.2  # seconds between two looks at a log that is followed


class Log:
    """A log being written: whole lines, secrets hidden, of a line that was overwritten its last state.

    Use as a context manager; to papermill it is the file for both of a cell's streams.
    """

    def __init__(self, path: Path, mask: Mask) -> None:
        self._file = path.open("w", encoding="utf-8", errors="replace")
        self._mask = mask.by_line()
        self._rest = ""
        self._kept = time.monotonic()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end_line()
        self._file.close()

    def write(self, text: str) -> None:
        """Take in what a cell printed; a line is written when it is whole."""
        *lines, self._rest = (self._rest + text.replace("\r\n", "\n")).split("\n")
        for line in lines:
            self._line(line)
        if "\r" in self._rest:
            state, self._rest = self._rest.rsplit("\r", 1)
            if not self._rest:
                self._rest = "\r"  # it will be overwritten by what comes next
            if time.monotonic() - self._kept >= _EVERY and state.strip("\r"):
                self._line(state)
        if len(self._rest) > _LONGEST:
            self.end_line()
        self._file.flush()

    def flush(self) -> None:
        """Do nothing: lines are flushed as they are written."""

    def end_line(self) -> None:
        """Write what is left of a line that has no end."""
        rest, self._rest = self._rest, ""
        if rest.strip("\r"):
            self._line(rest)
        self._file.flush()

    def started(self, number: int, cells: int) -> None:
        """Begin a cell, the code cell `number` of `cells`, from 1."""
        self.end_line()
        self._line(f"── cell {number} of {cells}")
        self._file.flush()

    def shown(self, outputs: list[Any]) -> None:
        """Write a cell's outputs that are no streams: the texts of results, the traceback of an error."""
        for output in outputs:
            data = output.get("data", {})
            if output.output_type == "error":
                self.write("\n".join(output.traceback) + "\n")
            elif "text/markdown" in data:
                self.write(data["text/markdown"] + "\n")
            elif "text/plain" in data and not _PICTURE.fullmatch(data["text/plain"]):
                self.write(data["text/plain"] + "\n")

    def _line(self, line: str) -> None:
        self._file.write(self._mask.text(clean(line.rstrip("\r").rpartition("\r")[2])) + "\n")
        self._kept = time.monotonic()


def follow(path: Path, running: Callable[[], bool]) -> Iterator[str]:
    """Yield what is in the log at `path`, then what is added, until the task that writes it is not `running()`.

    A task that is tried again begins a new log at the same place; when it ends, its directory moves away.
    """
    while True:
        with path.open(encoding="utf-8", errors="replace") as file:
            mine = path.stat().st_ino
            while True:
                alive = running()
                text = file.read()
                if text:
                    yield text
                elif not alive:
                    return
                else:
                    time.sleep(_POLL)
                    if path.exists() and path.stat().st_ino != mine:
                        break
        yield "── tried again\n"
