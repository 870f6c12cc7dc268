"""YAML 1.2 with the line of every value.

PyYAML reads YAML 1.1, where `no` is False, `12:30` is 750, `010` is 8, `1e-5` is a string, the last
duplicate key wins and aliases can explode. Here plain scalars follow the core schema of YAML 1.2
(https://yaml.org/spec/1.2.2/#103-core-schema), a duplicate key is a problem, and what a document
expands to is bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from caderno.errors import InvalidPipeline, Problem

MAX_BYTES = 1_000_000
MAX_NODES = 200_000
MAX_DEPTH = 100

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A parsed file: `value` of dicts, lists and scalars; `lines` maps each path in it to (file, line)."""

    value: Any
    lines: dict[Key, tuple[str, int]] = field(default_factory=dict)

    def where(self, key: Key) -> str:
        """Return "file:line" of `key`, or of its nearest ancestor that was written down."""
        while key not in self.lines and key:
            key = key[:-1]
        file, line = self.lines.get(key, ("?", 1))
        return f"{file}:{line}" if line else file

    def overlaid(self, other: Document) -> Document:
        """Return this document with `other` laid over it: mappings merge, all else is replaced."""
        lines = dict(self.lines)
        value = _overlay(self.value, other.value, (), lines, other.lines)
        return Document(value, lines)


def _overlay(base: Any, over: Any, key: Key, lines: dict[Key, Any], over_lines: dict[Key, Any]) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        merged = dict(base)
        for name, value in over.items():
            merged[name] = _overlay(base.get(name), value, (*key, name), lines, over_lines)
        return merged
    for stale in [known for known in lines if known[: len(key)] == key]:
        del lines[stale]
    lines.update({known: line for known, line in over_lines.items() if known[: len(key)] == key})
    return over


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # whichever is built
    """Resolves plain scalars by the core schema of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {}


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def load(path: Path, name: str) -> Document:
    """Parse the file at `path`, called `name` in messages; raise InvalidPipeline where it is not valid."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidPipeline([Problem(name, f"can't be read: {error.strerror}")]) from None
    if len(data) > MAX_BYTES:
        raise InvalidPipeline([Problem(name, f"{len(data):,} bytes are more than the {MAX_BYTES:,} allowed")])
    return parse(data, name)


def parse(text: bytes | str, name: str) -> Document:
    """Parse one YAML document; raise InvalidPipeline naming line and problem."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        tab = "\t" in _line(text, line) and "start any token" in str(error.problem)
        hint = "indent with spaces" if tab else ""
        raise InvalidPipeline([Problem(f"{name}:{line}", f"not valid YAML: {error.problem}", hint)]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidPipeline([Problem(name, f"not valid YAML: {str(error).splitlines()[0]}")]) from None
    builder = _Builder(name)
    value = None if node is None else builder.build(node, ())
    if builder.problems:
        raise InvalidPipeline(builder.problems)
    return Document(value, builder.lines or {(): (name, 1)})


def scalar(text: str) -> Any:
    """Return what `text` means as a YAML 1.2 value: the right side of `-p task.name=value`."""
    return parse(text, "-p").value


def _line(text: bytes | str, number: int) -> str:
    lines = (text if isinstance(text, str) else text.decode("utf-8", "replace")).splitlines()
    return lines[number - 1] if number <= len(lines) else ""


class _Builder:
    """Turns nodes into values, noting each value's line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Key, tuple[str, int]] = {}
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._seen = 0

    def build(self, node: yaml.Node, key: Key) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(key, (self.name, line))
        self._seen += 1
        if self._seen > MAX_NODES or id(node) in self._open:
            raise InvalidPipeline([Problem(f"{self.name}:{line}", "aliases expand without end or to too much")])
        if len(key) > MAX_DEPTH:
            raise InvalidPipeline([Problem(f"{self.name}:{line}", "is nested too deeply")])
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.CollectionNode) and not node.tag.endswith((":map", ":seq")):
                self._problem(line, f"the tag {node.tag} has no meaning here", "remove it")
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, key)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(child, (*key, index)) for index, child in enumerate(node.value)]
            return self._scalar(node, line)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name, line = str(name_node.value), name_node.start_mark.line + 1
            if name in result:
                first = self.lines[(*key, name)][1]
                self._problem(line, f"key {name!r} stands twice, first in line {first}", "keep one of them")
            self.lines[(*key, name)] = (self.name, line)
            result[name] = self.build(value_node, (*key, name))
        return result

    def _scalar(self, node: yaml.Node, line: int) -> Any:
        text, kind = str(node.value), node.tag.rpartition(":")[2]
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:  # a tag that lies, or thousands of digits
            self._problem(line, f"{text[:20]} is no {kind}", "write a number, or a text in quotes")
            return None
        self._problem(line, f"the tag {node.tag} has no meaning here", "remove it")
        return None

    def _problem(self, line: int, message: str, hint: str) -> None:
        self.problems.append(Problem(f"{self.name}:{line}", message, hint))
