from __future__ import annotations

import pytest
from workshop import Workshop

from caderno.plan.code import Seen

TOOLS = """
'''Tools.'''
import math
from tools import far
from tools.far import deep as below

LIMIT = 3
UNUSED = 4
PAIR = (LIMIT, UNUSED)

def used(x):
    '''Doc.'''
    return helper(x) + LIMIT

def helper(x):
    return math.floor(x)

def reaches():
    return far.deep() + below()

def unused(x):
    return UNUSED

class Used:
    def method(self):
        return helper(1)
"""
FAR = """
STEP = 1

def deep():
    return STEP

def alone():
    return 2
"""


@pytest.fixture
def lib(shop: Workshop) -> Workshop:
    shop.write("lib/tools/__init__.py", "")
    shop.write("lib/tools/near.py", TOOLS)
    shop.write("lib/tools/far.py", FAR)
    return shop


def seen(shop: Workshop, *cells: str) -> Seen:
    shop.notebook("one.ipynb", None, *cells)
    shop.pipeline("one: {notebook: one.ipynb}")
    planner = shop.planner()
    return planner.seen(planner.pipeline.tasks["one"])


def edited(shop: Workshop, cell: str, old: str, new: str, file: str = "near") -> set[str]:
    """Return what counts differently for a notebook of `cell` after an edit of a module."""
    before = seen(shop, cell).code.units
    path = shop.root / f"lib/tools/{file}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    after = seen(shop, cell).code.units
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


USE = "from tools.near import used\nused(1)"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return UNUSED", "return UNUSED + 1"),
        ("UNUSED = 4", "UNUSED = 5"),
        ("'''Doc.'''", "'''Another.'''"),
        ("'''Tools.'''", "'''Another.'''"),
        ("def used(x):", "# why\ndef used(x):"),
        ("helper(x) + LIMIT", "(helper(x)\n            + LIMIT)"),
        ("def unused(x)", "def more():\n    return LIMIT\n\ndef unused(x)"),
        ("def unused(x)", "import json\n\ndef unused(x)"),
        ("def unused(x)", "from collections import Counter\n\ndef unused(x)"),
        ("def method(self)", "def another(self)"),
        ("return far.deep()", "return 2 * far.deep()"),
    ],
)
def test_what_a_notebook_does_not_use_causes_no_run(lib: Workshop, old: str, new: str) -> None:
    assert edited(lib, USE, old, new) == set()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("LIMIT = 3", "LIMIT = 4", "tools.near:LIMIT"),
        ("helper(x) + LIMIT", "helper(x) - LIMIT", "tools.near:used"),
        ("math.floor(x)", "math.ceil(x)", "tools.near:helper"),
        ("UNUSED = 4", "UNUSED = 1 / 0", "tools.near"),
        ("UNUSED = 4", "UNUSED = print(4)", "tools.near"),
        ("def unused(x)", "@register\ndef unused(x)", "tools.near"),
        ("def unused(x)", "def unused(x=print(1))", "tools.near"),
        ("class Used:", "class Used(Base):", "tools.near"),
        ("def unused(x)", "from elsewhere import nothing\n\ndef unused(x)", "tools.near"),
        ("import math\n", "import numpy as math\n", "tools.near:math"),
        ("LIMIT = 3", "LIMIT = 3\nLIMIT += 1", "tools.near"),
    ],
)
def test_what_a_notebook_uses_is_named(lib: Workshop, old: str, new: str, named: str) -> None:
    assert named in edited(lib, USE, old, new)


def test_a_constant_two_imports_deep_is_reached(lib: Workshop) -> None:
    cell = "import tools.near\ntools.near.reaches()"
    assert edited(lib, cell, "STEP = 1", "STEP = 2", "far") == {"tools.far:STEP"}
    assert edited(lib, cell, "return 2", "return 3", "far") == set()


def test_an_imported_name_that_is_gone_counts_though_nobody_uses_it(lib: Workshop) -> None:
    assert edited(lib, USE, "def deep():", "def deeper():", "far")


