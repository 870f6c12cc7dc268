"""A name for packages, pipelines and tasks out of whatever a folder or a file is called."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
import unicodedata


def identifier(text: str, fallback: str = "project") -> str:
    """Return `text` as a lower-case Python identifier in ASCII: "Análise de preços-2" → "analise_de_precos_2"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_").lower()
    if not name:
        return fallback
    if name[0].isdigit():
        name = f"{fallback}_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def package(text: str) -> str:
    """Return a name for a package of one's own: an identifier that hides no module that can be imported here."""
    name = identifier(text)
    return f"{name.strip('_')}_project" if name.endswith("_") or _is_taken(name) else name


def _is_taken(name: str) -> bool:
    if name in sys.stdlib_module_names:
        return True
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None  # a folder that only bears the name hides nothing
