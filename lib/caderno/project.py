"""Where things are: one `Project`, handed to whoever needs a path."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from caderno.errors import ProjectNotFound, UnknownName


@dataclass(frozen=True)
class Project:
    """A folder with params/, notebooks/, lib/ … at its top. `root` is absolute and resolved."""

    root: Path

    @classmethod
    def find(cls, start: Path) -> Project:
        """Return the project that `start` lies in: the nearest folder upwards with params/*.yaml.

        Raises ProjectNotFound where there is none.
        """
        start = start.resolve()
        for folder in (start, *start.parents):
            if any((folder / "params").glob("*.yaml")):
                return cls(folder)
        raise ProjectNotFound(
            f"no project here: neither {start} nor a folder above it has a params/ folder with a pipeline (*.yaml)",
            "change into a project's folder, or write params/<pipeline>.yaml",
        )

    @property
    def notebooks(self) -> Path:
        """The notebooks that tasks name."""
        return self.root / "notebooks"

    @property
    def params(self) -> Path:
        """The pipeline files."""
        return self.root / "params"

    @property
    def profiles(self) -> Path:
        """Overlays of pipeline files."""
        return self.params / "profiles"

    @property
    def lib(self) -> Path:
        """The packages that notebooks share."""
        return self.root / "lib"

    @property
    def python_path(self) -> str:
        """What kernels have as PYTHONPATH: lib/, before what is inherited."""
        inherited = os.environ.get("PYTHONPATH")
        return f"{self.lib}{os.pathsep}{inherited}" if inherited else str(self.lib)

    @property
    def reports(self) -> Path:
        """The generated pages."""
        return self.root / "reports"

    @property
    def data(self) -> Path:
        """The store of results, and sources by custom."""
        return self.root / "data"

    @property
    def state(self) -> Path:
        """Locks, caches and the journals of running runs; nothing here outlives its use."""
        return self.data / ".caderno"

    def pipelines(self) -> dict[str, Path]:
        """Return the pipeline files by name (the file's stem), sorted."""
        return {path.stem: path for path in sorted(self.params.glob("*.yaml"))}

    def pipeline_file(self, name: str) -> Path:
        """Return the file of the pipeline `name`; raise UnknownName where there is none."""
        known = self.pipelines()
        if name not in known:
            raise UnknownName("pipeline", name, known)
        return known[name]

    def profile_file(self, name: str) -> Path:
        """Return the overlay of the profile `name`; raise UnknownName where there is none."""
        known = {path.stem: path for path in sorted(self.profiles.glob("*.yaml"))}
        if name not in known:
            raise UnknownName("profile", name, known)
        return known[name]

    def file(self, path: str) -> str:
        """Return where `path` leads, which is relative to the root or absolute; as text, for it is asked often."""
        return path if path.startswith("/") else f"{self.root}/{path}"

    def relative(self, path: Path) -> str:
        """Return `path` as it is written in messages and records: relative to the root, with slashes."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.as_posix()
