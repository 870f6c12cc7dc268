"""Which project code and which packages a notebook depends on.

The unit is the module: a notebook depends on every module under lib/ that it imports, transitively, and a
module counts by its syntax tree, so comments and formatting do not. Where an import is not certain
(computed at run time, or by star), the whole package counts.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from caderno.plan import digests
from caderno.plan.cache import StatCache
from caderno.plan.records import Code
from caderno.spec.notebook import CodeCell, Notebook

EVERYTHING = "*"  # an import that could be of any module
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class CodeScanner:
    """Finds and digests the code behind notebooks of one project."""

    def __init__(self, lib: Path, cache: StatCache) -> None:
        self._lib = lib
        self._cache = cache
        self._distributions: dict[str, list[tuple[str, str]]] | None = None

    def scan(self, notebook: Notebook) -> Code:
        """Return all code that `notebook` depends on. Raises OSError where a module can't be read."""
        cells = [_cell_digest(cell, notebook) for cell in notebook.cells if cell.source.strip()]
        imports = {name for cell in notebook.cells if cell.tree for name in imports_of(cell.tree)}
        if notebook.is_python and any(cell.tree is None for cell in notebook.cells if cell.source.strip()):
            imports.add(EVERYTHING)
        roots = (notebook.path.parent, self._lib)  # as in the kernel: where it works, then PYTHONPATH
        modules, external = self._reach(imports, roots)
        return Code(
            notebook=digests.of_json(cells),
            cells=cells,
            modules=dict(sorted(modules.items())),
            packages=dict(sorted(self._packages(external).items())),
            python=PYTHON,
        )

    def _reach(self, imports: Iterable[str], roots: tuple[Path, ...]) -> tuple[dict[str, str], set[str]]:
        """Return (project modules with their digests, top-level names of all other imports)."""
        modules: dict[str, str] = {}
        external: set[str] = set()
        queue = sorted(imports)
        while queue:
            name = queue.pop()
            places = [list(_modules(name, root)) for root in roots]
            found = [*chain(*places)] if name.endswith(EVERYTHING) else next(filter(None, places), [])
            if not found:
                external.add(name.partition(".")[0])
            for module, path in found:
                if module not in modules:
                    scan = self._cache.get(f"module-{PYTHON}", path, partial(scan_module, module))
                    modules[module] = scan["digest"]
                    queue.extend(scan["imports"])
        return modules, external

    def _packages(self, names: Iterable[str]) -> dict[str, str]:
        """Return the versions of the distributions that provide the top-level modules `names`."""
        wanted = sorted(set(names) - sys.stdlib_module_names - {EVERYTHING})
        if not wanted:
            return {}
        known = self._installed()
        return {name: version for module in wanted for name, version in known.get(module, [(module, "?")])}

    def _installed(self) -> dict[str, list[tuple[str, str]]]:
        """Return for each importable top-level name its distributions and versions.

        Kept as long as no folder of the import path has changed: installing or removing changes one.
        """
        if self._distributions is None:
            folders = [Path(entry) for entry in sys.path if entry.endswith("-packages") and Path(entry).is_dir()]
            stamp = digests.of_json([[str(folder), folder.stat().st_mtime_ns] for folder in folders])
            anchor = Path(importlib.metadata.__file__)
            self._distributions = self._cache.get("distributions", anchor, lambda _: _distributions(), variant=stamp)
        return self._distributions


def _distributions() -> dict[str, list[tuple[str, str]]]:
    return {
        module: [(name, importlib.metadata.version(name)) for name in sorted(set(names))]
        for module, names in importlib.metadata.packages_distributions().items()
    }


def _modules(name: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modules under `root` that importing `name` loads: each package above it, and itself."""
    head, _, last = name.rpartition(".")
    if last == EVERYTHING:
        if head:  # a module has no folder, a package has packages above it
            yield from _modules(head, root)
        folder = root.joinpath(*head.split(".")) if head else root
        for path in sorted(path for path in folder.rglob("*.py") if path.is_file()):
            yield _module_name(path.relative_to(root)), path
        return
    place = root
    parts: list[str] = []
    for part in name.split("."):
        place = place / part
        parts.append(part)
        if (place / "__init__.py").is_file():
            yield ".".join(parts), place / "__init__.py"
        elif place.with_suffix(".py").is_file():
            yield ".".join(parts), place.with_suffix(".py")
            return
        elif not place.is_dir():
            return


def _module_name(relative: Path) -> str:
    parts = list(relative.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def scan_module(module: str, path: Path) -> dict[str, Any]:
    """Return {"digest", "imports"} of one module; one that does not parse counts by its text."""
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return {"digest": digests.of_text(text), "imports": []}
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return {"digest": tree_digest(tree), "imports": sorted(imports_of(tree, package))}


def tree_digest(tree: ast.AST) -> str:
    """Return the digest of a syntax tree: comments, formatting and line numbers do not count."""
    return digests.of_text(ast.dump(tree))


def _cell_digest(cell: CodeCell, notebook: Notebook) -> str:
    """Return a cell's digest. In the `parameters` cell, what declares a literal counts by the resolved value."""
    if cell.tree is None:
        return digests.of_text(cell.source)
    if cell is notebook.parameters_cell:
        body = [node for node in cell.tree.body if not _declares_literal(node)]
        return tree_digest(ast.Module(body=body, type_ignores=[]))
    return tree_digest(cell.tree)


def _declares_literal(node: ast.stmt) -> bool:
    """Whether the resolved value says all of an assignment: a literal that JSON gives back as it is."""
    match node:
        case ast.AnnAssign(target=ast.Name(), value=value) | ast.Assign(targets=[ast.Name()], value=value):
            with contextlib.suppress(ValueError, TypeError):
                literal = ast.literal_eval(value or ast.Constant(None))
                return bool(json.loads(json.dumps(literal)) == literal)
    return False


def imports_of(tree: ast.AST, package: str = "") -> set[str]:
    """Return the absolute names that `tree` may import, wherever the statement stands.

    `from a import b` gives "a.b", which stands for a and, if it is a module, a.b. "a.*" is all of package a,
    "*" anything: a star import, or one that is computed at run time.
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names.update(alias.name for alias in aliases)
            case ast.ImportFrom(names=aliases):
                base = _absolute(node, package)
                names.update(f"{base}.{alias.name}".lstrip(".") for alias in aliases)
            case ast.Call(func=ast.Name(id="__import__") | ast.Attribute(attr="import_module"), args=args):
                names.add(_literal_import(args, package))
            case ast.Call(func=ast.Name(id="exec" | "eval" | "import_module")):
                names.add(_literal_import([], package))
    return names


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _literal_import(args: list[ast.expr], package: str) -> str:
    match args:
        case [ast.Constant(value=str() as name)] if not name.startswith("."):
            return name
    return f"{package.partition('.')[0]}.{EVERYTHING}" if package else EVERYTHING
