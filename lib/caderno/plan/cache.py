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

DIGEST = "sha256"  # the kind of entry whose reading is counted
_SETTLE = 1_000_000_000  # nanoseconds


def status_of(path: Path | str) -> os.stat_result | None:
    """Return the stat of what stands at `path`, through links; None where there is nothing to see."""
    try:
        return os.stat(path)  # noqa: PTH116  # of a text: half of Path.stat's time, and asked for every file
    except (OSError, ValueError):
        return None


def stamp_of(status: os.stat_result) -> list[int]:
    """Return what tells a file's content from an earlier one without reading it."""
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def is_settled(status: os.stat_result) -> bool:
    """Whether a file was left alone for long enough that its next change must show in its stamp."""
    return time.time_ns() - status.st_mtime_ns > _SETTLE


class Entries:
    """A JSON file of entries by key, loaded when first asked for and saved when something was added.

    With `anew`, what the file holds is not used, only replaced.
    """

    def __init__(self, path: Path, anew: bool = False) -> None:
        self._path = path
        self._anew = anew
        self._stored: dict[str, Any] | None = None
        self._added: dict[str, Any] = {}
        self._saved = 0

    def get(self, key: str) -> Any:
        """Return the entry of `key`, or None."""
        if key in self._added:
            return self._added[key]
        if self._stored is None:
            self._stored = {} if self._anew else self._load()
        return self._stored.get(key)

    def put(self, key: str, entry: Any) -> None:
        """Keep an entry that JSON can hold."""
        self._added[key] = entry

    def save(self, lives: Callable[[str], bool]) -> None:
        """Write what was added, without the keys that no longer live; one that can't be written is no error here."""
        if len(self._added) == self._saved:
            return
        added = dict(self._added)  # workers may add meanwhile
        entries = {key: entry for key, entry in (self._load() | added).items() if lives(key)}
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"format": 2, "entries": entries}, separators=(",", ":")))
            os.replace(temporary, self._path)
            self._saved = len(added)

    def _load(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            match json.loads(self._path.read_bytes()):
                case {"format": 2, "entries": dict(entries)}:
                    return entries
        return {}


class StatCache:
    """Values computed from files. With `anew`, each is computed once more, and read from here after that.

    `files` and `bytes` count what was read for digests.
    """

    def __init__(self, path: Path, anew: bool = False) -> None:
        self.anew = anew
        self.files = 0
        self.bytes = 0
        self._entries = Entries(path, anew)

    def get(
        self,
        kind: str,
        path: Path | str,
        compute: Callable[[Path], Any],
        status: os.stat_result | None = None,
        variant: str = "",
    ) -> Any:
        """Return compute(path) as JSON gives it back, from the cache if `path` is unchanged. Raises OSError.

        `status` is the file's, where the caller has it. Of one kind and file the last `variant` is kept.
        """
        status = status or os.stat(path)  # noqa: PTH116
        stamp: list[Any] = [*stamp_of(status), variant] if variant else stamp_of(status)
        key = f"{kind}:{path}"
        match self._entries.get(key):
            case [kept, value] if kept == stamp:
                return value
        settled = is_settled(status)
        value = compute(Path(path))
        if kind == DIGEST:
            self.files += 1
            self.bytes += status.st_size
        if settled:
            self._entries.put(key, [stamp, value])
        return value

    def said(self) -> str:
        """Return in words how much was read for digests."""
        return f"verified: {self.files:,} files read, {self.bytes / 1e6:,.1f} MB"

    def moved(self, kind: str, old: Path, new: Path) -> None:
        """Know a file by its new name: what renames a folder changes none of the stamps in it."""
        entry = self._entries.get(f"{kind}:{old}")
        if entry is not None:
            self._entries.put(f"{kind}:{new}", entry)

    def save(self) -> None:
        """Write what was added, without files that are gone."""
        self._entries.save(lambda key: status_of(key.partition(":")[2]) is not None)
