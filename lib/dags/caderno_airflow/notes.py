"""What notebooks say of themselves: their first Markdown cells."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path


@cache
def first_words(notebook: Path) -> str | None:
    """Return the first cell of a notebook if it is Markdown; None where it is not, or can't be read."""
    try:
        cell = json.loads(notebook.read_bytes())["cells"][0]
        source = cell["source"] if cell["cell_type"] == "markdown" else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return "".join(source) if source else None