@pytest.mark.parametrize(
    "cell",
    [
        "from tools import near\ngetattr(near, name)",
        "import tools.near as n\nvars(n)",
        "from tools.near import *",
        "import tools.near\ntools.near.LIMIT = 4",
        "from tools import near\nsetattr(near, 'LIMIT', 4)",
        "import tools.near\nmodules = [tools.near]",
        "from tools import near\nnear.__dict__",
        "import importlib\nfind = importlib.import_module\nfind(name)",
        "from importlib import import_module as find\nfind(name)",
        "import sys\nsys.modules['tools.near']",
        "run = exec\nrun(text)",
        "import tools.near\nglobals()['tools']",
        "%run other.py",
    ],
)
def test_what_is_not_certain_counts_whole(lib: Workshop, cell: str) -> None:
    assert edited(lib, cell, "return UNUSED", "return UNUSED + 1") == {"tools.near:*"}


@pytest.mark.parametrize(
    "line",
    [
        "def __getattr__(name):\n    return globals()[name]",
        "exec('x = 1')",
        "from tools.far import *",
    ],
)
def test_a_module_of_tricks_counts_whole(lib: Workshop, line: str) -> None:
    path = lib.root / "lib/tools/near.py"
    path.write_text(path.read_text() + line + "\n")
    assert "tools.near:*" in edited(lib, USE, "return UNUSED", "return UNUSED + 1")


@pytest.mark.parametrize(
    "body",
    [
        "from importlib.resources import files\n\ndef load():\n    return files('tools').joinpath('rates.json')\n",
        "from pathlib import Path\n\ndef load():\n    return Path(__file__).parent / 'rates.json'\n",
        "import pkgutil\n\ndef load():\n    return pkgutil.get_data('tools', 'rates.json')\n",
    ],
)
def test_data_files_that_code_asks_for_count(lib: Workshop, body: str) -> None:
    lib.write("lib/tools/rates.json", "1")
    lib.write("lib/tools/data.py", body)
    cell = "from tools.data import load\nload()"
    before = seen(lib, cell).code.units
    lib.write("lib/tools/rates.json", "2")
    after = seen(lib, cell).code.units
    assert {name for name in after if after[name] != before[name]} == {"tools/rates.json"}
    assert "tools/rates.json" not in seen(lib, "from tools.near import used\nused(1)").code.units


def test_docstrings_count_where_code_reads_them(lib: Workshop) -> None:
    cell = "from tools.near import used\nprint(used.__doc__)"
    assert edited(lib, cell, "'''Doc.'''", "'''Another.'''")


def test_a_local_name_is_no_use_of_a_module(lib: Workshop) -> None:
    cell = "from tools import near\n\ndef f(near):\n    return near\n\n[near for near in (1, 2)]\nnear.used(1)"
    assert edited(lib, cell, "return UNUSED", "return UNUSED + 1") == set()


def test_what_ran_unseen_is_taken_in_and_its_module_whole(lib: Workshop) -> None:
    lib.notebook("one.ipynb", None, USE)
    lib.pipeline("one: {notebook: one.ipynb}")
    planner = lib.planner()
    notebook = planner.pipeline.tasks["one"].notebook
    found = planner._scanner.scan(notebook, ["tools.far:alone"])
    assert "tools.far:*" in found.code.units


def test_the_way_from_a_cell_to_a_name_is_told(lib: Workshop) -> None:
    picture = seen(lib, "x = 1", "import tools.near\ntools.near.reaches()").picture
    way = picture.way_to("tools.far:STEP")
    assert way == ["cell 2", "tools.near:reaches", "tools.near:below", "tools.far:deep", "tools.far:STEP"] or way == [
        "cell 2",
        "tools.near:reaches",
        "tools.near:far",
        "tools.far:deep",
        "tools.far:STEP",
    ]


def test_imports_in_a_circle_end(lib: Workshop) -> None:
    lib.write("lib/tools/__init__.py", "from tools import near, far\nfrom tools.near import used as near_used\n")
    lib.write("lib/tools/far.py", FAR + "from tools import near\nfrom tools.near import used\n")
    assert "tools.far:deep" in seen(lib, "import tools\ntools.far.deep()").code.units
