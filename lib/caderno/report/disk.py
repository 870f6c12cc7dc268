"""Pages on disk: replaced whole, never written in place."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path


def write(path: Path, page: str) -> None:
    """Write a page so that a reader sees the old one or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as folder:
        (Path(folder) / path.name).write_text(page, encoding="utf-8")
        (Path(folder) / path.name).replace(path)


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy of it on another file system; the old one is replaced."""
    if target.exists() and target.samefile(source):
        return  # renaming a link over its own file does nothing and would leave the temporary name
    target.parent.mkdir(parents=True, exist_ok=True)
    with _beside(target) as folder:
        temporary = Path(folder) / target.name
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)


def _beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=path.parent)
