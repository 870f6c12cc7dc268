"""What a notebook file says before it runs: its code cells, its parameters, its kernel."""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import json
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from caderno.errors import InvalidPipeline, Problem

UNSET: Any = object()


@dataclass(frozen=True)
class Parameter:
    """One assignment in the `parameters` cell.

    `default` is the literal's JSON value; UNSET where there is none (`x: int`) or where it is an
    expression. `annotation` is its source text, or None. `where` is "file, cell 2, line 3" (from 1).
    """

    name: str
    annotation: str | None
    default: Any
    where: str
    required: bool = False
    comment: str = ""  # behind the assignment, else above it


@dataclass(frozen=True)
class CodeCell:
    """A code cell: `index` is its place in the notebook from 0; `tree` is None where it is no Python."""

    index: int
    source: str
    tags: tuple[str, ...]
    tree: ast.Module | None


@dataclass(frozen=True)
class Notebook:
    """A parsed notebook file. `raw` is what is executed, whatever becomes of the file meanwhile."""

    path: Path
    name: str
    raw: str = field(repr=False)
    kernel: str
    language: str
    cells: tuple[CodeCell, ...]

    @property
    def is_python(self) -> bool:
        """Whether its code is Python, so that it can be parsed here."""
        return self.language == "python"

    @cached_property
    def parameters_cell(self) -> CodeCell | None:
        """The cell that papermill's parameters follow, or None."""
        return next((cell for cell in self.cells if "parameters" in cell.tags), None)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The declared parameters by name, in order; empty where there is no `parameters` cell."""
        cell = self.parameters_cell
        if cell is None or cell.tree is None:
            return {}
        return parameters_in(cell.source, cell.tree, f"{self.name}, cell {cell.index + 1}")


_MAGIC = {"get_ipython", "globals", "locals", "vars", "exec", "eval"}  # by these a name may be bound unseen
_EARLY_HINT = "papermill sets parameters right after the cell tagged `parameters`: move that cell up, or this one down"


def read(path: Path, name: str) -> Notebook:
    """Read the notebook at `path`, called `name` in messages. Raises InvalidPipeline where it is not one."""
    try:
        raw = path.read_text(encoding="utf-8")
        content = json.loads(raw)
    except FileNotFoundError:
        raise InvalidPipeline([Problem(name, "there is no such notebook")]) from None
    except OSError as error:
        raise InvalidPipeline([Problem(name, f"can't be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise InvalidPipeline([Problem(name, "is not UTF-8 text, so not a notebook")]) from None
    except json.JSONDecodeError as error:
        hint = "a merge left its marks in it?" if "<<<<<<<" in raw else "open it in JupyterLab and save it again"
        raise InvalidPipeline([Problem(f"{name}:{error.lineno}", f"not valid JSON: {error.msg}", hint)]) from None
    problem = _shape_problem(content)
    if problem:
        raise InvalidPipeline([Problem(name, *problem)])
    metadata = content.get("metadata", {})
    kernelspec = metadata.get("kernelspec", {})
    language = kernelspec.get("language") or metadata.get("language_info", {}).get("name") or "python"
    cells = tuple(
        _code_cell(index, cell, language == "python")
        for index, cell in enumerate(content["cells"])
        if cell.get("cell_type") == "code"
    )
    tagged = [cell.index + 1 for cell in cells if "parameters" in cell.tags]
    if len(tagged) > 1:
        where = " and ".join(map(str, tagged))
        raise InvalidPipeline([Problem(name, f"cells {where} are both tagged `parameters`", "keep the tag on one")])
    notebook = Notebook(path, name, raw, kernelspec.get("name") or "python3", language, cells)
    early = [
        Problem(f"{name}, cell {cell.index + 1}, line {line}", f"uses {parameter!r} before it is defined", _EARLY_HINT)
        for cell, line, parameter in _used_early(notebook)
    ]
    if early:
        raise InvalidPipeline(early)
    return notebook


def _used_early(notebook: Notebook) -> Iterator[tuple[CodeCell, int, str]]:
    """Yield (cell, line, name) where a parameter is read above its cell and nothing there can have bound it."""
    bound: set[str] = set(vars(builtins))
    if notebook.parameters_cell is None:
        return
    for cell in notebook.cells:
        if cell is notebook.parameters_cell or cell.tree is None:
            return
        loads = _Loads()
        loads.visit(cell.tree)
        bound |= loads.bound
        if "*" in loads.bound or loads.names.keys() & _MAGIC:
            return
        for name, line in loads.names.items():
            if name in notebook.parameters and name not in bound:
                yield cell, line, name


class _Loads(ast.NodeVisitor):
    """The names that a cell reads when it runs, each with the line of its first use, and those that it may bind."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.bound: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.names.setdefault(node.id, node.lineno)
        else:
            self.bound.add(node.id)

    def visit_alias(self, node: ast.alias) -> None:
        self.bound.add(node.asname or node.name.partition(".")[0])

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Look at what is evaluated at the definition: the body may run when all is bound."""
        self.bound.add(node.name)
        for part in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.bound.add(node.name)
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Leave out: it runs later, if at all."""

    def visit_Try(self, node: ast.Try) -> None:
        """Leave out what a handler may catch."""
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)
        bound = _Loads()
        for part in node.body:
            bound.visit(part)
        self.bound |= bound.bound

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.bound.add(node.name)
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self.bound.add(node.arg)


