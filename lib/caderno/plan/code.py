"""The code behind a notebook: its cells, what they use of the project's modules, and the packages they import."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from caderno.plan import digests
from caderno.plan.cache import StatCache
from caderno.plan.modules import PYTHON, Modules, tree_digest
from caderno.plan.names import Names, names_of
from caderno.plan.packages import Packages
from caderno.plan.picture import Picture
from caderno.plan.records import Code
from caderno.spec.notebook import CodeCell, Notebook

_RUNS_ANYTHING = ("run", "load", "load_ext", "loadpy", "pylab")  # IPython's magics that execute code from elsewhere


@dataclass(frozen=True)
class Seen:
    """A notebook's code as the fingerprint counts it, and the picture that it was taken from."""

    code: Code
    picture: Picture


class CodeScanner:
    """Finds and digests the code behind notebooks of one project, as it is when first asked for."""

    def __init__(self, lib: Path, cache: StatCache) -> None:
        self._lib = lib
        self._cache = cache
        self._packages = Packages(cache)
        self._modules: dict[Path, Modules] = {}

    def scan(self, notebook: Notebook, observed: Iterable[str] = ()) -> Seen:
        """Return all code that `notebook` depends on. Raises OSError where a module can't be read.

        `observed` are functions ("tools.a:f") and modules that a run saw used where the picture had them unused.
        """
        cells = [_cell_digest(cell, notebook) for cell in notebook.cells if cell.source.strip()]
        folder = notebook.path.parent
        if folder not in self._modules:  # as in the kernel: where it works, then PYTHONPATH
            self._modules[folder] = Modules((folder, self._lib), self._cache)
        names = {f"cell {cell.index + 1}": _names(cell) for cell in notebook.cells if cell.source.strip()}
        picture = Picture(self._modules[folder], names if notebook.is_python else {}, self._cache, observed)
        code = Code(
            notebook=digests.of_json(cells),
            cells=cells,
            units=picture.units,
            packages=self._packages.versions(picture.external),
            python=PYTHON,
        )
        return Seen(code, picture)


def _names(cell: CodeCell) -> Names:
    if cell.tree is None:
        return Names(dynamic=True)
    names = names_of([cell.tree])
    for node in ast.walk(cell.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[ast.Constant(value=magic), *_]):
                names.dynamic |= magic in _RUNS_ANYTHING and "autoreload" not in ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="run_cell_magic"), args=[_, _, ast.Constant(value=str() as body)]):
                names = _merged(names, body)
    if not ("resources" in cell.source or "get_data" in cell.source):
        names.strings.clear()
    return names


def _merged(names: Names, body: str) -> Names:
    """Add what the body of a cell magic (%%time, %%capture) refers to, where it is Python."""
    from caderno.spec.notebook import parse_cell

    tree = parse_cell(body)
    return names_of([tree], names=names) if tree else names


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
