"""Executing one notebook by papermill, and telling the truth about what happened.

Papermill's own record says `completed` for cells that never ran after a crash, and takes `sys.exit(0)` for
success. Here a notebook succeeded only if nothing was raised and every code cell ran.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook, remove_error_markers
from papermill.log import logger as papermill_logger

from caderno.plan.records import Cell, Failure
from caderno.report.text import size
from caderno.run.kernels import CONNECTION, MEMORY, TIMEOUT, KernelControl, TaskKernelManager, private_folder
from caderno.run.log import Log
from caderno.run.masking import Mask
from caderno.run.meter import Meter, Usage
from caderno.run.warm import Parent
from caderno.run.watching import Sight, Watch, sight

SAVE_EVERY = 10.0  # seconds between saves of the partial notebook: each writes the whole of it
_MEMORY_GRACE = 2.0  # seconds for a cell that is over its memory to end by itself
_ENGINE = "caderno"
INJECTED = "injected-parameters"


@dataclass
class Execution:
    """What one execution did: filled in as it goes, true also when it is cut short.

    `cells` are the code cells that ran to their end, `running` the place of the one that did not.
    """

    notebook: Any = None
    cells: list[Cell] = field(default_factory=list)
    running: int | None = None
    failure: Failure | None = None
    sight: Sight = field(default_factory=Sight)
    usage: Usage = field(default_factory=Usage)


def execute(
    raw: str,
    parameters: Mapping[str, Any],
    *,
    folder: Path,
    environment: Mapping[str, str],
    watch: Watch,
    mask: Mask,
    partial: Path,
    log: Path,
    control: KernelControl,
    timeout: float | None = None,
    memory: int | None = None,
    on_cell: Callable[[int, Cell], None],
    on_failure: Callable[[Failure, Path], None] | None = None,
    warm: Parent | None = None,
) -> Execution:
    """Execute the notebook whose JSON text is `raw`, with `parameters` injected; never raises for its failure.

    `folder` is the kernel's working directory, `environment` its whole environment, `watch` what it looks for in
    itself; the notebook is saved to `partial`, secrets hidden by `mask`, as it grows. `timeout` in seconds and `memory`
    in bytes are enforced from outside. What cells print goes to `log` as it comes. `on_cell(count, cell)` is called
    after each code cell, `on_failure(failure, connection file)` after one that failed, while its kernel is still there.
    With `warm`, its kernel is forked from that parent.
    """
    papermill_logger.setLevel(logging.ERROR)  # it warns about what is checked before
    execution = Execution()
    stack = contextlib.ExitStack()
    sockets = stack.enter_context(private_folder())
    over: list[int] = []

    def stop_over(peak: int) -> None:
        over.append(peak)
        control.stop(MEMORY, grace=_MEMORY_GRACE)

    meter = control.meter = stack.enter_context(Meter(memory, stop_over))
    watchdog = threading.Timer(timeout, control.stop, [TIMEOUT]) if timeout else None
    if watchdog:
        watchdog.daemon = True
        watchdog.start()
    try:
        with Log(log, mask) as written:
            execute_notebook(
                _with_kernel(nbformat.reads(raw, as_version=4)),
                None,
                parameters=dict(parameters),
                engine_name=_ENGINE,
                progress_bar=False,
                manage=lambda notebook: _Manager(
                    notebook,
                    execution,
                    save=lambda notebook: write_notebook(mask.notebook(notebook), partial),
                    log=written,
                    meter=meter,
                    on_cell=on_cell,
                    on_failure=(lambda failure: on_failure(failure, sockets / CONNECTION)) if on_failure else None,
                ),
                log=written,
                kernel_manager_class=TaskKernelManager.for_task(
                    control, {**environment, **watch.environment(sockets)}, folder, sockets, warm
                ),
            )
        execution.failure = _unfinished(execution)
    except PapermillExecutionError as error:
        execution.notebook = remove_error_markers(execution.notebook)
        execution.failure = _failure(execution, error.ename, error.evalue, "\n".join(error.traceback))
    except DeadKernelError:
        execution.failure = _failure(execution, "dead kernel", _death(control, sockets / "kernel.log"))
    except NoSuchKernel as error:
        execution.failure = _failure(execution, "no such kernel", f"{error.name!r}; see: jupyter kernelspec list")
    except RuntimeError as error:  # nbclient's and jupyter_client's for a kernel that does not start or answer
        execution.failure = _failure(execution, "kernel trouble", f"{error}\n{_death(control, sockets / 'kernel.log')}")
    finally:
        if watchdog:
            watchdog.cancel()
        execution.usage = meter.usage
        control.ended()
        execution.sight = sight(sockets)
        stack.close()
    if control.reason:
        seconds = f" after {timeout:g} s" if control.reason == TIMEOUT and timeout else ""
        if control.reason == MEMORY and memory:
            seconds = f": it took {size(over[0])} of memory, and may take {size(memory)}"
        before = execution.failure
        trace = before.traceback if before else ""
        execution.failure = _failure(execution, control.reason, f"stopped{seconds}", trace)
    return execution


def _failure(execution: Execution, kind: str, message: str, traceback: str = "") -> Failure:
    known: dict[str, Any] = {"kind": _plain(kind), "message": _plain(message), "traceback": _plain(traceback)}
    index = execution.running
    if index is None:
        return Failure(**known)
    cells = execution.notebook.cells
    injected = sum(INJECTED in cell.metadata.get("tags", []) for cell in cells[:index])
    return Failure(**known, cell=index, number=index + 1 - injected, source=cells[index].source)


def _of_outputs(execution: Execution, cell: Any) -> Failure:
    """Return the failure that a cell's outputs tell of."""
    error = next((output for output in cell.outputs if output.output_type == "error"), None)
    if error is None:
        return _failure(execution, "error", "the cell failed without saying why")
    return _failure(execution, error.ename, error.evalue, "\n".join(error.traceback))


