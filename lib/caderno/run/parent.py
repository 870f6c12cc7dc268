"""What the parent of warm kernels runs: it imports once what notebooks import, then forks a kernel for each task.

The engine starts it with one end of a socket pair. It first tells what it has loaded; then each packet is a request:
the kernel's arguments, environment and working directory as JSON, and beside it two file descriptors: a socket
on which this one kernel's process id and end are told, and the file for what it writes past IPython.

The process has one thread and must keep it so: a fork copies only the thread that forks, and locks that others hold.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from caderno.run import kernel

LONGEST = 1 << 20  # bytes of a packet: an environment may be large
_THREAD = "starts a thread"
_KERNEL = (  # what each kernel would import while it starts and ends, the debugger first of all
    "caderno.run.kernelapp",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "caderno.run.watch",
    "faulthandler",
    "psutil",
    "sqlite3",
    "tornado.locks",
    "tornado.platform.asyncio",
)
_SELF = ("-m", "caderno.run.parent")
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


def main() -> None:
    """Load, tell what was loaded, and serve requests until the engine goes away."""
    kernel.end_with(os.environ.get(kernel.ENGINE))
    kernel.adopt_orphans()
    engine = socket.socket(fileno=int(sys.argv[1]))
    names, left = json.loads(sys.argv[2]), json.loads(sys.argv[3])
    before = dict(os.environ)
    gc.disable()  # what imports make stays
    loaded = load([name for name in names if name not in left])
    set_by_imports = {name: value for name, value in os.environ.items() if before.get(name) != value}
    started = {name: why for name, why in loaded.items() if why == _THREAD}
    if started:  # once more without these: a process with a second thread can't be forked safely
        os.set_inheritable(engine.fileno(), True)
        again = [sys.executable, *_SELF, sys.argv[1], sys.argv[2], json.dumps(left | started)]
        os.execv(sys.executable, again)  # noqa: S606  # this very program
    from caderno.run import kernelapp

    plain = [one for one in sys.modules.values() if type(one) is ModuleType]  # others load when they are asked
    kernelapp.module_files += [file for one in plain if (file := vars(one).get("__file__"))]
    _native_threads()
    gc.freeze()  # collections in kernels do not touch what is here now, whose pages so stay shared
    gc.enable()
    engine.send(json.dumps(loaded | left).encode())
    _serve(engine, set_by_imports)


def load(names: list[str]) -> dict[str, str]:
    """Import what every kernel needs and each of `names`, in order; return for each "" or why it is left to kernels."""
    import IPython
    from IPython.core import getipython

    asking: set[str] = set()
    real: Callable[[], Any] = getipython.get_ipython

    def get_ipython() -> Any:
        """Note who asks for a shell while there is none: the answer would be wrong in a kernel."""
        if real() is None:
            asking.add(sys._getframe(1).f_globals.get("__name__", ""))
        return real()

    getipython.get_ipython = IPython.get_ipython = get_ipython
    for name in _KERNEL:
        importlib.import_module(name)
    told = {}
    for name in names:
        threads = _threads()
        try:
            _import(name)
        except BaseException as error:  # a kernel that imports it will show it in its notebook
            told[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        told[name] = _THREAD if _threads() > threads else ""
    for name in asking & sys.modules.keys():
        del sys.modules[name]
    if orm := sys.modules.get("sqlalchemy.orm"):
        orm.configure_mappers()  # which the first query of each kernel would do
    if database := sys.modules.get("mlflow.store.db.utils"):
        ask_once(database, "_get_latest_schema_revision")
    return told


def ask_once(module: ModuleType, name: str) -> None:
    """Let a function of no arguments be asked here, once, instead of in each kernel, as long as that still exists.

    MLflow's latest schema depends on what is installed alone, yet each store that opens reads 67 files for it.
    """
    with contextlib.suppress(Exception):
        answer = getattr(module, name)()
        setattr(module, name, lambda: answer)


def _import(name: str) -> None:
    """Import a module, or "module:name", which may be a module inside it, or stand for one that loads when used."""
    module, _, inside = name.partition(":")
    loaded = importlib.import_module(module)
    if inside in ("", "*") or f"{module}.{inside}" in sys.modules or not hasattr(loaded, "__path__"):
        return
    if not hasattr(loaded, inside) or isinstance(getattr(loaded, inside), ModuleType):
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f"{module}.{inside}")


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208  # names only


def _serve(engine: socket.socket, set_by_imports: dict[str, str]) -> None:
    kernels: dict[int, socket.socket] = {}
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake)
    while True:
        ready, _, _ = select.select([engine.fileno(), woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _reap(kernels)
        if engine.fileno() in ready:
            packet, fds, _, _ = socket.recv_fds(engine, LONGEST, 2)
            if not packet:
                return
            mine = socket.socket(fileno=fds[0])
            parent = str(os.getpid())
            pid = os.fork()
            if pid == 0:
                ours = [engine, mine, *kernels.values()]
                request = {**json.loads(packet), "parent": parent}
                request["env"] = set_by_imports | request["env"]
                _become_kernel(request, fds[1], ours, (woken, wake))
            os.close(fds[1])
            kernels[pid] = mine
            _tell(mine, "pid", pid)


def _tell(mine: socket.socket, what: str, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        mine.send(json.dumps({what: number}).encode())


def _reap(kernels: dict[int, socket.socket]) -> None:
    """Tell the end of each kernel that has ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if mine := kernels.pop(pid, None):
            _end_strays(kernels)
            _tell(mine, "exit", os.waitstatus_to_exitcode(status))
            mine.close()


def _end_strays(kernels: Collection[int]) -> None:
    """Kill what kernels that have ended left behind, which are children of this process now."""
    while strays := [pid for pid in _children() if pid not in kernels]:
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:  # a kernel of Linux built without it
        return []


def _become_kernel(request: dict[str, Any], log: int, ours: list[socket.socket], pipe: tuple[int, int]) -> NoReturn:
    """Turn this child into a kernel, with nothing of the parent but its imports; never returns."""
    code = 1
    try:
        kernel.end_with(request["parent"])
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        for descriptor in (nothing, log, *pipe):
            os.close(descriptor)
        for one in ours:
            one.close()
        os.environ.clear()
        os.environ.update(request["env"])
        time.tzset()
        os.chdir(request["cwd"])
        _renew()
        sys.argv[1:] = request["arguments"]
        kernel.run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # whatever it is, the log has it and this process ends
        sys.excepthook(*sys.exc_info())
    finally:
        _leave(code)


def _renew() -> None:
    """Give this kernel what each process has of its own: the start of sys.path, random numbers, native threads."""
    sys.path[0] = str(Path.cwd())
    random.seed()
    if numpy := sys.modules.get("numpy.random"):
        numpy.seed()  # the legacy global generator; Python's own does so by itself
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if pools := _native_threads():
        pools.limit(limits=int(threads) if threads.isdecimal() else os.cpu_count())


@cache
def _native_threads() -> Any:
    """Return what sets the numbers of threads of OpenMP and BLAS, whose libraries take time to find; None without."""
    with contextlib.suppress(ImportError):
        from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # has no types

        return ThreadpoolController()
    return None


def _leave(code: int) -> NoReturn:
    """End as an interpreter does, but for taking down thousands of shared modules, which would copy their pages."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
