from __future__ import annotations

from pathlib import Path

import pytest
from workshop import Workshop, code, text

from caderno.plan.records import Code


def code_of(shop: Workshop, *cells: str, parameters: str | None = None) -> Code:
    """Return the code behind a notebook of these cells."""
    shop.notebook("one.ipynb", parameters, *cells)
    shop.pipeline("one: {notebook: one.ipynb}")
    planner = shop.planner()
    return planner.code(planner.pipeline.tasks["one"])


def modules(shop: Workshop, *cells: str) -> set[str]:
    return {name.partition(":")[0] for name in code_of(shop, *cells).units}


@pytest.fixture
def lib(shop: Workshop) -> Workshop:
    """A library: tools imports tools.deep.down by way of tools.a and tools.b; tools.lonely is imported by none."""
    shop.write("lib/tools/__init__.py", "")
    shop.write("lib/tools/a.py", "from .b import f\n")
    shop.write("lib/tools/b.py", "from tools.deep import down\n\ndef f():\n    return down.g()\n")
    shop.write("lib/tools/deep/__init__.py", "")
    shop.write("lib/tools/deep/down.py", "import json\nfrom ..c import *\n\ndef g():\n    return 1\n")
    shop.write("lib/tools/c.py", "")
    shop.write("lib/tools/lonely.py", "")
    shop.write("lib/other.py", "")
    return shop


A = {"tools", "tools.a", "tools.b", "tools.c", "tools.deep", "tools.deep.down"}


@pytest.mark.parametrize(
    "cell",
    [
        "import tools.a",
        "from tools import a",
        "from tools.a import f",
        "def f():\n    import tools.a",
        "import tools.a as t",
    ],
)
def test_a_notebook_depends_on_what_it_imports_transitively(lib: Workshop, cell: str) -> None:
    assert modules(lib, cell) == A


def test_a_relative_star_import_takes_that_module(lib: Workshop) -> None:
    assert "tools.c" in modules(lib, "from tools.deep.down import g")


def test_a_star_import_takes_the_whole_package(lib: Workshop) -> None:
    assert modules(lib, "from tools import *") == A | {"tools.lonely"}


@pytest.mark.parametrize(
    "cell",
    [
        "import importlib\nimportlib.import_module(name)",
        "from importlib import import_module\nimport_module(name)",
        "__import__(name)",
        "exec(text)",
        "this is no Python",
    ],
)
def test_an_import_that_is_not_certain_takes_all_of_lib(lib: Workshop, cell: str) -> None:
    assert modules(lib, cell) == A | {"tools.lonely", "other"}


def test_a_dynamic_import_in_a_module_takes_its_package(lib: Workshop) -> None:
    lib.write("lib/tools/c.py", "import importlib\n\ndef load(name):\n    return importlib.import_module(name)\n")
    assert modules(lib, "import tools.c") == {"tools", "tools.c"}
    assert modules(lib, "import tools.c\ntools.c.load('a')") == A | {"tools.lonely"}


def test_an_import_by_a_literal_name_is_certain(lib: Workshop) -> None:
    assert modules(lib, "import importlib\nimportlib.import_module('tools.lonely')") == {"tools", "tools.lonely"}


def test_a_namespace_package_is_followed(lib: Workshop) -> None:
    lib.write("lib/space/x.py", "from . import y")
    lib.write("lib/space/y.py", "")
    assert modules(lib, "import space.x") == {"space.x", "space.y"}
    assert modules(lib, "from space import *") == {"space.x", "space.y"}


def test_a_module_beside_the_notebook_counts(lib: Workshop) -> None:
    lib.write("notebooks/helper.py", "import tools.lonely")
    assert modules(lib, "import helper") == {"helper", "tools", "tools.lonely"}
    before = code_of(lib, "import helper")
    lib.write("notebooks/helper.py", "import tools.lonely\nprint(1)")
    assert code_of(lib, "import helper") != before


def test_an_editors_lock_beside_a_module_is_no_module(lib: Workshop) -> None:
    (lib.root / "lib/tools/.#a.py").symlink_to("someone@here.1234:1")
    assert modules(lib, "from tools import *") == A | {"tools.lonely"}


def test_circular_imports_end(lib: Workshop) -> None:
    lib.write("lib/tools/lonely.py", "import tools.a")
    lib.write("lib/tools/c.py", "import tools.lonely")
    assert modules(lib, "import tools.a") == A | {"tools.lonely"}


