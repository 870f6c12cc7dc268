"""Secrets, kept out of everything that a run leaves behind: notebooks, records, pages, MLflow, the terminal.

A value is secret if its environment variable's name looks like it (API_TOKEN, DB_PASSWORD …), and so is the password in
a URL. What a notebook itself sends to MLflow is not seen here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import nbformat

from caderno.plan.environment import MASKED, SHORTEST, password_in, secrets


@dataclass(frozen=True)
class Mask:
    """The texts to hide and what stands for each, the longest first."""

    secrets: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, environment: Mapping[str, str], urls: Iterable[str] = ()) -> Mask:
        """Return the mask for a kernel's environment and the URLs that it is given."""
        found = dict.fromkeys(secrets(environment), MASKED)
        for url in (*environment.values(), *urls):
            if (password := password_in(url)) is not None:
                found[f":{password}@"] = f":{MASKED}@"
                if len(password) >= SHORTEST:
                    found |= dict.fromkeys((password, unquote(password)), MASKED)
        return cls(tuple(sorted(found.items(), key=_longest_first)))

    def text(self, text: str) -> str:
        """Return `text` with each secret replaced."""
        for secret, instead in self.secrets:
            text = text.replace(secret, instead)
        return text

    def by_line(self) -> Mask:
        """Return a mask for text that comes in lines: each line of a secret that has several is one."""
        parts = {part: MASKED for secret, _ in self.secrets for part in secret.splitlines() if len(part) >= SHORTEST}
        return Mask(tuple(sorted({**parts, **dict(self.secrets)}.items(), key=_longest_first)))

    def notebook(self, notebook: Any) -> Any:
        """Return a notebook with each secret replaced, wherever it stands."""
        if not self.secrets:
            return notebook
        return nbformat.from_dict(json.loads(self.text(json.dumps(notebook, ensure_ascii=False))))


def _longest_first(pair: tuple[str, str]) -> tuple[int, str]:
    return -len(pair[0]), pair[0]
