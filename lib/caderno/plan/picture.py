"""The picture of what a notebook uses: from its cells through imports to functions, classes and constants.

It is static: nothing is imported. Where it can't be certain, it takes more: the whole module, the whole package, or all
of the project's code. Too much work, never a stale result. `whole` says why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from caderno.plan import digests
from caderno.plan.cache import StatCache
from caderno.plan.modules import Module, Modules
from caderno.plan.names import PLACES, TEXT, Chain, Names, Target

# Modules through which anything can be imported or run; `importlib` has harmless parts too.
_DYNAMIC = {"builtins", "importlib", "imp", "runpy", "pkgutil", "zipimport", "code", "codeop", "imputil"}
_HARMLESS = {("importlib", "metadata"), ("importlib", "resources"), ("importlib", "reload")}
_RESOURCES = {("importlib", "resources"), ("importlib_resources",), ("pkgutil", "get_data")}
_MODULE_FACTS = {"__name__", "__package__", "__version__", "__annotations__", "__builtins__"}


class Picture:
    """What `cells` use of `modules`. `observed` are names that a run saw used: they are taken in, their modules whole.

    `units` maps what counts to its digest: "tools.a:f" (a function, class, constant or import), "tools.a" (what runs
    at import), "tools.a:*" (the whole module), "tools/rates.json" (a data file). `external` are the top-level names of
    all other imports. `parents` maps each of these to what first led there; cells are called "cell 4".
    """

    def __init__(
        self, modules: Modules, cells: Mapping[str, Names], cache: StatCache, observed: Iterable[str] = ()
    ) -> None:
        self.external: set[str] = set()
        self.parents: dict[str, str] = {}
        self.whole: dict[str, str] = {}
        self._modules = modules
        self._cache = cache
        self._loaded: dict[str, Module] = {}
        self._counted: dict[str, set[int]] = {}  # by module, the units that count
        self._used_imports: dict[str, list[Target]] = {}
        self._data: dict[str, Path] = {}
        self._followed: set[tuple[str, Chain]] = set()
        self._by_text = False
        self._here = ""
        self._queue: deque[tuple[str, Callable[[], None]]] = deque()
        self._cells(cells)
        for name in observed:
            self._later(
                "what ran",
                partial(self._take, name.partition(":")[0], "used at run time without being seen in the code"),
            )
        self._drain()

    # Results.

    @property
    def modules(self) -> set[str]:
        """The names of all modules of the project that are loaded."""
        return set(self._loaded)

    @property
    def files(self) -> list[Path]:
        """The files of all modules of the project that are loaded, in the order in which they were met."""
        return [module.path for module in self._loaded.values()]

    @property
    def unused(self) -> dict[str, list[str]]:
        """The names, by module, of the definitions in loaded modules that nothing is seen to use."""
        return {
            name: sorted({unit.label for unit in module.units if unit.label} - self._labels(module))
            for name, module in self._loaded.items()
            if name not in self.whole
        }

    def _labels(self, module: Module) -> set[str]:
        return {module.units[index].label for index in self._counted.get(module.name, ())}

    @property
    def units(self) -> dict[str, str]:
        """What counts, with its digest."""
        found: dict[str, list[str]] = {}
        for owner in self._counted.keys() - self.whole.keys():
            for index in sorted(self._counted[owner]):
                unit = self._loaded[owner].units[index]
                if not unit.always:
                    found.setdefault(f"{owner}:{unit.label}", []).append(unit.digest)
        units = {key: digests.of_json(several) for key, several in found.items()}
        for key, targets in self._used_imports.items():
            if key.partition(":")[0] not in self.whole:
                units[key] = digests.of_json(sorted(targets, key=str))
        for name, module in self._loaded.items():
            if name in self.whole:
                units[f"{name}:*"] = module.digest
            else:
                units[name] = self._at_import(module)
            if self._by_text:
                units[f"{name}:text"] = module.text
        for name, path in self._data.items():
            units[name] = digests.of_path(path, self._cache)[0]
        return dict(sorted(units.items()))

    def _at_import(self, module: Module) -> str:
        """Return the digest of what runs when a module is imported, and of what is bound there before it runs."""
        imported = {name for unit in module.units if unit.always for name in unit.names.imports}
        counted = self._labels(module) | imported
        lines: list[object] = []
        requires: set[Target] = set()
        for unit in module.units:
            if unit.always and unit.digest:
                lines.append([unit.digest, [name for name in unit.before if name in counted]])
            if unit.always:
                requires |= {(base, name) for base, name in unit.names.requires if not self._modules.is_known(base)}
        return digests.of_json([lines, sorted(requires, key=str)])

    def way_to(self, key: str) -> list[str]:
        """Return how `key` is reached: from a cell to it, both included."""
        way = [key]
        while (parent := self.parents.get(way[0])) and parent not in way:
            way.insert(0, parent)
        return way

    # Walking, breadth first: the shortest way to each unit is the one that is told.

    def _later(self, parent: str, step: Callable[[], None]) -> None:
        self._queue.append((parent, step))

    def _drain(self) -> None:
        while self._queue:
            self._here, step = self._queue.popleft()
            step()

    def _seen(self, key: str) -> None:
        if key != self._here:
            self.parents.setdefault(key, self._here)

    def _cells(self, cells: Mapping[str, Names]) -> None:
        """All cells share one namespace: what one imports, each may use."""
        imports: dict[str, set[Target]] = {}
        for names in cells.values():
            for local, targets in names.imports.items():
                imports.setdefault(local, set()).update(targets)
        for cell, names in cells.items():
            self._imported(cell, names)
            for chain in sorted(names.refs):
                for target in sorted(imports.get(chain[0], ()), key=str):
                    self._later(cell, partial(self._follow, target, chain[1:]))
            if names.namespace:
                for target in sorted((t for targets in imports.values() for t in targets), key=str):
                    self._later(cell, partial(self._follow, target, ()))
            if names.dynamic:
                self._later(cell, self._take_everything)
            self._by_text |= names.text
            if names.places or names.strings:
                self._later(cell, partial(self._strings, names))

    def _load(self, name: str) -> None:
        """Take in what importing the module `name` runs: it and the packages above it."""
        parts = name.split(".")
        if not self._modules.is_known(parts[0]):
            self.external.add(parts[0])
            return
        for end in range(1, len(parts) + 1):
            self._load_one(".".join(parts[:end]))

    def _load_one(self, name: str) -> None:
        module = self._modules.get(name)
        if module is None or name in self._loaded:
            return
        self._loaded[name] = module
        self._seen(name)
        if module.opaque:
            self._later(name, partial(self._take, name, module.opaque))
        for index, unit in enumerate(module.units):
            if unit.always:
                self._later(name, partial(self._count, module, index))

    def _count(self, module: Module, index: int) -> None:
        counted = self._counted.setdefault(module.name, set())
        if index in counted:
            return
        counted.add(index)
        unit = module.units[index]
        key = module.name if unit.always else f"{module.name}:{unit.label}"
        self._seen(key)
        names = unit.names
        self._imported(key, names)
        for chain in sorted(names.refs):
            local = () if unit.always and not unit.digest else names.imports.get(chain[0], ())
            for target in sorted(local, key=str):
                self._later(key, partial(self._follow, target, chain[1:]))
            if not local:
                self._later(key, partial(self._use, module, chain[0], chain[1:]))
        if names.namespace:
            self._later(key, partial(self._take, module.name, "takes its own names as data (globals)"))
        if names.dynamic:
            self._dynamic(module, key)
        self._by_text |= names.text
        if names.places:
            self._later(key, partial(self._take_data, module.package))
        if names.strings:
            self._later(key, partial(self._strings, names))

    def _imported(self, key: str, names: Names) -> None:
        """Take in what the import statements of a cell or a unit do, whatever becomes of the names."""
        for name in sorted(names.loads):
            self._later(key, partial(self._load, name))
        for base, name in sorted(names.requires):
            self._later(key, partial(self._require, base, name))
        for star in sorted(names.stars):
            self._later(key, partial(self._take_package, star, "imported by star"))

    def _dynamic(self, module: Module, key: str) -> None:
        top = module.package.partition(".")[0]
        if top:
            self._later(key, partial(self._take_package, top, f"{key} imports or runs what is known only then"))
        else:
            self._later(key, self._take_everything)

    def _use(self, module: Module, name: str, rest: Chain) -> None:
        """Take in what `name` means at the top of a module; builtins mean nothing of the project."""
        for index in module.bindings.get(name, ()):
            unit = module.units[index]
            self._later(self._here, partial(self._count, module, index))
            if name in unit.names.imports:
                self._use_import(module, name, sorted(unit.names.imports[name], key=str), rest)

    def _use_import(self, module: Module, name: str, targets: list[Target], rest: Chain) -> None:
        """Follow an import; what it stands for counts, but for a plain `import x`, whose name says all."""
        key = f"{module.name}:{name}"
        if (key, rest) in self._followed:  # imports may go in circles
            return
        self._followed.add((key, rest))
        if targets != [(name, None)]:
            known = self._used_imports.setdefault(key, [])
            known += [target for target in targets if target not in known]
        self._seen(key)
        for target in targets:
            self._later(key, partial(self._follow, target, rest, module))

    def _follow(self, target: Target, rest: Chain, by: Module | None = None) -> None:
        """Take in what a chain means that starts at an imported thing."""
        name, attribute = target
        chain = (attribute, *rest) if attribute else rest
        if not self._modules.is_known(name.partition(".")[0]):
            self._external((*name.split("."), *chain), by)
            return
        self._load(name)
        while chain:
            module, first, chain = self._modules.get(name), chain[0], chain[1:]
            inner = f"{name}.{first}"
            bound = module is not None and first in module.bindings
            if module is not None and bound:
                self._use(module, first, chain)
            if self._modules.is_known(inner):
                self._load(inner)
                name = inner
                continue
            if not bound:
                self._fact(name, first)
            return
        self._take_package(name, "used as data")

    def _fact(self, name: str, attribute: str) -> None:
        module = self._modules.get(name)
        if attribute in PLACES:
            self._take_data(module.package if module else name)
        elif attribute not in _MODULE_FACTS and attribute != "__doc__":
            why = "taken as data (__dict__)" if attribute == "__dict__" else f"has no {attribute} that can be seen"
            self._take_package(name, why)

    def _external(self, chain: Chain, by: Module | None) -> None:
        top = chain[0]
        self.external.add(top)
        if any(chain[: len(resources)] == resources for resources in _RESOURCES):
            if by is not None:
                self._take_data(by.package)
        elif (top in _DYNAMIC and len(chain) > 1 and chain[:2] not in _HARMLESS) or chain[:2] == ("sys", "modules"):
            if by is None:
                self._take_everything()
            else:
                self._dynamic(by, self._here)
        elif top == "inspect" and chain[-1] in TEXT:
            self._by_text = True

    def _require(self, base: str, name: str) -> None:
        """`from base import name` in a module that is loaded: the name must be there."""
        if not self._modules.is_known(base.partition(".")[0]):
            return
        module = self._modules.get(base)
        if self._modules.is_known(f"{base}.{name}"):
            self._load(f"{base}.{name}")
        elif module is None or name not in module.bindings:
            self._take(base, f"has no {name} that can be seen")

    # Taking more than is seen.

    def _take(self, name: str, why: str) -> None:
        """Count a whole module."""
        self._load(name)
        module = self._modules.get(name)
        if module is None:
            if self._modules.is_known(name):
                self._take_package(name, why)
            return
        if name in self.whole:
            return
        self.whole[name] = why
        self._seen(f"{name}:*")
        for index in range(len(module.units)):
            self._later(f"{name}:*", partial(self._count, module, index))
        for bound in sorted(module.bindings):
            self._later(f"{name}:*", partial(self._use, module, bound, ()))

    def _take_package(self, name: str, why: str) -> None:
        """Count a module, and all below it where it is a package: a module in hand gives way to those inside."""
        module = self._modules.get(name)
        if module is None or module.is_package:
            for inner in self._modules.below(name):
                self._take(inner, why)
        else:
            self._take(name, why)

    def _take_everything(self) -> None:
        for name in self._modules.below(""):
            self._take(name, f"{self._here} imports or runs what is known only then")

    def _take_data(self, package: str) -> None:
        for name, path in self._modules.data_files(package):
            self._data[name] = path
            self._seen(name)

    def _strings(self, names: Names) -> None:
        """Where code asks for data files, a text that names a package may be the package it asks for."""
        for text in sorted(names.strings):
            if text and text.replace(".", "").isidentifier() and self._modules.is_known(text):
                self._take_data(text)
