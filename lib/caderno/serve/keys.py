"""API keys: a file with a line for each, `name sha256-of-the-key`, read anew when it changes.

A key is 256 random bits, so its plain SHA-256 tells nobody what it is. Two lines may bear the same name: while a caller
changes to a new key, both hold.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from caderno.errors import CadernoError

_MARK = "caderno_"  # by which tools that look for leaked secrets know a key
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LINE = re.compile(rf"({_NAME.pattern})\s+([0-9a-f]{{64}})")


class Keys:
    """The keys of a file. One that can't be read any more changes nothing; `say` is told."""

    def __init__(self, file: Path, say: Callable[[str], None] = lambda what: None) -> None:
        """Raises CadernoError where the file can't be read or a line is no key."""
        self._file, self._say = file, say
        self._seen = self._mark()
        self._known = _read(file)

    def name(self, key: str) -> str | None:
        """Return whose key this is, or None. Takes the same time for each key that is not known."""
        self._renew()
        digest, found = _digest(key), None
        for name, known in self._known:
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def _renew(self) -> None:
        mark = self._mark()
        if mark == self._seen:
            return
        self._seen = mark
        try:
            self._known = _read(self._file)
        except CadernoError as error:
            self._say(f"{error.message}; the keys that it held before still count")

    def _mark(self) -> tuple[int, int, int] | None:
        """Return what changes with the file's content."""
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def add(name: str, file: Path) -> str:
    """Return a fresh key, and add its line to the file. Raises CadernoError where the name or the file is not fit."""
    if not _NAME.fullmatch(name):
        raise CadernoError(f"{name!r} can't name a caller", "letters, digits and ._@- may be in it, at most 64")
    before = ""
    if file.exists():
        _read(file)
        before = file.read_text("utf-8")
    key = _MARK + secrets.token_urlsafe(32)
    line = f"{name} {_digest(key)}\n"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w", encoding="utf-8") as open_file:
        open_file.write(line if not before or before.endswith("\n") else f"\n{line}")
    return key


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def _read(file: Path) -> tuple[tuple[str, str], ...]:
    """Return (name, digest) of each line. Raises CadernoError."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CadernoError(f"keys can't be read from {file}: {why}", "caderno serve-key NAME FILE makes one") from None
    found = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:  # the line itself may be a key that somebody pasted: it is not shown
            raise CadernoError(
                f"{file}, line {number} is not `name sha256-of-the-key`", "caderno serve-key NAME FILE adds a right one"
            )
        found.append((match[1], match[2]))
    return tuple(found)
