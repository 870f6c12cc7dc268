"""A notebook is a file that anybody wrote: what of it is not as nbformat has it counts as empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mapping(held: Any) -> Mapping[str, Any]:
    """Return what a notebook holds where a mapping should stand, or an empty one."""
    return held if isinstance(held, Mapping) else {}


def joined(text: Any) -> str:
    """Return a text that nbformat may keep as a list of its lines; none is empty."""
    if text is None:
        return ""
    return "".join(map(str, text)) if isinstance(text, list) else str(text)
