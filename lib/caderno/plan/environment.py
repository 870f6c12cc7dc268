"""Environment variables that a task lists under `env`: they count, and their values are recorded unless secret."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

MASKED = "***"
SHORTEST = 6  # characters of a secret
_PASSWORD = re.compile(r"(://[^:/@\s]*):[^/?#\s]+@")
_SECRET = re.compile(r"secret|token|passw|passphrase|api_?key|access_?key|private_?key|credential|(^|_)pwd($|_)", re.I)


def is_secret(name: str) -> bool:
    """Whether a variable's name looks like that of a secret."""
    return bool(_SECRET.search(name)) and name != "PWD" and name != "OLDPWD"


def secrets(environment: Mapping[str, str]) -> set[str]:
    """Return the values of secret variables, as they are and as JSON writes them; too short ones are ordinary words."""
    values = {value for name, value in environment.items() if is_secret(name) and len(value) >= SHORTEST}
    return {form for value in values for form in (value, json.dumps(value)[1:-1])}


def hidden(value: Any) -> Any:
    """Return a JSON value as a record holds it: without the values of secret variables."""
    text = json.dumps(value)
    for secret in sorted(secrets(os.environ), key=len, reverse=True):
        text = text.replace(secret, MASKED)
    return json.loads(text)


def recorded(names: Iterable[str]) -> dict[str, str | None]:
    """Return the variables as a record shows them; of a secret only whether it is the same as before.

    Secrets are shown by the first digits of a slow salted digest: enough to see a change, too few to find the value.
    """
    return {name: _shown(name, os.environ.get(name)) for name in sorted(names)}


@lru_cache  # slow on purpose, and asked for each task
def _shown(name: str, value: str | None) -> str | None:
    if value is None or not is_secret(name):
        return value
    digest = hashlib.pbkdf2_hmac("sha256", value.encode("utf-8", "surrogateescape"), name.encode(), 20_000)
    return f"*** ({digest.hex()[:6]})"


def password_in(uri: str) -> str | None:
    """Return the password in a URI, as written there; None where there is none."""
    if "://" not in uri or "@" not in uri:
        return None
    try:
        return urlsplit(uri).password or None
    except ValueError:
        return None


def masked(text: str) -> str:
    """Return `text` with the passwords of URLs in it replaced by stars."""
    return _PASSWORD.sub(r"\1:***@", text)
