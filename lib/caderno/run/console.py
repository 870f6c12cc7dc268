"""The terminal as both the progress of a run and the listings write to it."""

from __future__ import annotations

import os
import re
import sys

from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 400  # columns where no terminal limits them: a line is a row
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class QuietConsole(Console):
    """Falls silent when its reader goes away (`caderno run | head`): the run goes on."""

    def on_broken_pipe(self) -> None:
        """Drop what is written from now on."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class ListingConsole(Console):
    """Stops when its reader goes away. Raises BrokenPipeError."""

    def __init__(self) -> None:
        super().__init__(highlight=False)
        if not self.is_terminal:
            self.width = _PIPE_WIDTH

    def on_broken_pipe(self) -> None:
        """Hand the end of the reader on."""
        raise BrokenPipeError


def clean(text: str) -> str:
    """Return `text` without control sequences: a notebook's error must not steer the reader's terminal."""
    return _CONTROL.sub("", text)


def new_table(*columns: str) -> Table:
    """Return a table without lines, in which long texts go on below."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
