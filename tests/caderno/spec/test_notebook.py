from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from workshop import Workshop, code, text

from caderno.errors import InvalidPipeline
from caderno.spec import Notebook
from caderno.spec.notebook import UNSET, read


def parameters(shop: Workshop, source: str) -> dict[str, Any]:
    """Return {name: default} of a cell of parameters."""
    notebook = read(shop.notebook("one.ipynb", source), "one.ipynb")
    return {name: parameter.default for name, parameter in notebook.parameters.items()}


def problem(path: Path) -> str:
    with pytest.raises(InvalidPipeline) as caught:
        read(path, "notebooks/one.ipynb")
    return str(caught.value)


def test_each_assignment_of_the_tagged_cell_is_a_parameter(shop: Workshop) -> None:
    source = """
        # what may be set
        seed: int = 42  # for the split
        month = "2013-01"
        columns: list[str] = ["a", "b"]
        limits: dict[str, float | None] = {"low": -1.5, "high": None}
        flag: bool = True
    """
    assert parameters(shop, source) == {
        "seed": 42,
        "month": "2013-01",
        "columns": ["a", "b"],
        "limits": {"low": -1.5, "high": None},
        "flag": True,
    }


def test_a_parameter_knows_its_annotation_and_place(shop: Workshop) -> None:
    path = shop.notebook("one.ipynb", None, text("# One"), code("a = 1\n\nb: 'int | None' = 2", "parameters"))
    found = read(path, "notebooks/one.ipynb").parameters
    assert found["a"].annotation is None
    assert found["b"].annotation == "int | None"
    assert found["b"].where == "notebooks/one.ipynb, cell 2, line 3"


def test_a_declaration_without_a_value_is_required(shop: Workshop) -> None:
    found = read(shop.notebook("one.ipynb", "seed: int"), "one.ipynb").parameters["seed"]
    assert found.required
    assert found.default is UNSET


@pytest.mark.parametrize("source", ["x = len('abc')", "x = {1, 2}", "x = b'abc'", "x = [object()]"])
def test_an_expression_is_no_default(shop: Workshop, source: str) -> None:
    assert parameters(shop, source) == {"x": UNSET}


def test_imports_and_calls_among_the_parameters_are_no_parameters(shop: Workshop) -> None:
    assert parameters(shop, "from datetime import date\nprint(1)\nx: int = 3") == {"x": 3}


def test_a_notebook_without_the_tag_has_no_parameters(shop: Workshop) -> None:
    assert read(shop.notebook("one.ipynb", None, "x = 1"), "one.ipynb").parameters == {}


def test_two_cells_tagged_parameters_are_a_problem_that_names_both(shop: Workshop) -> None:
    path = shop.notebook("one.ipynb", "x = 1", text("and"), code("y = 2", "parameters"))
    assert "notebooks/one.ipynb: cells 1 and 3 are both tagged `parameters`" in problem(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "notebooks/one.ipynb:1: not valid JSON"),
        ('{\n "cells": [,]}', "notebooks/one.ipynb:2: not valid JSON"),
        ("[]", "is JSON, but not a notebook"),
        ("{}", "is JSON, but not a notebook"),
        ('{"nbformat": 4}', "no list of cells"),
        ('{"nbformat": 4, "cells": {}}', "no list of cells"),
        ('{"nbformat": 3, "worksheets": []}', "notebook format 3, not 4"),
    ],
)
def test_a_file_that_is_no_notebook_is_told(shop: Workshop, content: str, said: str) -> None:
    assert said in problem(shop.write("notebooks/one.ipynb", content))


@pytest.mark.parametrize(
    "cell", [7, {}, {"cell_type": "code", "source": None}, {"cell_type": "code", "source": "", "metadata": None}]
)
def test_a_cell_that_is_none_ends_in_no_traceback(shop: Workshop, cell: Any) -> None:
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    path = shop.write("notebooks/one.ipynb", json.dumps(content))
    try:
        assert isinstance(read(path, "notebooks/one.ipynb"), Notebook)
    except InvalidPipeline as error:
        assert "notebooks/one.ipynb" in str(error)


def test_what_a_merge_left_is_named(shop: Workshop) -> None:
    assert "a merge left its marks" in problem(shop.write("notebooks/one.ipynb", '{\n<<<<<<< HEAD\n"cells": []}'))


def test_a_file_that_is_no_text_is_told(shop: Workshop) -> None:
    assert "not UTF-8 text" in problem(shop.write("notebooks/one.ipynb", b"\xff\xfe\x00"))


def test_nbformat_3_is_told_how_to_be_mended(shop: Workshop) -> None:
    assert "jupyter nbconvert" in problem(shop.write("notebooks/one.ipynb", '{"nbformat": 3, "worksheets": []}'))


def test_a_source_in_lines_is_one_source(shop: Workshop) -> None:
    cell = {**code(""), "source": ["x = 1\n", "y = 2"]}
    assert read(shop.notebook("one.ipynb", None, cell), "one.ipynb").cells[0].source == "x = 1\ny = 2"


def test_cells_with_magics_are_python(shop: Workshop) -> None:
    path = shop.notebook("one.ipynb", None, "%matplotlib inline\nimport json", "!ls", "x = 1")
    assert all(cell.tree for cell in read(path, "one.ipynb").cells)


def test_what_is_executed_is_what_was_read(shop: Workshop) -> None:
    path = shop.notebook("one.ipynb", None, "x = 1")
    notebook = read(path, "one.ipynb")
    path.write_text("{}")
    assert json.loads(notebook.raw)["cells"][0]["source"] == "x = 1"


def above(shop: Workshop, *cells: str) -> Path:
    """Return a notebook with cells above the one that declares seed and month."""
    return shop.notebook("one.ipynb", None, *cells, code("seed: int = 1\nmonth: str = 'a'", "parameters"), "seed")


@pytest.mark.parametrize(
    "cell",
    [
        "x = 1\nprint(seed)",
        "rows = [i * seed for i in range(3)]",
        "class A:\n    size = seed",
        "def f(n=seed): pass",
        "@wraps(seed)\ndef f(): pass",
        "try:\n    pass\nfinally:\n    print(seed)",
    ],
)
def test_a_parameter_used_above_its_cell_is_told_with_its_place(shop: Workshop, cell: str) -> None:
    said = problem(above(shop, "import os", cell))
    assert "notebooks/one.ipynb, cell 2, line " in said
    assert "uses 'seed' before it is defined" in said
    assert "right after the cell tagged `parameters`" in said


@pytest.mark.parametrize(
    "cell",
    [
        "def f():\n    return seed",
        "f = lambda: seed",
        "seed = 3\nprint(seed)",
        "from settings import seed\nprint(seed)",
        "from settings import *\nprint(seed)",
        "%run settings.py\nprint(seed)",
        "exec(text)\nprint(seed)",
        "try:\n    seed\nexcept NameError:\n    pass",
        "if 'seed' in globals():\n    print(seed)",
        "for seed in range(3):\n    print(seed)",
        "with open('x') as seed:\n    print(seed)",
        "print(other.seed, 'seed')",
        "this is no Python",
    ],
)
def test_a_use_above_that_may_be_well_defined_is_left_alone(shop: Workshop, cell: str) -> None:
    assert read(above(shop, cell), "one.ipynb").parameters.keys() == {"seed", "month"}
