"""What the parent of warm kernels imports: what the notebooks import themselves and by the project's code.

The project's own modules are left to the kernels, which so see each edit.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from caderno.plan.code import Seen
from caderno.spec import Notebook
from caderno.spec.notebook import parse_cell


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
        found.update((name, None) for name in _names(trees) if _is_third_party(name, ours))
    return list(found)


def imported(sources: Iterable[str]) -> list[str]:
    """Return the same of a notebook that is nobody's: modules count as third-party where they are installed."""
    names = _names([tree for source in sources if (tree := parse_cell(source))])
    return [name for name in dict.fromkeys(names) if _is_third_party(name, set()) and _is_installed(name)]


def _names(trees: Iterable[ast.Module]) -> list[str]:
    """Return what code imports, with what it takes from that."""
    bound: dict[str, str] = {}
    names: list[str] = []
    for tree in trees:
        names += [name for node in tree.body for name in _imported(node, bound)]
        names += _attributes(tree, bound)
    return names


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


def _is_installed(name: str) -> bool:
    """Whether a module comes from where packages are installed, so that no notebook's neighbour is meant."""
    try:
        spec = importlib.util.find_spec(name.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return False
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    installed = tuple(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    return any(place.startswith(installed) for place in places if place)
