"""Which module-level statements have no effect but to bind their name, for certain.

They count only where their name is used. All else that stands at a module's top runs at import, and counts for whoever
imports the module. "For certain" is meant: a statement that might fail, register something or print is not inert, and a
new version of a statement is judged anew, so that an unused constant that becomes `1 / 0` counts at once.
"""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any

from caderno.plan.names import Chain, chain_of

OPAQUE: Any = object()  # a value that is bound, and no more is known

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_CALLS: dict[str, Callable[..., Any]] = {
    "datetime.timedelta": timedelta,
    "datetime.date": date,
    "datetime.datetime": datetime,
    "datetime.time": time,
    "decimal.Decimal": Decimal,
    "frozenset": frozenset,
    "set": set,
    "pathlib.Path": Path,
    "pathlib.PurePath": PurePath,
}
_DECORATORS = {
    *("functools.cache", "functools.lru_cache", "contextlib.contextmanager", "contextlib.asynccontextmanager"),
    *("typing.overload", "typing.final", "typing.no_type_check", "abc.abstractmethod"),
    *("staticmethod", "classmethod", "property", "functools.cached_property"),
}
_BASES = {
    *("abc.ABC", "typing.Protocol", "typing.Generic"),
    *(name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)),
    *("object", "dict", "list", "str", "int", "float", "tuple", "set", "frozenset"),
}
_PLAIN_BASES = {"abc.ABC", "typing.Protocol", "typing.Generic", "object"}
_ENUMS: dict[str, type] = {"enum.Enum": object, "enum.IntEnum": int, "enum.StrEnum": str}  # what their values must be
_DATACLASS = "dataclasses.dataclass"
_FIELD = {"default", "default_factory", "repr", "compare", "metadata"}
_HOOKS = {"__init_subclass__", "__set_name__", "__class_getitem__", "__prepare__"}


class Uncertain(Exception):
    """Raised for an expression of which it is not certain that evaluating it has no effect."""


