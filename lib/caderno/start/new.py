"""A new project from the template that ships inside this package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from caderno.errors import CadernoError
from caderno.spec.schema import NAME, pipeline_schema
from caderno.start import naming

PACKAGE = "caderno_project"  # what the template's files call the package and the pipeline
TITLE = "caderno_title"
SCHEMA = f"params/{NAME}"
_RENAMED = {"gitignore": ".gitignore", "params/pipeline.yaml": f"params/{PACKAGE}.yaml"}


@dataclass(frozen=True)
class Made:
    """A new project: its folder, the name of its pipeline and package, its files (relative, with slashes)."""

    root: Path
    name: str
    files: tuple[str, ...]


def new(folder: Path) -> Made:
    """Write a project that runs at once into `folder`, which must not exist or be empty.

    Raises CadernoError, with nothing written, where it holds something already or can't be made.
    """
    root = folder.resolve()
    name = naming.package(root.name)
    texts = {path: text.replace(PACKAGE, name).replace(TITLE, root.name) for path, text in _template()}
    texts = {path.replace(PACKAGE, name): text for path, text in texts.items()} | {SCHEMA: pipeline_schema()}
    try:
        if root.is_dir() and any(root.iterdir()):
            hint = "name a new folder; to bring notebooks that exist into a pipeline: caderno adopt NOTEBOOK…"
            raise CadernoError(f"{folder} is there already, and not empty: nothing was written", hint)
        for path, text in texts.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CadernoError(f"{error.filename or folder} can't be made: {error.strerror}") from None
    return Made(root, name, tuple(sorted(texts)))


def _template() -> Iterator[tuple[str, str]]:
    """Yield each file of the template: (where it goes, its text)."""
    for path, file in _walk(files("caderno.start") / "template", ""):
        yield _RENAMED.get(path, path), file.read_text(encoding="utf-8")


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for child in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if child.name.startswith((".", "__pycache__")):  # caches beside the files, not part of them
            continue
        if child.is_dir():
            yield from _walk(child, f"{prefix}{child.name}/")
        else:
            yield f"{prefix}{child.name}", child
