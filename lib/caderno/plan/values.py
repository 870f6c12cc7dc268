"""Values of a matrix that a task wrote: a JSON list, or a text with one value a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from caderno.errors import InvalidPipeline, Problem
from caderno.spec.file import Values

_ADAPTER: TypeAdapter[list[Any]] = TypeAdapter(Values)


def read_values(path: Path, name: str) -> list[Any]:
    """Return the values in the file at `path`; raise InvalidPipeline, naming it `name`, where it has none to use."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text, parse_constant=_refuse) if path.suffix == ".json" else text.splitlines()
        return _ADAPTER.validate_python(found, strict=True)
    except ValidationError as error:
        detail = error.errors()[0]
        place = f"item {detail['loc'][0]}: " if detail["loc"] else ""
        message = place + detail["msg"].removeprefix("Value error, ")
    except (OSError, ValueError) as error:
        message = str(error)
    hint = "a matrix takes a JSON file with a list of texts or numbers, or a text file with one value a line"
    raise InvalidPipeline([Problem(name, message, hint)])


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no value of a matrix")
