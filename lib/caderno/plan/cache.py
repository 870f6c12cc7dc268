"""What was computed from a file, kept by the file's size, modification time and inode.

Only a cache: deleting it costs time, never correctness. A file changed less than `_SETTLE` before it was
read is not kept, since a second change within the clock's grain would go unseen.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SETTLE = 1_000_000_000  # nanoseconds


class StatCache:
    """A JSON file of computed values, loaded at once and saved when something was added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Any] | None = None
        self._changed = False

    def get(self, kind: str, path: Path, compute: Callable[[Path], Any]) -> Any:
        """Return compute(path) as JSON gives it back, from the cache if `path` is unchanged. Raises OSError."""
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        key = f"{kind}:{path}"
        entry = self.entries.get(key)
        if entry is not None and entry[0] == stamp:
            return entry[1]
        value = compute(path)
        if time.time_ns() - status.st_mtime_ns > _SETTLE:
            self.entries[key] = [stamp, value]
            self._changed = True
        return value

    @property
    def entries(self) -> dict[str, Any]:
        """All that is kept: "kind:path" -> [stamp, value]."""
        if self._entries is None:
            self._entries = {}
            with contextlib.suppress(OSError, ValueError):
                stored = json.loads(self._path.read_bytes())
                match stored:
                    case {"format": 1, "entries": dict(entries)}:
                        self._entries = entries
        return self._entries

    def save(self) -> None:
        """Write what was added; a store that can't be written is no error here."""
        if not self._changed:
            return
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"format": 1, "entries": self._entries}))
            os.replace(temporary, self._path)
            self._changed = False