def _shape_problem(content: Any) -> tuple[str, str] | None:
    if not isinstance(content, dict) or "nbformat" not in content:
        return "is JSON, but not a notebook", "open it in JupyterLab and save it again"
    if content["nbformat"] != 4:
        return (
            f"has notebook format {content['nbformat']}, not 4",
            "run: jupyter nbconvert --to notebook --inplace FILE",
        )
    if not isinstance(content.get("cells"), list):
        return "has no list of cells", "open it in JupyterLab and save it again"
    for number, cell in enumerate(content["cells"], 1):
        if not _is_cell(cell):
            return f"cell {number} is none of nbformat 4", "open it in JupyterLab and save it again"
    return None


def _is_cell(cell: Any) -> bool:
    if not isinstance(cell, dict) or not isinstance(cell.get("metadata", {}), dict):
        return False
    source = cell.get("source", "")
    return isinstance(source, str) or (isinstance(source, list) and all(isinstance(line, str) for line in source))


def _code_cell(index: int, cell: dict[str, Any], python: bool) -> CodeCell:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(source)
    tags = tuple(cell.get("metadata", {}).get("tags", ()))
    return CodeCell(index, source, tags, parse_cell(source) if python else None)


def parse_cell(source: str) -> ast.Module | None:
    """Return the tree of a cell, IPython's magics turned into calls first; None where it does not parse."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError):
        pass
    from IPython.core.inputtransformer2 import TransformerManager  # half a second, so only for cells with magics

    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError):
        return None


def parameters_in(source: str, tree: ast.Module, where: str) -> dict[str, Parameter]:
    """Return the parameters that a `parameters` cell declares, given with its tree; `where` names the cell."""
    found = {}
    comments = _comments(source)
    for node in tree.body:
        parameter = _parameter(node, f"{where}, line {getattr(node, 'lineno', 1)}")
        if parameter:
            found[parameter.name] = replace(parameter, comment=_comment_of(node, comments))
    return found


def _comments(source: str) -> dict[int, tuple[bool, str]]:
    """Return the comments by line: whether one stands alone there, and its text."""
    found: dict[int, tuple[bool, str]] = {}
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                found[token.start[0]] = not token.line[: token.start[1]].strip(), token.string.lstrip("#").strip()
    return found


def _comment_of(node: ast.stmt, comments: dict[int, tuple[bool, str]]) -> str:
    line = node.end_lineno or node.lineno
    if line in comments:
        return comments[line][1]
    above: list[str] = []
    line = node.lineno - 1
    while comments.get(line, (False, ""))[0]:
        above.insert(0, comments[line][1])
        line -= 1
    return " ".join(above)


def _parameter(node: ast.stmt, where: str) -> Parameter | None:
    match node:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
            text: str | None = ast.unparse(annotation)
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                text = annotation.value
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            text = None
        case _:
            return None
    default = UNSET
    if value is not None:
        try:
            default = json.loads(json.dumps(ast.literal_eval(value)))
        except (ValueError, TypeError):
            default = UNSET
    return Parameter(name, text, default, where, required=value is None)
