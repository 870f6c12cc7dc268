"""The description of the service, in the order in which people read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

_WIDE = 88  # characters of a sketch that stand in one line
_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """What one method of an address does; `takes` and `gives` name the forms of body and answer."""

    id: str
    method: str
    address: str
    summary: str
    parameters: Sequence[Mapping[str, Any]]
    takes: Sequence[str]
    gives: Sequence[str]
    body: Any
    answer: Any
    example: str
    refuses: Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """The operations of one protocol."""

    name: str
    title: str
    what: str
    operations: Sequence[Operation]


def sections(document: Mapping[str, Any]) -> list[Section]:
    """Return the description protocol by protocol."""
    found: dict[str, list[Operation]] = {}
    for address, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                found.setdefault(methods[method]["tags"][0], []).append(_operation(address, method, methods[method]))
    return [
        Section(one["name"], _title(one["description"]) or one["name"], one["description"], found[one["name"]])
        for one in document["tags"]
        if one["name"] in found
    ]


def _title(what: str) -> str:
    """Return the words that a description begins with."""
    return re.split(r" \(|[:.]", what)[0]


def _operation(address: str, method: str, said: Mapping[str, Any]) -> Operation:
    taken = said.get("requestBody", {}).get("content", {})
    answers = said["responses"]
    given = answers.get("200", {}).get("content", {})
    body = taken.get("application/json", {})
    return Operation(
        said["operationId"],
        method.upper(),
        address,
        said["summary"],
        said.get("parameters", ()),
        list(taken),
        list(given),
        body.get("schema"),
        given.get("application/json", {}).get("schema"),
        json.dumps(body["example"], ensure_ascii=False) if "example" in body else "",
        {status: one["description"] for status, one in answers.items() if status not in ("200", "default")},
    )


def sketch(schema: Mapping[str, Any]) -> Markup:
    """Return a schema as its JSON looks, in HTML: names of fields as they are, types for values, links to other forms.

    A field with a question mark may be left out.
    """
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    if several := schema.get("oneOf") or schema.get("anyOf"):
        return Markup("\nor\n").join(sketch(one) for one in several)
    if "enum" in schema:
        return Markup(" | ").join(escape(json.dumps(one)) for one in schema["enum"])
    if schema.get("properties"):
        needed = schema.get("required", ())
        return _between(
            "{}",
            [
                Markup("{}{}: {}").format(json.dumps(name), "" if name in needed else "?", sketch(one))
                for name, one in schema["properties"].items()
            ],
        )
    if "items" in schema:
        return _between("[]", [sketch(schema["items"]) + ", …"])
    kind = schema.get("type", "anything")
    return escape(kind if isinstance(kind, str) else " | ".join(kind))


def _between(ends: str, parts: Sequence[Markup]) -> Markup:
    """Return the parts in brackets: in one line where they fit, else each in a line of its own."""
    line = Markup(", ").join(parts)
    if len(line.striptags()) <= _WIDE and "\n" not in line:
        return Markup("{}{}{}").format(ends[0], line, ends[1])
    lines = Markup(",\n").join(parts).replace("\n", "\n  ")
    return Markup("{}\n  {}\n{}").format(ends[0], lines, ends[1])