def _plain(text: str) -> str:
    """Return `text` without lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _unfinished(execution: Execution) -> Failure | None:
    """Return the failure of a notebook that stopped without an error before its last code cell."""
    ran = {cell.index for cell in execution.cells}
    for index, cell in enumerate(execution.notebook.cells):
        if _is_run(cell) and index not in ran:
            execution.running = index if execution.running is None else execution.running
            return _failure(execution, "SystemExit", "the notebook ended itself before its last cell")
    return None


def _is_run(cell: Any) -> bool:
    """Whether nbclient executes this cell."""
    skipped = "skip-execution" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and bool(cell.source.strip()) and not skipped


def _death(control: KernelControl, log: Path) -> str:
    """Return what is known of a kernel's death: how its process ended, and the end of what it wrote."""
    text = ""
    with contextlib.suppress(OSError):
        text = log.read_text(errors="replace").strip()
    tail = "\n".join(text.splitlines()[-20:])
    return f"the kernel's process {control.ending()}" + (f"; its last words:\n{tail}" if tail else "")


def _with_kernel(notebook: Any) -> Any:
    """Return the notebook, which runs in Python where it does not say in what: papermill refuses to guess."""
    spec = notebook.metadata.setdefault("kernelspec", {"language": "python"})
    spec.setdefault("name", "python3")
    spec.setdefault("display_name", "Python 3")
    return notebook


class _Manager(NotebookExecutionManager):  # type: ignore[misc]  # papermill has no types
    """Papermill's bookkeeping of cells, made true: what did not run stays pending, what died is failed."""

    def __init__(
        self,
        nb: Any,
        execution: Execution,
        save: Callable[[Any], None],
        log: Log,
        meter: Meter,
        on_cell: Callable[[int, Cell], None],
        on_failure: Callable[[Failure], None] | None,
    ) -> None:
        super().__init__(nb, output_path=None, progress_bar=False)
        execution.notebook = nb
        for cell in nb.cells:
            if INJECTED in cell.metadata.get("tags", []):
                cell.id = INJECTED  # papermill gives it a new one each time
        self._execution = execution
        self._save = save
        self._log = log
        self._meter = meter
        self._on_cell = on_cell
        self._on_failure = on_failure
        self._to_run = sum(map(_is_run, nb.cells))
        self._saved = time.monotonic()
        self._began = 0.0

    def save(self, **kwargs: Any) -> None:
        if time.monotonic() - self._saved >= SAVE_EVERY:
            self._save(self.nb)
            self._saved = time.monotonic()

    def cell_start(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        if _is_run(cell):
            self._execution.running = cell_index
            self._log.started(len(self._execution.cells) + 1, self._to_run)
            self._meter.cell_started()
        self._began = time.monotonic()
        super().cell_start(cell, cell_index, **kwargs)

    def cell_complete(self, cell: Any, cell_index: int | None = None, **kwargs: Any) -> None:
        seconds = time.monotonic() - self._began
        died = sys.exc_info()[0] is not None  # called from papermill's `finally`
        if died:
            self.cell_exception(cell, cell_index)
        self._log.end_line()
        if _is_run(cell):
            self._log.shown(cell.outputs)
        failed = cell.metadata.papermill["status"] == self.FAILED
        if not failed and _is_run(cell) and cell_index is not None:
            self._execution.running = None
            took = self._meter.cell_ended()
            known = Cell(index=cell_index, seconds=round(seconds, 4), cpu=took.cpu, peak=took.peak)
            self._execution.cells.append(known)
            self._on_cell(len(self._execution.cells), known)
        if failed and not died and self._on_failure:
            self._on_failure(_of_outputs(self._execution, cell))
        super().cell_complete(cell, cell_index, **kwargs)

    def notebook_complete(self, **kwargs: Any) -> None:
        """Close the record; unlike papermill's own, leave cells that never ran pending."""
        self.end_time = self.now()
        self.nb.metadata.papermill["end_time"] = self.end_time.isoformat()
        self.nb.metadata.papermill["duration"] = (self.end_time - self.start_time).total_seconds()


class _Engine(NBClientEngine):  # type: ignore[misc]  # papermill has no types
    """Papermill's nbclient engine with our bookkeeping."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        *,
        manage: Callable[[Any], _Manager],
        log: Log,
        kernel_manager_class: type[TaskKernelManager],
        start_timeout: int = 60,
        **kwargs: Any,
    ) -> Any:
        manager = manage(nb)
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(
                manager,
                kernel_name,
                start_timeout=start_timeout,
                iopub_timeout=30,  # nbclient's own 4 s are too few for a busy machine: the cell would count as failed
                kernel_manager_class=kernel_manager_class,
                stdout_file=log,
                stderr_file=log,
            )
        finally:
            manager.notebook_complete()
        return manager.nb


papermill_engines.register(_ENGINE, _Engine)


def write_notebook(notebook: Any, path: Path) -> None:
    """Write a notebook as JSON text; lone surrogates in outputs are replaced."""
    path.write_bytes(nbformat.writes(notebook).encode("utf-8", "replace"))
