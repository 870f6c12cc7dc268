"""What the parent of warm kernels imports: what the notebooks import themselves and by the project's code.

The project's own modules are left to the kernels, which so see each edit.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from caderno.plan.code import Seen
from caderno.spec import Notebook


def wanted(notebooks: Iterable[tuple[Notebook, Seen]]) -> list[str]:
    """Return the third-party modules in the order in which notebooks import them.

    "sklearn.tree" is a module, "sklearn:tree" what is imported from one, which may be a module too.
    """
    found: dict[str, None] = {}
    read: set[Path] = set()
    for notebook, seen in notebooks:
        ours = {name.partition(".")[0] for name in seen.picture.modules}
        trees = [cell.tree for cell in notebook.cells if cell.tree]
        for path in seen.picture.files:
            if path not in read:
                read.add(path)
                trees.append(ast.parse(path.read_bytes()))
        bound: dict[str, str] = {}
        for tree in trees:
            names = [name for node in tree.body for name in _imported(node, bound)]
            names += _attributes(tree, bound)
            found.update((name, None) for name in names if _is_third_party(name, ours))
    return list(found)


def _attributes(tree: ast.Module, bound: dict[str, str]) -> Iterator[str]:
    """Yield what code takes from imported modules: mlflow.sklearn is loaded when it is first used."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in bound:
                yield f"{bound[name]}:{attribute}"


def _imported(node: ast.stmt, bound: dict[str, str]) -> Iterator[str]:
    """Yield the modules that a statement imports; note in `bound` under which names they stand."""
    match node:
        case ast.Import(names=aliases):
            for alias in aliases:
                top = alias.name.partition(".")[0]
                bound[alias.asname or top] = alias.name if alias.asname else top
                yield alias.name
        case ast.ImportFrom(module=str() as module, level=0, names=aliases):
            yield from (f"{module}:{alias.name}" for alias in aliases)


def _is_third_party(name: str, ours: set[str]) -> bool:
    top = name.partition(":")[0].partition(".")[0]
    return top not in ours and top not in sys.stdlib_module_names
