"""Third-party packages: which distributions provide what is imported, and in which version.

An editable install has no version that says anything: it counts by its source.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from caderno.plan import digests
from caderno.plan.cache import StatCache

Found = tuple[str, str, str | None]  # distribution, version, the folder of an editable one's source


class Packages:
    """The distributions that are installed where this process imports from."""

    def __init__(self, cache: StatCache) -> None:
        self._cache = cache
        self._known: dict[str, list[Found]] | None = None

    def versions(self, modules: Iterable[str]) -> dict[str, str]:
        """Return {distribution: version} for the top-level names `modules`; "?" where nothing provides one."""
        wanted = sorted(set(modules) - sys.stdlib_module_names)
        found: dict[str, str] = {}
        for module in wanted:
            for name, version, source in (
                self._installed().get(module) or self._editable(module) or [(module, "?", None)]
            ):
                found[name] = version if source is None else f"{version} {self._source_digest(Path(source), module)}"
        return dict(sorted(found.items()))

    def _source_digest(self, folder: Path, module: str) -> str:
        package, single = folder / module, folder / f"{module}.py"
        sources = [*package.rglob("*.py")] if package.is_dir() else [single]
        lines = [f"{path.relative_to(folder)}\0{digests.of_path(path, self._cache)[0]}" for path in sorted(sources)]
        return f"(editable, {digests.of_text(chr(10).join(lines))[:12]})"

    def _editable(self, module: str) -> list[Found]:
        """A name that no distribution lists: an editable install's, which only adds its folder to the path."""
        spec = PathFinder.find_spec(module)
        places = [spec.origin] if spec and spec.origin else list(spec.submodule_search_locations or ()) if spec else []
        for place in places:
            for name, version, source in self._installed().get("", []):
                if source and Path(place).is_relative_to(source):
                    inside = next(
                        parent
                        for parent in Path(place).parents
                        if (parent / module).exists() or (parent / f"{module}.py").exists()
                    )
                    return [(name, version, str(inside))]
        return []

    def _installed(self) -> dict[str, list[Found]]:
        """Return for each importable top-level name its distributions; under "" all that are editable.

        Kept as long as no folder of the import path has changed: installing or removing changes one.
        """
        if self._known is None:
            folders = [Path(entry) for entry in sys.path if entry.endswith("-packages") and Path(entry).is_dir()]
            stamp = digests.of_json([[str(folder), folder.stat().st_mtime_ns] for folder in folders])
            anchor = Path(importlib.metadata.__file__)
            kept = self._cache.get("distributions-2", anchor, lambda _: _installed(), variant=stamp)
            self._known = {module: [tuple(entry) for entry in found] for module, found in kept.items()}
        return self._known


def _installed() -> dict[str, list[Found]]:
    every = {
        module: [_found(importlib.metadata.distribution(name)) for name in sorted(set(names))]
        for module, names in importlib.metadata.packages_distributions().items()
    }
    editable = [found for found in map(_found, importlib.metadata.distributions()) if found[2]]
    return {**every, "": sorted(set(editable))}


def _found(distribution: importlib.metadata.Distribution) -> Found:
    source = None
    with contextlib.suppress(ValueError, AttributeError):
        origin: Any = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            from urllib.request import url2pathname  # brings http.client and ssl along

            source = url2pathname(urlsplit(origin["url"]).path)
    return distribution.metadata["Name"], distribution.version, source
