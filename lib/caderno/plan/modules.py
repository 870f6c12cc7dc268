"""The modules of a project: where they are, and of which units each consists.

A unit is a statement at the top of a module. A definition or a constant of which it is certain that it only binds its
name (see inert) counts where that name is used; every other unit runs at import and counts whenever its module is
loaded.
Units count by their syntax tree, so comments and formatting do not; nor do docstrings, except of what a decorator or a
base class of unknown effect may read.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from caderno.plan import digests
from caderno.plan.cache import StatCache
from caderno.plan.inert import OPAQUE, Scope, Uncertain
from caderno.plan.names import Names, bound_in, names_of

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_FORMAT = 2  # of what a scan gives; a new one makes what is cached worthless


@dataclass(frozen=True)
class Unit:
    """One statement at the top of a module: `label` is the name it binds, or "" for one that only runs.

    `always`: it counts whenever the module is loaded. `before` are the names bound above it, where it runs.
    """

    label: str
    always: bool
    digest: str
    before: tuple[str, ...]
    names: Names


@dataclass(frozen=True)
class Module:
    """A module's source as the fingerprint sees it. `digest` is of all its code, `text` of its text."""

    name: str
    path: Path
    digest: str
    text: str
    units: tuple[Unit, ...]
    bindings: dict[str, tuple[int, ...]]  # a name -> the units that bind it
    opaque: str  # why the module counts whole wherever it is loaded; "" where it does not

    @property
    def is_package(self) -> bool:
        """Whether it is a package's `__init__`."""
        return self.path.name == "__init__.py"

    @property
    def package(self) -> str:
        """The package it is or stands in; "" for a module at the top."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


class Modules:
    """The modules under `roots`, the earlier root first, as Python's import system finds them there."""

    def __init__(self, roots: tuple[Path, ...], cache: StatCache) -> None:
        self._roots = roots
        self._cache = cache
        self._known: dict[str, Module | None] = {}

    def get(self, name: str) -> Module | None:
        """Return the module of an absolute name, or None where the project has none. Raises OSError."""
        if name not in self._known:
            path = self._find(name)
            self._known[name] = None if path is None else self._read(name, path)
        return self._known[name]

    def is_known(self, name: str) -> bool:
        """Whether `name` is a module of the project, or a folder that is a namespace package."""
        folder = self._folder(name)
        return self.get(name) is not None or (folder is not None and any(folder.rglob("*.py")))

    def below(self, name: str) -> list[str]:
        """Return the names of all modules in the package `name` and in those inside; "" for all of the project."""
        folders = list(self._roots) if not name else [found for found in [self._folder(name)] if found]
        return [
            ".".join(part for part in (name, _dotted(path.relative_to(folder))) if part)
            for folder in folders
            for path in sorted(folder.rglob("*.py"))
            if path.is_file() and ".ipynb_checkpoints" not in path.parts
        ]

    def data_files(self, package: str) -> list[tuple[str, Path]]:
        """Return the files of a package that are no code, with their names for people: "tools/rates.json"."""
        folder = self._folder(package) if package else None
        if folder is None:
            return []
        return [
            (f"{package.replace('.', '/')}/{file.relative_to(folder).as_posix()}", file)
            for file in digests.files_in(folder)
            if file.suffix not in (".py", ".pyc")
            and not any(part.startswith(".") for part in file.parts[len(folder.parts) :])
        ]

    def _folder(self, name: str) -> Path | None:
        parts = name.split(".")
        return next((folder for root in self._roots if (folder := root.joinpath(*parts)).is_dir()), None)

    def _find(self, name: str) -> Path | None:
        """As Python does: the first root that has the top of the name is the one that counts."""
        parts = name.split(".")
        for root in self._roots:
            package, module = root.joinpath(*parts, "__init__.py"), root.joinpath(*parts).with_suffix(".py")
            if package.is_file():
                return package
            if parts[-1] and module.is_file():
                return module
            if (root / parts[0] / "__init__.py").is_file() or (root / f"{parts[0]}.py").is_file():
                return None
        return None

    def _read(self, name: str, path: Path) -> Module:
        kept = self._cache.get(f"module-{_FORMAT}-{PYTHON}", path, partial(scan, name))
        return _restored(name, path, kept)


