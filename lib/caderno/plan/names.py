"""Which names a piece of Python refers to, and what it does that a reader of names can't see through.

A reference is a chain: `tools.a.f(x)` refers to ("tools", "a", "f") and ("x",). Names that are local to a function or a
comprehension are no references. A chain that is assigned to or deleted (`tools.a.LIMIT = 3`) is cut before its last
name: what is changed is the thing before it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Chain = tuple[str, ...]
Target = tuple[str, str | None]  # (module, name in it); (module, None) is the module itself

_NAMESPACE = {"globals", "vars", "locals", "dir"}  # of these, all but the first only when called without argument
_EXECUTES = {"exec", "eval", "__import__"}
TEXT = {"__doc__", "__code__", "getsource", "getsourcelines", "getsourcefile", "findsource", "getdoc", "getcomments"}
PLACES = {"__file__", "__path__", "__spec__", "__loader__"}


@dataclass
class Names:
    """What a piece of code refers to.

    `imports` maps a local name to what it stands for; `loads` are modules that it imports (absolute); `stars` those it
    imports by star. `dynamic`: it may import or run anything. `namespace`: it takes its module's names as data.
    `text`: it reads docstrings or source. `places`: it asks where its file is; `strings` are its literals then.
    """

    refs: set[Chain] = field(default_factory=set)
    imports: dict[str, set[Target]] = field(default_factory=dict)
    loads: set[str] = field(default_factory=set)
    requires: set[tuple[str, str]] = field(default_factory=set)
    stars: set[str] = field(default_factory=set)
    dynamic: bool = False
    namespace: bool = False
    text: bool = False
    places: bool = False
    strings: set[str] = field(default_factory=set)


def names_of(nodes: Iterable[ast.AST], package: str = "", names: Names | None = None) -> Names:
    """Return what `nodes`, standing at the top of a module of `package`, refer to; added to `names` if given."""
    reader = _Reader(package, names or Names())
    for node in nodes:
        reader.visit(node)
    return reader.names


def chain_of(node: ast.expr) -> Chain | None:
    """Return ("a", "b", "c") for `a.b.c`, None for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else None


def absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the absolute name of the module that `from … import` names, in a module of `package`."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, *([node.module] if node.module else [])])


class _Reader(ast.NodeVisitor):
    def __init__(self, package: str, names: Names) -> None:
        self.names = names
        self._package = package
        self._scopes: list[tuple[set[str], set[str]]] = []  # (local names, names declared global) of what we are in

    # Names.

    def visit_Name(self, node: ast.Name) -> None:
        self._refer((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in TEXT:
            self.names.text = True
        if node.attr in PLACES:
            self.names.places = True
        chain = chain_of(node)
        if chain is None:
            self.visit(node.value)
        else:
            self._refer(chain if isinstance(node.ctx, ast.Load) else chain[:-1])

    def _refer(self, chain: Chain) -> None:
        root = chain[0]
        for local, outer in reversed(self._scopes):
            if root in outer:
                break
            if root in local:
                return
        self.names.refs.add(chain)
        self.names.dynamic |= root in _EXECUTES
        self.names.namespace |= root == "globals"
        self.names.text |= root in TEXT
        self.names.places |= root in PLACES

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and len(node.value) < 200:
            self.names.strings.add(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        chain = chain_of(node.func)
        if chain and chain[-1] in _NAMESPACE and len(chain) == 1 and not node.args:
            self.names.namespace = True
        match chain, node.args:
            case ((("importlib", "import_module") | ("__import__",)), [ast.Constant(value=str() as name)]) if (
                name[:1] != "."
            ):
                self.names.loads.add(name)
                self._import(f"import of {name}", (name, None))  # the module is in hand: it may be used as data
                self.names.refs.add((f"import of {name}",))
                return
        self.generic_visit(node)

    # Annotations may be text, and libraries read them.

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self.visit(node.target)
        if node.value:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        self._annotation(node.annotation)

    def _annotation(self, node: ast.expr | None) -> None:
        for part in ast.walk(node) if node else ():
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                try:
                    self.visit(ast.parse(part.value, mode="eval").body)
                except (SyntaxError, ValueError, RecursionError):
                    continue
        if node:
            self.visit(node)

    # Imports.

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.names.loads.add(alias.name)
            if alias.asname:
                self._import(alias.asname, (alias.name, None))
            else:
                top = alias.name.partition(".")[0]
                self._import(top, (top, None))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = absolute(node, self._package)
        self.names.loads.add(base)
        for alias in node.names:
            if alias.name == "*":
                self.names.stars.add(base)
            else:
                self.names.requires.add((base, alias.name))
                self._import(alias.asname or alias.name, (base, alias.name))

    def _import(self, name: str, target: Target) -> None:
        self.names.imports.setdefault(name, set()).add(target)

    # Scopes.

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for outside in (*node.decorator_list, *_defaults(node.args)):
            self.visit(outside)
        self._annotation(node.returns)
        self.visit_arguments_annotations(node.args)
        local, outer = bound_in(node.body)
        self._inside(local | set(_arguments(node.args)), node.body, outer)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arguments_annotations(self, arguments: ast.arguments) -> None:
        """Read the annotations of a function's arguments."""
        for arg in _args(arguments):
            self.visit_arg(arg)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for outside in _defaults(node.args):
            self.visit(outside)
        self._inside(set(_arguments(node.args)), [node.body])

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        self.visit(node.generators[0].iter)
        bound = {
            name.id
            for generator in node.generators
            for name in ast.walk(generator.target)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
        }
        inner: list[ast.AST] = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for position, generator in enumerate(node.generators):
            inner += [generator.target, *generator.ifs, *([generator.iter] if position else [])]
        self._inside(bound, inner)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension

    def _inside(self, names: set[str], nodes: Iterable[ast.AST], outer: set[str] | None = None) -> None:
        self._scopes.append((names, outer or set()))
        for node in nodes:
            self.visit(node)
        self._scopes.pop()


def _args(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (extra for extra in (arguments.vararg, arguments.kwarg) if extra)


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    return (arg.arg for arg in _args(arguments))


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [*arguments.defaults, *(default for default in arguments.kw_defaults if default)]


def bound_in(body: Iterable[ast.stmt]) -> tuple[set[str], set[str]]:
    """Return (names that a body binds for itself by other means than an import, names that it declares global)."""
    outer: set[str] = set()
    imported: set[str] = set()
    bound: set[str] = set()
    queue: list[ast.AST] = list(body)
    while queue:
        node = queue.pop()
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
                queue += [*node.decorator_list, *([] if isinstance(node, ast.ClassDef) else _defaults(node.args))]
                continue
            case ast.Lambda():
                queue += _defaults(node.args)
                continue
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                imported.update(alias.asname or alias.name.partition(".")[0] for alias in aliases)
            case ast.Global(names=names):
                outer.update(names)
            case ast.Nonlocal(names=names):
                imported.update(names)  # an enclosing function's
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound.add(name)
            case ast.ExceptHandler(name=str() as name) | ast.MatchAs(name=str() as name):
                bound.add(name)
            case ast.MatchStar(name=str() as name) | ast.MatchMapping(rest=str() as name):
                bound.add(name)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                queue += [part for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
                continue
        queue += ast.iter_child_nodes(node)
    return bound - outer - imported, outer