def test_a_module_that_does_not_parse_counts_by_its_text(lib: Workshop) -> None:
    lib.write("lib/other.py", "def (")
    before = code_of(lib, "import other")
    assert set(before.units) == {"other:*"}
    lib.write("lib/other.py", "def ((")
    assert code_of(lib, "import other").units != before.units


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x = 1", "x = 1  # why"),
        ("x = 1", "# a comment\n\n\nx = 1\n"),
        ("x = f(1, 2)", "x = f(\n    1,\n    2,\n)"),
        ("x = 'a'", 'x = "a"'),
        ("x = (1)", "x = 1"),
    ],
)
def test_comments_and_formatting_of_a_helper_and_a_cell_do_not_count(lib: Workshop, old: str, new: str) -> None:
    lib.write("lib/other.py", old)
    before = code_of(lib, "import other", old)
    lib.write("lib/other.py", new)
    assert code_of(lib, "import other", new) == before


@pytest.mark.parametrize("name", ["a", "b", "c", "deep/__init__", "deep/down", "__init__"])
def test_a_change_of_any_imported_module_counts(lib: Workshop, name: str) -> None:
    before = code_of(lib, "import tools.a")
    path = lib.root / f"lib/tools/{name}.py"
    path.write_text(path.read_text() + "\nprint(1)\n")
    after = code_of(lib, "import tools.a")
    assert after.notebook == before.notebook
    changed = {unit for unit in after.units if after.units[unit] != before.units.get(unit)}
    assert {unit.partition(":")[0] for unit in changed} == {f"tools.{name}".replace("/", ".").removesuffix(".__init__")}


def test_a_change_of_a_module_that_is_not_imported_does_not_count(lib: Workshop) -> None:
    before = code_of(lib, "import tools.a")
    lib.write("lib/tools/lonely.py", "changed = 1")
    lib.write("lib/other.py", "changed = 1")
    assert code_of(lib, "import tools.a") == before


def test_markdown_outputs_metadata_and_empty_cells_do_not_count(shop: Workshop) -> None:
    before = code_of(shop, "x = 1")
    executed = {
        **code("x = 1", "summary"),
        "execution_count": 3,
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}],
    }
    shop.notebook("one.ipynb", None, text("# One"), "", executed)
    planner = shop.planner()
    assert planner.code(planner.pipeline.tasks["one"]) == before


def test_the_order_of_cells_counts(shop: Workshop) -> None:
    assert code_of(shop, "x = 1", "y = 2").cells != code_of(shop, "y = 2", "x = 1").cells


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x = {1, 2}", "x = {1, 3}"),
        ("x = b'a'", "x = b'b'"),
        ("x = (1, 2)", "x = [1, 2]"),
        ("x = {1: 'a'}", "x = {'1': 'a'}"),
        ("x = len('a')", "x = len('ab')"),
        ("x = 1\ny = x", "x = 1\ny = -x"),
        ("x = {[1]: 2}", "x = {[1]: 3}"),
    ],
)
def test_a_default_that_json_does_not_give_back_counts_by_its_code(shop: Workshop, old: str, new: str) -> None:
    assert code_of(shop, parameters=old) != code_of(shop, parameters=new)


def test_magics_are_read_as_the_calls_they_are(lib: Workshop) -> None:
    assert modules(lib, "%matplotlib inline\nimport tools.a") == A
    assert code_of(lib, "!ls").cells != code_of(lib, "!ls -l").cells


def test_packages_count_by_their_versions_and_the_standard_library_does_not(shop: Workshop) -> None:
    import yaml

    found = code_of(shop, "import os, json, yaml\nfrom collections import abc").packages
    assert {name.lower(): version for name, version in found.items()} == {"pyyaml": yaml.__version__}


def test_a_packages_new_version_is_seen_even_with_a_cache(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    info = site / "toy-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "toy.py").write_text("")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("toy\n")
    monkeypatch.syspath_prepend(site)
    shop.write("lib/other.py", "import toy")
    assert code_of(shop, "import other").packages == {"toy": "1.0"}
    new = info.rename(site / "toy-1.1.dist-info")
    (new / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.1\n")
    assert code_of(shop, "import other").packages == {"toy": "1.1"}


def test_a_package_that_is_not_installed_counts_by_its_name(shop: Workshop) -> None:
    assert code_of(shop, "import nowhere_at_all.x").packages == {"nowhere_at_all": "?"}
