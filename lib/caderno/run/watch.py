"""What a kernel sees of itself, in the kernel's process: which of the project's functions ran, which files were read.

The plan's picture of what a notebook uses is static; here it is checked by what happens. From Python 3.12 on each
function costs one event (sys.monitoring, PEP 669). On 3.11, where profiling every call would make Python code several
times slower, only the functions that the picture calls unused are touched: each gets a first line that tells.
Files are seen by an audit hook (PEP 578), so only what Python opens: native code and other processes are not seen.
Each finding is one line of JSON, written at once, so that it outlives a kernel that is killed.
"""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

WATCH = "CADERNO_WATCH"  # the environment variable that names the file with what to watch for
_TELL = "__caderno_ran__"
_ENGINE = str(Path(__file__).parents[1]) + os.sep
_OPTIMIZED = 0x1  # co_flags of a function; not of a module or a class's body
_SYSTEM = (
    "/usr/",
    "/lib/",
    "/lib32/",
    "/lib64/",
    "/etc/",
    "/proc/",
    "/sys/",
    "/dev/",
    "/run/",
    "/bin/",
    "/sbin/",
    "/opt/",
    "/var/",
)


def start(file: str) -> None:
    """Watch from now on, as `file` says: roots of project code, its modules, what is unused, which files are known."""
    task: dict[str, Any] = json.loads(Path(file).read_bytes())
    report = os.open(task["report"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def tell(kind: str, what: str) -> None:
        os.write(report, (json.dumps([kind, what]) + "\n").encode())

    functions = _Functions(task["roots"], task["modules"], task["unused"], tell)
    if sys.version_info >= (3, 12):
        functions.monitor()
    else:
        functions.trip()
    sys.addaudithook(_Files(task["project"], [*task["known"], str(Path(file).parent)], tell))


class _Functions:
    """Tells of each module and function of the project that is used though the picture has it unused."""

    def __init__(self, roots: Sequence[str], modules: Sequence[str], unused: dict[str, list[str]], tell: Any) -> None:
        self._roots = [f"{root}{os.sep}" for root in roots]
        self._modules = set(modules)
        self._unused = {module: set(names) for module, names in unused.items()}
        self._tell = tell
        self._told: set[str] = set()

    def module_of(self, path: str) -> str | None:
        """Return the project's module that stands in the file `path`, or None; the engine is none, wherever it is."""
        if path.startswith(_ENGINE):
            return None
        for root in self._roots:
            if path.startswith(root) and path.endswith(".py"):
                parts = Path(path[len(root) : -3]).parts
                return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        return None

    def ran(self, name: str) -> None:
        """Tell, once, that a module ("tools.a") or a function of it ("tools.a:f") was used."""
        if name not in self._told:
            self._told.add(name)
            self._tell("ran", name)

    def loaded(self, module: str) -> None:
        """Look at a module that is being imported."""
        if module not in self._modules:
            self.ran(module)

    def monitor(self) -> None:
        """See each function's first call by an event."""
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]  # from 3.12 on
        tool = next((number for number in range(5, -1, -1) if monitoring.get_tool(number) is None), None)
        if tool is None:
            return

        def started(code: CodeType, _offset: int) -> Any:
            module = self.module_of(code.co_filename)
            if module is not None:
                if code.co_name == "<module>":
                    self.loaded(module)
                elif code.co_flags & _OPTIMIZED:
                    self._check(module, code.co_qualname)
            return monitoring.DISABLE  # this place of the code needs no second event

        monitoring.use_tool_id(tool, "caderno")
        monitoring.register_callback(tool, monitoring.events.PY_START, started)
        monitoring.set_events(tool, monitoring.events.PY_START)

    def _check(self, module: str, qualified: str) -> None:
        top = qualified.partition(".")[0]
        if top in self._unused.get(module, ()):
            self.ran(f"{module}:{top}")

    def trip(self) -> None:
        """Give each unused function a first line that tells."""
        setattr(builtins, _TELL, self.ran)
        sys.meta_path.insert(0, _Finder(self, self._unused))


class _Finder:
    """Finds modules as Python's path finder does; the project's get a loader that adds lines to unused functions."""

    def __init__(self, functions: _Functions, unused: dict[str, set[str]]) -> None:
        self._functions = functions
        self._unused = unused

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        """Find a module of the project; None for any other."""
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader) or not spec.origin:
            return None
        module = self._functions.module_of(spec.origin)
        if module is None:
            return None
        self._functions.loaded(module)
        if self._unused.get(module):
            spec.loader = _Loader(name, spec.origin, module, self._unused[module])
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, module: str, unused: set[str]) -> None:
        super().__init__(name, path)
        self._module = module
        self._unused = unused

    def get_code(self, fullname: str) -> CodeType | None:
        """Compile the source with the lines added; neither read nor write a file of byte code."""
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name in self._unused:
                for function in _functions(node):
                    _add_line(function, f"{self._module}:{node.name}")
        return compile(tree, path, "exec", dont_inherit=True)


