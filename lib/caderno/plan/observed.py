"""What runs saw used where the picture of the code had it unused: from then on it counts, its module whole.

Kept in data/<pipeline>/.observed.json by task. Deleting it costs one run of these tasks, never correctness: they run
by the fingerprint of the picture alone, see the same again, and find their place.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path


class Observed:
    """Names ("tools.a:f", "tools.a") by the id of the task that used them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names = self._load()

    def of(self, task: str) -> tuple[str, ...]:
        """Return what a task was seen to use beside the picture, in order."""
        return tuple(self._names.get(task, ()))

    def add(self, task: str, names: Iterable[str]) -> None:
        """Keep what a run of a task saw; several engines may do so at once."""
        with self._path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self._load()
            known[task] = sorted({*known.get(task, ()), *names})
            temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")
            os.replace(temporary, self._path)
        self._names = known

    def _load(self) -> dict[str, list[str]]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._path.read_bytes())
            if isinstance(found, dict):
                return {str(task): [str(name) for name in names] for task, names in found.items()}
        return {}
