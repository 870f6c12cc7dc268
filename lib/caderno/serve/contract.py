"""What a project's contract says of columns: `python -P contract.py MODULE:OBJECT > ranges.json`, lib/ on the path.

Understood are pandera's schemas (https://pandera.readthedocs.io), and objects that keep one as `schema`: a column's
`nullable`, and its checks on ranges and values. Of other contracts nothing is known, and nothing is said.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

_LOW = ("greater_than_or_equal_to", "greater_than", "in_range")
_HIGH = ("less_than_or_equal_to", "less_than", "in_range")


def main() -> None:
    """Print the ranges as JSON: column -> low, high, allowed, nullable."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a module that prints does not spoil the answer
    module, _, name = sys.argv[1].partition(":")
    found = getattr(importlib.import_module(module), name)
    if not hasattr(found, "to_schema") and not hasattr(found, "columns"):
        found = getattr(found, "schema", found)
    if isinstance(found, type) and hasattr(found, "to_schema"):
        found = found.to_schema()
    columns = getattr(found, "columns", None)
    json.dump(
        {str(one): _range(column) for one, column in columns.items()} if isinstance(columns, dict) else {}, answer
    )
    answer.flush()
    os._exit(0)


def _range(column: Any) -> dict[str, Any]:
    checks = [(check.name, check.statistics or {}) for check in getattr(column, "checks", None) or []]
    lows = [_plain(said["min_value"]) for name, said in checks if name in _LOW and "min_value" in said]
    highs = [_plain(said["max_value"]) for name, said in checks if name in _HIGH and "max_value" in said]
    allowed = [said["allowed_values"] for name, said in checks if name == "isin" and "allowed_values" in said]
    lows, highs = ([one for one in found if isinstance(one, (int, float))] for found in (lows, highs))
    return {
        "low": max(lows) if lows else None,
        "high": min(highs) if highs else None,
        "allowed": [_plain(one) for one in allowed[0]] if allowed else None,
        "nullable": bool(getattr(column, "nullable", True)),
    }


def _plain(value: Any) -> Any:
    """Return a limit as JSON has it; None for one that is no number or text, such as a moment."""
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, (int, float, str)) else None


if __name__ == "__main__":
    main()
