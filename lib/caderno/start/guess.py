"""What a notebook that was never made for a pipeline seems to read and write."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from caderno.spec import CodeCell, Notebook

_PATH_NAME = re.compile(r"(^|_)(path|file|filename|folder|dir|csv|parquet|json|db)$", re.I)
_PATH_VALUE = re.compile(r"^(?!\w+://)(?=\S)[^\n*?]*(\.[A-Za-z][A-Za-z0-9]{0,7}|/[^/\n]+/?)$")
_DATA_FILE = re.compile(
    r"^(?!\w+://)[\w./ -]*\w\.(csv|tsv|parquet|feather|json|xlsx?|npy|npz|pkl|pickle|h5|hdf5|db|sqlite|zip|gz)$", re.I
)
_WRITES = re.compile(r"^(to_[a-z]+|write\w*|save\w*|dump|mkdir|imsave)$")
_READS = re.compile(r"^(read_\w+|read|load\w*|genfromtxt)$")


@dataclass(frozen=True)
class PathGuess:
    """A parameter that seems to hold a path; `path` is absolute; `written` where a cell seems to write to it."""

    name: str
    default: str
    path: Path
    written: bool


@dataclass(frozen=True)
class Hardcoded:
    """A path written into a cell, not a parameter; `cell` counts from 1, `verb` is what the cell does with it."""

    text: str
    cell: int
    verb: Literal["reads", "writes", "names"]

    @property
    def written(self) -> bool:
        """Whether the cell writes to it."""
        return self.verb == "writes"


def paths(notebook: Notebook, folder: Path, root: Path) -> list[PathGuess]:
    """Return the parameters of `notebook`, which works in `folder`, that seem to be paths."""
    written = {name for call, argument in _calls(notebook) if _is_write(call) for name in _names(argument)}
    found = []
    for name, parameter in notebook.parameters.items():
        default = parameter.default
        if not isinstance(default, str) or not default or "://" in default:
            continue
        if not (_PATH_NAME.search(name) or _PATH_VALUE.match(default)):
            continue
        path = Path(folder / default).resolve()
        if not path.exists() and (root / default).exists():
            path = (root / default).resolve()
        found.append(PathGuess(name, default, path, name in written))
    return found


def hardcoded(notebook: Notebook) -> list[Hardcoded]:
    """Return the paths that are written into calls which read or write files, and texts that look like data files."""
    found: dict[str, Hardcoded] = {}
    for cell in notebook.cells:
        if cell is notebook.parameters_cell:
            continue
        for call, argument in _calls_in(cell):
            writes = _is_write(call)
            if not (writes or _READS.match(_called(call)) or _called(call) == "open"):
                continue
            text = argument.value if isinstance(argument, ast.Constant) else None
            if isinstance(text, str) and "://" not in text and _PATH_VALUE.match(text):
                found.setdefault(text, Hardcoded(text, cell.index + 1, "writes" if writes else "reads"))
        for node in ast.walk(cell.tree) if cell.tree else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _DATA_FILE.match(node.value):
                found.setdefault(node.value, Hardcoded(node.value, cell.index + 1, "names"))
    return list(found.values())


def candidate(notebook: Notebook) -> CodeCell | None:
    """Return the first code cell that consists of assignments of literals only, or None."""
    for cell in notebook.cells:
        if cell.tree and cell.tree.body and all(_is_literal(node) for node in cell.tree.body):
            return cell
    return None


def _is_literal(node: ast.stmt) -> bool:
    match node:
        case (
            ast.Assign(targets=[ast.Name()], value=value) | ast.AnnAssign(target=ast.Name(), value=ast.expr() as value)
        ):
            try:
                ast.literal_eval(value)
            except (ValueError, TypeError):
                return False
            return True
    return False


def _calls(notebook: Notebook) -> Iterator[tuple[ast.Call, ast.expr]]:
    for cell in notebook.cells:
        if cell is not notebook.parameters_cell:
            yield from _calls_in(cell)


def _calls_in(cell: CodeCell) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Yield each call with each of its arguments, and with what a method is called on: Path(x).write_text()."""
    for node in ast.walk(cell.tree) if cell.tree else ():
        if isinstance(node, ast.Call):
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                yield node, argument
            if isinstance(node.func, ast.Attribute) and node.func.attr in ("write_text", "write_bytes", "open"):
                yield node, node.func.value


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _is_write(call: ast.Call) -> bool:
    name = _called(call)
    if name == "open":
        modes = [a.value for a in [*call.args, *(k.value for k in call.keywords)] if isinstance(a, ast.Constant)]
        return any(isinstance(mode, str) and re.fullmatch(r"[rwaxbt+]*[wax][bt+]*", mode) for mode in modes)
    return bool(_WRITES.match(name))


def _names(argument: ast.expr) -> Iterator[str]:
    return (node.id for node in ast.walk(argument) if isinstance(node, ast.Name))
