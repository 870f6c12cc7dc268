"""SHA-256 digests of files, folders and JSON values, in hex."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from caderno.plan.cache import DIGEST, StatCache
from caderno.plan.models import digest_of


def of_text(text: str) -> str:
    """Return the digest of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def of_json(value: Any) -> str:
    """Return the digest of a JSON value, independent of the order of keys."""
    return of_text(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True))


def of_file(path: Path) -> str:
    """Return the digest of a file's content. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_path(path: Path | str, cache: StatCache | None = None) -> tuple[str, int]:
    """Return (digest, size in bytes) of a file, or of a folder: its files' names and contents, in order.

    Raises OSError where it can't be read.
    """
    status = os.stat(path)  # noqa: PTH116  # of a text: half of Path.stat's time, and asked for every file
    if not stat.S_ISDIR(status.st_mode):
        of = digest_of(str(path)) or of_file
        digest = cache.get(DIGEST, path, of, status) if cache else of(Path(path))
        return str(digest), status.st_size
    lines, size = [], 0
    for file in files_in(Path(path)):
        digest, more = of_path(file, cache)
        lines.append(f"{file.relative_to(path).as_posix()}\0{digest}")
        size += more
    return of_text("\n".join(lines)), size


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and below, in order, through links too; not those that lead nowhere or upwards."""
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place).resolve()
        folders[:] = sorted(name for name in folders if (here / name).resolve() not in (here, *here.parents))
        yield from (Path(place, name) for name in sorted(files) if Path(place, name).is_file())
