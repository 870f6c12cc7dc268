"""YAML 1.2 with the lines of its keys, as the engine reads it: `no` is a text, and so is 2013-10-01.

PyYAML by itself reads YAML 1.1, where these are False and a date.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml


class Invalid(Exception):
    """A pipeline file can't become a DAG; each of `problems` names file, line and what is wrong."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Mapping(dict[str, Any]):
    """A mapping of a file; `lines` are those of its keys, `line` is its own."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


def plain(value: Any) -> Any:
    """Return a value without the lines."""
    match value:
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
    return value


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # whichever is built
    """Tells plain scalars apart by the core schema of YAML 1.2."""

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

_MAX_DEPTH, _MAX_NODES = 100, 200_000  # as the engine's


def load(path: Path, place: str) -> Mapping:
    """Return what the file at `path` says; `place` is its name in messages. Raises Invalid."""
    try:
        loader = _Loader(path.read_bytes())
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        value = _Builder(place).build(node) if node else None
    except OSError as error:
        raise Invalid(f"{place}: can't be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Invalid(f"{place}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{place}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(value, Mapping):
        raise Invalid(f"{place}:1: a pipeline file must be a mapping (key: value)")
    return value


class _Builder:
    """Turns the nodes of one file, called `place`, into values."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._seen = 0

    def build(self, node: yaml.Node, depth: int = 0) -> Any:
        self._seen += 1
        if depth > _MAX_DEPTH or self._seen > _MAX_NODES:
            raise self._invalid(node, "is nested too deeply, or aliases expand to too much")
        match node:
            case yaml.MappingNode():
                return self._mapping(node, depth)
            case yaml.SequenceNode():
                return [self.build(child, depth + 1) for child in node.value]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> Mapping:
        made = Mapping(node.start_mark.line + 1)
        for key, value in node.value:
            name = str(key.value)
            if name in made:
                raise self._invalid(key, f"key {name!r} stands twice, first in line {made.lines[name]}")
            made.lines[name] = key.start_mark.line + 1
            made[name] = self.build(value, depth + 1)
        return made

    def _scalar(self, node: yaml.Node) -> Any:
        text, kind = str(node.value), node.tag.rpartition(":")[2]
        try:
            match kind:
                case "str":
                    return text
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise self._invalid(node, f"{text[:20]} is no {kind}") from None
        raise self._invalid(node, f"the tag {node.tag} has no meaning here")

    def _invalid(self, node: yaml.Node, message: str) -> Invalid:
        return Invalid(f"{self._place}:{node.start_mark.line + 1}: {message}")