def _functions(node: ast.stmt) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return a function, or the methods of a class and of the classes in it."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node]
        case ast.ClassDef(body=body):
            return [function for inner in body for function in _functions(inner)]
    return []


def _add_line(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> None:
    first = function.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    call = ast.Expr(ast.Call(ast.Name(_TELL, ast.Load()), [ast.Constant(name)], []))
    for node in ast.walk(call):
        ast.copy_location(node, first)
    function.body.insert(1 if has_docstring else 0, call)


class _Files:
    """Tells of each file that Python opens to read and that is neither known, nor a package's, nor made here.

    Outside of the project, the system's files and those in hidden folders of the user's home are left out too.
    """

    def __init__(self, project: str, known: Sequence[str], tell: Any) -> None:
        self._project = os.path.realpath(project) + os.sep
        self._tell = tell
        self._began = time.time()
        self._written: set[str] = set()
        self._seen: set[str] = set()
        paths = {sys.prefix, sys.base_prefix, sys.exec_prefix, *(entry for entry in sys.path if entry)}
        packages = [path for path in paths if "-packages" in path or path in (sys.prefix, sys.base_prefix)]
        library = os.path.dirname(os.__file__)  # noqa: PTH120
        self._known = tuple(os.path.realpath(path) for path in (*known, *packages, library))
        self._home = os.path.realpath(os.path.expanduser("~")) + "/."  # noqa: PTH111  # settings and caches
        self._temporary = os.path.realpath(tempfile.gettempdir()) + os.sep

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at an audit event; must be quick and must not raise."""
        if event != "open" and event != "sqlite3.connect":
            return
        try:
            path = arguments[0]
            if isinstance(path, bytes):
                path = os.fsdecode(path)
            if not isinstance(path, str) or path in self._seen:
                return
            writes = event == "open" and isinstance(arguments[2], int) and _writes(arguments[2])
            self._look(path, writes)
        except (OSError, ValueError, IndexError, RecursionError):
            return

    def _look(self, path: str, writes: bool) -> None:
        real = os.path.realpath(path)
        if writes:
            self._written.add(real)
            return
        self._seen.add(path)
        if real in self._written or path.startswith(":memory:"):
            return
        if not real.startswith(self._project) and real.startswith((*_SYSTEM, self._home)):
            return
        if any(real == known or real.startswith(known + os.sep) for known in self._known):
            return
        if real.endswith((".py", ".pyc")) or "/.git/" in real or "/__pycache__" in real:
            return
        status = os.stat(real)  # noqa: PTH116
        if real.startswith(self._temporary) and status.st_mtime > self._began:
            return  # made here, by native code
        self._tell("read", real)


def _writes(flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_TRUNC)) or flags & (os.O_CREAT | os.O_EXCL) == os.O_CREAT | os.O_EXCL
