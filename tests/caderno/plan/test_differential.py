"""Generated helper packages and edits: whenever what a notebook computes differs, its fingerprint does."""

from __future__ import annotations

import contextlib
import io
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caderno.plan.cache import StatCache
from caderno.plan.code import CodeScanner
from caderno.spec.notebook import CodeCell, Notebook, parse_cell

PACKAGE = "generated_helpers"
EXAMPLES = 250
HARMLESS_SHARE = 0.75  # as lib/README.md says: of the harmless edits in packages full of tricks, so many cause no run

Module = list[str]  # its statements


class Builder:
    """Writes modules of functions, classes, constants and tricks that use what stands above and in other modules."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.modules: dict[str, Module] = {}
        self.names: dict[str, list[str]] = {}  # callables and constants by module, as expressions to use

    def package(self) -> dict[str, Module]:
        self.modules["__init__"] = ["'''Helpers.'''"]
        for index in range(3):
            self._module(f"m{index}")
        return self.modules

    def _module(self, name: str) -> None:
        lines: Module = ["'''A module.'''"]
        if self.chance.random() < 0.5:
            lines.append("from __future__ import annotations")
        here: list[str] = []
        for other in self.names:
            here += self._import(lines, other)
        self.names[name] = []
        for index in range(self.chance.randint(3, 7)):
            made = self._statement(lines, f"{name}_{index}", here)
            here += made
            self.names[name] += [use for use in made if use]
        self.modules[name] = lines

    def _import(self, lines: Module, other: str) -> list[str]:
        uses = self.names[other]
        match self.chance.randrange(5):
            case 0:
                lines.append(f"from {PACKAGE} import {other}")
                return [f"{other}.{use}" for use in uses]
            case 1:
                lines.append(f"import {PACKAGE}.{other} as x{other}")
                return [f"x{other}.{use}" for use in uses]
            case 2 if uses:
                use = self.chance.choice(uses)
                bare = use.removesuffix("()").split(".")[0].split("(")[0]
                lines.append(f"from .{other} import {bare} as y{bare}")
                return [use.replace(bare, f"y{bare}", 1)]
            case 3 if self.chance.random() < 0.4:
                lines.append(f"from .{other} import *")
                return list(uses)
        return []

    def _value(self, here: list[str]) -> str:
        number = str(self.chance.randint(1, 9))
        if not here or self.chance.random() < 0.4:
            return number
        use = self.chance.choice(here)
        return self.chance.choice([use, f"({use}, {number})", f"str({use}) + '{number}'", f"[{use} for _ in range(2)]"])

    def _statement(self, lines: Module, name: str, here: list[str]) -> list[str]:
        value, other = self._value(here), self._value(here)
        literal = self.chance.randint(1, 9)
        kind = self.chance.randrange(16)
        text, uses = [
            (f"{name} = {literal}", [name]),
            (f"{name} = {value}", [name]),
            (f"{name}: int = {literal} * 2", [name]),
            (f"{name} = [{literal}, {value}]", [name]),
            (f"def {name}():\n    '''Doc.'''\n    return {value}", [f"{name}()"]),
            (f"def {name}(x={literal}):\n    y = {value}\n    return x, y, {other}", [f"{name}()"]),
            (f"def {name}(x={value}):\n    def inner():\n        return {other}\n    return inner(), x", [f"{name}()"]),
            (
                f"class {name}:\n    '''Doc.'''\n    a = {literal}\n\n    def f(self):\n        return {value}",
                [f"{name}().f()"],
            ),
            (f"class {name}(Exception):\n    a = {value}", [f"{name}.a"]),
            (
                f"import dataclasses\n@dataclasses.dataclass\nclass {name}:\n    a: int = {literal}\n\n"
                f"    def f(self):\n        return self.a, {value}",
                [f"{name}().f()"],
            ),
            (f"{name} = {{}}\ndef {name}_add(f):\n    {name}[f.__name__] = f\n    return f", []),
            (f"{name} = []\n{name}.append({value})", [name]),
            (f"def {name}():\n    return sorted(globals())[-1], {value}", [f"{name}()"]),
            (f"if {literal} > 4:\n    {name} = {value}\nelse:\n    {name} = {other}", [name]),
            (
                f"{name} = 0\ndef {name}_set():\n    global {name}\n    {name} += {literal}\n    return {name}",
                [f"{name}_set()"],
            ),
            (f"{name} = lambda: {value}", [f"{name}()"]),
        ][kind]
        registry = [line.split(" = {}")[0] for line in lines if " = {}\ndef" in line]
        if registry and text.startswith("def") and self.chance.random() < 0.5:
            text = f"@{registry[-1]}_add\n{text}"
            uses = [*uses, f"[f() for f in {registry[-1]}.values()]"]
        lines.append(text)
        return uses

    def cell(self) -> str:
        """Return a cell that uses some of it, in one of the ways to import."""
        module = self.chance.choice([name for name in self.names if self.names[name]] or ["m0"])
        uses = self.names[module] or ["__name__"]
        use = self.chance.choice(uses)
        bare = use.split(".")[0].split("(")[0]
        plain = bare.isidentifier()
        return self.chance.choice(
            [
                f"import {PACKAGE}.{module}\nprint({PACKAGE}.{module}.{use})",
                f"from {PACKAGE} import {module} as it\nprint(it.{use})",
                f"from {PACKAGE}.{module} import {bare} as it\nprint({use.replace(bare, 'it', 1)})",
                f"from {PACKAGE}.{module} import *\nprint({use})",
                f"from {PACKAGE} import {module}\nprint(getattr({module}, '{bare}'))",
                f"import importlib\nit = importlib.import_module('{PACKAGE}.{module}')\nprint(it.{use})",
            ]
            if plain
            else [f"from {PACKAGE}.{module} import *\nprint({use})"]
        )


HARMLESS = ("comment", "docstring", "blank", "unused function", "unused constant", "unused import")
HARMFUL = ("digit", "delete", "swap", "rename", "break")


def edit(modules: dict[str, Module], kind: str, chance: random.Random) -> dict[str, Module]:
    """Return the package with one edit of a kind."""
    name = chance.choice([module for module in modules if module != "__init__"])
    lines = list(modules[name])
    place = chance.randrange(2, len(lines)) if len(lines) > 2 else len(lines) - 1
    line = lines[place]
    digits = [position for position, char in enumerate(line) if char.isdigit() and line[position - 1] in " =([,'"]
    match kind:
        case "comment":
            lines[place] = f"# why\n{line}  # because"
        case "docstring":
            lines[place] = line.replace("'''Doc.'''", "'''Another.'''")
        case "blank":
            lines[place] = f"\n\n{line}\n\n"
        case "unused function":
            lines.insert(len(lines), f"def unused_{place}(x):\n    return x + 1")
        case "unused constant":
            lines.insert(len(lines), f"UNUSED_{place} = [1, 'two', 3.0]")
        case "unused import":
            lines.insert(len(lines), "import json\nfrom collections import Counter")
        case "digit" if digits:
            position = chance.choice(digits)
            lines[place] = line[:position] + str((int(line[position]) % 9) + 1) + line[position + 1 :]
        case "delete":
            del lines[place]
        case "swap" if place + 1 < len(lines):
            lines[place : place + 2] = reversed(lines[place : place + 2])
        case "rename":
            lines[place] = line.replace(f"{name}_", f"{name}_z")
        case "break":
            lines.insert(place, chance.choice(["BROKEN = 1 / 0", "BROKEN = nothing", "def broken(x=nothing): pass"]))
    return {**modules, name: lines}


def write(root: Path, modules: dict[str, Module]) -> None:
    folder = root / PACKAGE
    folder.mkdir(exist_ok=True)
    for name, lines in modules.items():
        (folder / f"{name}.py").write_text("\n".join(lines) + "\n")


def outcome(root: Path, cell: str) -> str:
    """Return what a cell prints, or how it fails, in fresh modules."""
    for module in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[module]
    out = io.StringIO()
    before = sys.dont_write_bytecode
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = True
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(cell, "cell", "exec"), {"__name__": "__main__"})
    except Exception as error:
        return f"{out.getvalue()}{type(error).__name__}"
    finally:
        sys.path.remove(str(root))
        sys.dont_write_bytecode = before
        sys.path_importer_cache.pop(str(root / PACKAGE), None)
    return _without_addresses(out.getvalue())


def _without_addresses(text: str) -> str:
    return " ".join(word for word in text.split() if not word.startswith("0x"))


def fingerprint(root: Path, cell: str) -> Any:
    path = root / "notebooks" / "one.ipynb"
    cells = (CodeCell(0, cell, (), parse_cell(cell)),)
    notebook = Notebook(path, "one.ipynb", "", "python3", "python", cells)
    code = CodeScanner(root, StatCache(root / "cache.json")).scan(notebook).code
    return code.units, code.packages


def differs(root: Path, seed: int, counts: Counter[str]) -> str | None:
    """Try one package and one edit; return what was edited where a changed outcome left the fingerprint as it was."""
    chance = random.Random(seed)
    builder = Builder(chance)
    modules = builder.package()
    cell = builder.cell()
    write(root, modules)
    before = outcome(root, cell), fingerprint(root, cell)
    kind = chance.choice(HARMLESS if chance.random() < 0.4 else HARMFUL)
    changed = edit(modules, kind, chance)
    write(root, changed)
    after = outcome(root, cell), fingerprint(root, cell)
    same = before[1] == after[1]
    counts["examples"] += 1
    counts["other outcome"] += before[0] != after[0]
    counts["fails from the start"] += before[0].endswith("Error")
    if kind in HARMLESS and before[0] == after[0] and not before[0].endswith("Error"):
        counts["harmless"] += 1
        counts["harmless, no run"] += same
    if before[0] != after[0] and same:
        return f"seed {seed}, {kind}: {before[0]!r} became {after[0]!r} of\n{cell}"
    return None


COUNTS: Counter[str] = Counter()


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32))
def test_whenever_what_a_cell_computes_differs_so_does_the_fingerprint(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert differs(tmp_path_factory.mktemp("generated"), seed, COUNTS) is None


def test_harmless_edits_cause_no_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    counts: Counter[str] = Counter()
    for seed in range(EXAMPLES):
        assert differs(tmp_path_factory.mktemp("generated"), seed, counts) is None
    assert counts["other outcome"] > EXAMPLES / 10, "the edits hardly ever change anything: the test proves little"
    assert counts["harmless, no run"] / counts["harmless"] >= HARMLESS_SHARE, counts
