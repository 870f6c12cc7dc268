"""Warm kernels for papermill on its own: `papermill --engine caderno-warm in.ipynb out.ipynb`.

An entry point of the group `papermill.engine`. Each process that runs notebooks by it has one parent of kernels, which
imports what the first notebook imports; what papermill does, writes and raises is its own.
"""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from papermill.engines import NBClientEngine

from caderno.run.kernels import KernelControl, TaskKernelManager, private_folder
from caderno.run.preload import imported
from caderno.run.warm import Parent


class WarmEngine(NBClientEngine):  # type: ignore[misc]  # papermill has no types
    """Papermill's nbclient engine with kernels that are forked."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        """Execute as papermill does, in a kernel of this process's parent; in a cold one where there is no forking."""
        control = KernelControl()
        with private_folder() as sockets:
            manager = TaskKernelManager.for_task(control, os.environ, Path.cwd(), sockets, _parent(nb_man.nb))
            try:
                return super().execute_managed_notebook(nb_man, kernel_name, kernel_manager_class=manager, **kwargs)
            finally:
                control.ended()


_STARTING = threading.Lock()
_STARTED: list[Parent] = []


def _parent(notebook: Any) -> Parent | None:
    """Return the parent of this process, started for what `notebook` imports if there is none yet."""
    if sys.platform != "linux":
        return None
    with _STARTING:
        if not _STARTED:
            modules = imported([cell.source for cell in notebook.cells if cell.cell_type == "code"])
            _STARTED.append(_start(modules))
            atexit.register(_STARTED[0].close)
        return _STARTED[0]


def _start(modules: list[str]) -> Parent:
    """Start a parent in a thread that lasts as long as this process, since it dies with its thread."""
    started: queue.Queue[Parent] = queue.Queue()

    def keep() -> None:
        started.put(Parent(modules, Path.cwd(), os.environ))
        threading.Event().wait()

    threading.Thread(target=keep, name="caderno-parent", daemon=True).start()
    return started.get()