class Scope:
    """The names bound so far at the top of a module, and what is known of their values."""

    def __init__(self, future_annotations: bool) -> None:
        self.values: dict[str, Any] = {}
        self.stands_for: dict[str, str] = {}  # an imported name -> "datetime.timedelta"
        self.subclassable: set[str] = set()  # classes of which a subclass is inert too
        self._future = future_annotations

    def full_name(self, node: ast.expr) -> str | None:
        """Return what a chain of names stands for: "functools.cache", "property"; None where it is not known."""
        chain: Chain | None = chain_of(node)
        if chain is None:
            return None
        if chain[0] in self.stands_for:
            return ".".join((self.stands_for[chain[0]], *chain[1:]))
        if chain[0] in self.values:
            return None
        return ".".join(chain) if hasattr(builtins, chain[0]) else None

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression, or OPAQUE; raise Uncertain where evaluating it might do anything else."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) if name in self.values:
                return self.values[name]
            case ast.Name(id=name) if name in self.stands_for or hasattr(builtins, name):
                return OPAQUE
            case ast.Tuple(elts=items):
                return tuple(self._items(items))
            case ast.List(elts=items):
                return self._items(items)
            case ast.Set(elts=items):
                return self._try(set, self._items(items))
            case ast.Dict(keys=keys, values=items):
                return self._dict(keys, items)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                return self._try(operator.neg, self._number(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._binary(self.value(left), op, self.value(right))
            case ast.JoinedStr(values=parts):
                return self._text(parts)
            case ast.Call(func=func, args=args, keywords=keywords):
                return self._call(func, args, keywords)
        raise Uncertain

    def _items(self, nodes: list[ast.expr]) -> list[Any]:
        found: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                several = self.value(node.value)
                if not isinstance(several, list | tuple | dict):
                    raise Uncertain
                found.extend(several)
            else:
                found.append(self.value(node))
        return found

    def _dict(self, keys: list[ast.expr | None], items: list[ast.expr]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, item in zip(keys, items, strict=True):
            value = self.value(item)
            if key is None:
                if not isinstance(value, dict):
                    raise Uncertain
                found |= value
                continue
            name = self.value(key)
            if not isinstance(name, str | int | float | bool | None):
                raise Uncertain
            found[name] = value
        return found

    def _number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if not isinstance(value, int | float):
            raise Uncertain
        return value

    def _binary(self, left: Any, op: ast.operator, right: Any) -> Any:
        numbers = isinstance(left, int | float | timedelta) and isinstance(right, int | float | timedelta)
        joined = isinstance(op, ast.Add) and type(left) is type(right) and isinstance(left, str | list | tuple)
        paths = isinstance(op, ast.Div) and isinstance(left, PurePath) and isinstance(right, str)
        if not (numbers or joined or paths):
            raise Uncertain
        return self._try(_ARITHMETIC[type(op)], left, right)

    def _text(self, parts: list[ast.expr]) -> str:
        text = ""
        for part in parts:
            if isinstance(part, ast.FormattedValue):
                if part.format_spec or part.conversion != -1:
                    raise Uncertain
                part = part.value
            value = self.value(part)
            if not isinstance(value, str | int | float):
                raise Uncertain
            text += str(value)
        return text

    def _call(self, func: ast.expr, args: list[ast.expr], keywords: list[ast.keyword]) -> Any:
        call = _CALLS.get(self.full_name(func) or "")
        if call is None or not all(keyword.arg for keyword in keywords):
            raise Uncertain
        values = self._items(args)
        named = {str(keyword.arg): self.value(keyword.value) for keyword in keywords}
        if any(value is OPAQUE for value in (*values, *named.values())):
            raise Uncertain
        return self._try(call, *values, **named)

    @staticmethod
    def _try(call: Callable[..., Any], *args: Any, **named: Any) -> Any:
        try:
            return call(*args, **named)
        except Exception:
            raise Uncertain from None

    # Definitions.

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, within: Mapping[str, str] | None = None) -> None:
        """Raise Uncertain unless defining a function has no effect; `within` holds the names of its class so far."""
        for decorator in node.decorator_list:
            self._decorator(decorator, within or {})
        arguments = node.args
        for default in (*arguments.defaults, *(value for value in arguments.kw_defaults if value)):
            self.value(default)
        if not self._future:
            every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg)
            for annotation in (node.returns, *(arg.annotation for arg in every if arg)):
                self.annotation(annotation)

    def _decorator(self, node: ast.expr, within: Mapping[str, str]) -> None:
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr="setter" | "getter" | "deleter") if (
                within.get(name) == "property"
            ):
                return
            case ast.Call(func=func, args=args, keywords=keywords) if self.full_name(func) == "functools.lru_cache":
                values = [self.value(value) for value in (*args, *(keyword.value for keyword in keywords))]
                names = {keyword.arg for keyword in keywords}
                if len(args) <= 1 and names <= {"maxsize", "typed"} and all(isinstance(v, int | None) for v in values):
                    return
            case _ if self.full_name(node) in _DECORATORS:
                return
        raise Uncertain

    def annotation(self, node: ast.expr | None) -> None:
        """Raise Uncertain unless evaluating an annotation is certain to find its names."""
        if node is None or self._future:
            return
        match node:
            case ast.Constant(value=str() | None) | ast.Constant(value=builtins.Ellipsis):
                return
            case ast.Name(id=name) if name in self.values or name in self.stands_for or hasattr(builtins, name):
                return
            case ast.Attribute():
                chain = chain_of(node)
                if chain and chain[0] in self.stands_for:
                    return
            case ast.Subscript(value=value, slice=inner):
                if chain_of(value) and chain_of(value)[-1:] != ("Literal",):  # type: ignore[index]  # just asked
                    self.annotation(inner)
                self.annotation(value)
                return
            case ast.Tuple(elts=items) | ast.List(elts=items):
                for item in items:
                    self.annotation(item)
                return
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                if not any(isinstance(side, ast.Constant) and side.value is not None for side in (left, right)):
                    self.annotation(left)
                    self.annotation(right)
                    return
        raise Uncertain

    def class_(self, node: ast.ClassDef) -> None:
        """Raise Uncertain unless defining a class has no effect."""
        if node.keywords or len(node.bases) > 1:  # several bases may not go together
            raise Uncertain
        base = self._base(node.bases[0]) if node.bases else "object"
        enum = _ENUMS.get(base)
        kinds = self._body(node, enum)
        for decorator in node.decorator_list:
            match decorator:
                case ast.Name() | ast.Attribute() if self.full_name(decorator) == _DATACLASS:
                    self._dataclass(node, base, {})
                case ast.Call(func=func, args=[], keywords=keywords) if self.full_name(func) == _DATACLASS:
                    self._dataclass(node, base, {str(word.arg): self.value(word.value) for word in keywords})
                case _:
                    raise Uncertain
        if not enum and not _HOOKS & kinds.keys():
            self.subclassable.add(node.name)

    def _base(self, node: ast.expr) -> str:
        if isinstance(node, ast.Subscript):  # Generic[T]
            self.annotation(node.slice)
            node = node.value
        if isinstance(node, ast.Name) and node.id in self.subclassable:
            return node.id
        name = self.full_name(node)
        if name in _BASES or name in _ENUMS:
            return str(name)
        raise Uncertain

    def _body(self, node: ast.ClassDef, enum: type | None) -> dict[str, str]:
        """Return the names that a class's body binds, and what they are: "property", "value" or "function"."""
        kinds: dict[str, str] = {}
        for statement in node.body:
            match statement:
                case ast.Pass() | ast.Expr(value=ast.Constant()):
                    continue
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    if enum and kinds.get(name) == "value":
                        raise Uncertain
                    self.function(statement, kinds)
                    first = self.full_name(statement.decorator_list[0]) if statement.decorator_list else None
                    setter = kinds.get(name) == "property"
                    kinds[name] = "property" if first == "property" or setter else "function"
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value) if not enum:
                    self.annotation(annotation)
                    if value:
                        self._field(value)
                    kinds[name] = "value"
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in kinds and (
                    not enum or (_is_constant(value, enum) and not name.startswith("_") and name != "mro")
                ):
                    self.value(value)
                    kinds[name] = "value"
                case _:
                    raise Uncertain
        if "__slots__" in kinds or (enum and "__new__" in kinds):
            raise Uncertain
        return kinds

    def _field(self, node: ast.expr) -> None:
        match node:
            case ast.Call(func=func, args=[], keywords=keywords) if self.full_name(func) == "dataclasses.field":
                named = {keyword.arg: self.value(keyword.value) for keyword in keywords}
                if not named.keys() <= _FIELD or {"default", "default_factory"} <= named.keys():
                    raise Uncertain
                if isinstance(named.get("default"), list | dict | set):
                    raise Uncertain
            case _:
                self.value(node)

    def _dataclass(self, node: ast.ClassDef, base: str, options: Mapping[str, Any]) -> None:
        if not options.keys() <= {"frozen", "kw_only", "slots", "eq", "repr"} or base not in _PLAIN_BASES:
            raise Uncertain
        defaulted = False
        for statement in node.body:
            match statement:
                case ast.FunctionDef(name="__setattr__" | "__delattr__") | ast.Assign():
                    raise Uncertain
                case ast.AnnAssign(annotation=annotation, value=value):
                    text = ast.unparse(annotation)
                    if any(word in text for word in ("ClassVar", "InitVar", "KW_ONLY")):
                        raise Uncertain
                    has = value is not None and _gives_default(value)
                    if (defaulted and not has and not options.get("kw_only")) or isinstance(
                        value, ast.List | ast.Dict | ast.Set
                    ):
                        raise Uncertain
                    defaulted = defaulted or has
                    if isinstance(value, ast.Name | ast.BinOp):  # it might be a list
                        raise Uncertain


def _gives_default(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return bool({keyword.arg for keyword in node.keywords} & {"default", "default_factory"})
    return True


def _is_constant(node: ast.expr, kind: type) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, kind)
