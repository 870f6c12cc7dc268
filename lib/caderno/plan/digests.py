"""SHA-256 digests of files, folders and JSON values, in hex."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from caderno.plan.cache import StatCache


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


def of_path(path: Path, cache: StatCache | None = None) -> tuple[str, int]:
    """Return (digest, size in bytes) of a file, or of a folder: its files' names and contents, in order.

    Raises OSError where it can't be read.
    """

    def file_digest(file: Path) -> str:
        return str(cache.get("sha256", file, of_file)) if cache else of_file(file)

    if not path.is_dir():
        return file_digest(path), path.stat().st_size
    lines, size = [], 0
    for file in files_in(path):
        lines.append(f"{file.relative_to(path).as_posix()}\0{file_digest(file)}")
        size += file.stat().st_size
    return of_text("\n".join(lines)), size


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and below, in order, through links too; not those that lead nowhere or upwards."""
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place).resolve()
        folders[:] = sorted(name for name in folders if (here / name).resolve() not in (here, *here.parents))
        yield from (Path(place, name) for name in sorted(files) if Path(place, name).is_file())