def _dotted(relative: Path) -> str:
    parts = list(relative.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# Scanning: to JSON, since that is what the cache keeps.


def scan(name: str, path: Path) -> dict[str, Any]:
    """Return what Module holds of one file, as JSON. One that does not parse counts by its text."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return {"digest": digests.of_text(text), "text": digests.of_text(text), "units": [], "opaque": "does not parse"}
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    units = list(_units(tree, package, "resources" in text or "get_data" in text))
    return {
        "digest": tree_digest(tree),  # by now without docstrings
        "text": digests.of_text(text),
        "units": units,
        "opaque": _why_opaque(units),
    }


def _why_opaque(units: list[dict[str, Any]]) -> str:
    """Say why a module's names can't be told apart, where they can't."""
    for unit in units:
        if unit["stars"]:
            return f"imports {unit['stars'][0]} by star"
        if {"__getattr__", "__dir__"} & set(unit["binds"]):
            return "answers for its names itself (__getattr__)"
    return ""


def _units(tree: ast.Module, package: str, resources: bool) -> Iterator[dict[str, Any]]:
    future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    scope = Scope(future and any(alias.name == "annotations" for alias in _future_names(tree)))
    seen: list[str] = []
    for node in tree.body:
        if _never_runs(node) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        found = names_of([node], package)
        imports = isinstance(node, ast.Import | ast.ImportFrom)
        inert = not imports and _is_inert(node, scope)
        bound, _ = bound_in([node])
        binds = sorted(bound | found.imports.keys()) if not inert or imports else sorted(bound)
        _bind(scope, node, inert, binds, found)
        read = tree_digest(node) if not inert and _has_unknown_reader(node) else ""
        _DocstringRemover().visit(node)
        yield {
            "label": "" if imports else binds[0] if binds else "",
            "binds": binds,
            "always": not inert,
            "digest": read or ("" if imports else tree_digest(node)),
            "before": [] if imports or inert else sorted({chain[0] for chain in found.refs} & set(seen)),
            "refs": sorted(found.refs),
            "imports": {local: sorted(targets, key=str) for local, targets in sorted(found.imports.items())},
            "loads": sorted(found.loads),
            "requires": sorted(target for target in found.requires if not _standard_has(*target)),
            "stars": sorted(found.stars),
            "flags": [flag for flag in ("dynamic", "namespace", "text", "places") if getattr(found, flag)],
            "strings": sorted(found.strings) if resources or found.places else [],
        }
        seen.extend(binds)


def _future_names(tree: ast.Module) -> Iterator[ast.alias]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            yield from node.names


def _never_runs(node: ast.stmt) -> bool:
    """Whether a statement is `if TYPE_CHECKING:` or `if __name__ == "__main__":`, with no other branch."""
    match node:
        case ast.If(test=test, orelse=[]):
            match test:
                case ast.Name(id="TYPE_CHECKING") | ast.Attribute(value=ast.Name(id="typing"), attr="TYPE_CHECKING"):
                    return True
                case ast.Compare(
                    left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]
                ):
                    return True
    return False


def _is_inert(node: ast.stmt, scope: Scope) -> bool:
    try:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                scope.function(node)
            case ast.ClassDef():
                scope.class_(node)
            case ast.Assign(targets=targets, value=value) if all(isinstance(target, ast.Name) for target in targets):
                scope.value(value)
            case ast.AnnAssign(target=ast.Name(), annotation=annotation, value=value):
                scope.annotation(annotation)
                if value is not None:
                    scope.value(value)
            case ast.Pass():
                return True
            case _:
                return False
    except (Uncertain, RecursionError):
        return False
    return True


def _bind(scope: Scope, node: ast.stmt, inert: bool, binds: list[str], found: Names) -> None:
    """Note in `scope` what `node` has bound."""
    for name in binds:
        scope.values.pop(name, None)
        scope.stands_for.pop(name, None)
        if not isinstance(node, ast.ClassDef):
            scope.subclassable.discard(name)
    if isinstance(node, ast.Import | ast.ImportFrom):
        for local, targets in found.imports.items():
            scope.stands_for[local] = ".".join(part for part in next(iter(targets)) if part)
        return
    value: Any = OPAQUE
    match node:
        case ast.Assign(value=expression) | ast.AnnAssign(value=ast.expr() as expression) if inert:
            value = scope.value(expression)
        case ast.Assign() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            value = OPAQUE  # it ran before whatever comes later, so the name is there
        case _:
            return
    if not isinstance(node, ast.AnnAssign) or node.value:
        scope.values.update(dict.fromkeys(binds, value))


def _has_unknown_reader(node: ast.stmt) -> bool:
    """Whether something of unknown effect may read the docstring: a decorator, a base class."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and bool(
        node.decorator_list or getattr(node, "bases", None)
    )


class _DocstringRemover(ast.NodeTransformer):
    def _bare(self, node: Any) -> Any:
        self.generic_visit(node)
        match node.body:
            case [ast.Expr(value=ast.Constant(value=str())), *rest]:
                node.body = rest or [ast.Pass()]
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _bare


def tree_digest(tree: ast.AST) -> str:
    """Return the digest of a syntax tree: comments, formatting and line numbers do not count."""
    return digests.of_text(ast.dump(tree))


def _standard_has(module: str, name: str) -> bool:
    """Whether a module of the standard library binds `name`, so that importing it can't fail; without running it."""
    if module == "__future__":
        return True
    if module.partition(".")[0] not in sys.stdlib_module_names:
        return False
    if module in sys.builtin_module_names:
        return hasattr(import_module(module), name)
    path: Any = None
    spec = None
    for part in module.split("."):
        spec = PathFinder.find_spec(part, path)
        path = spec.submodule_search_locations if spec else None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return False
    body = ast.parse(Path(spec.origin).read_bytes()).body
    return name in bound_in(body)[0] or name in names_of(body).imports


def _restored(name: str, path: Path, kept: dict[str, Any]) -> Module:
    bindings: dict[str, list[int]] = {}
    for index, unit in enumerate(kept["units"]):
        for bound in unit["binds"]:
            bindings.setdefault(bound, []).append(index)
    return Module(
        name,
        path,
        kept["digest"],
        kept["text"],
        tuple(_unit(unit) for unit in kept["units"]),
        {bound: tuple(indices) for bound, indices in bindings.items()},
        kept["opaque"],
    )


def _unit(kept: dict[str, Any]) -> Unit:
    flags = kept["flags"]
    names = Names(
        refs={tuple(chain) for chain in kept["refs"]},
        imports={local: {(module, name) for module, name in targets} for local, targets in kept["imports"].items()},
        loads=set(kept["loads"]),
        requires={(module, name) for module, name in kept["requires"]},
        stars=set(kept["stars"]),
        dynamic="dynamic" in flags,
        namespace="namespace" in flags,
        text="text" in flags,
        places="places" in flags,
        strings=set(kept["strings"]),
    )
    return Unit(kept["label"], kept["always"], kept["digest"], tuple(kept["before"]), names)
