"""What notebooks say of themselves: their first Markdown cells."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path


@cache
def first_words(notebook: Path) -> str | None:
    """Return the first Markdown cell of a notebook; None where it has none, or can't be read."""
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        return next(("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"), None)
    except (OSError, ValueError, LookupError, TypeError):
        return None
