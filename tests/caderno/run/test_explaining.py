"""Why a task runs, and what a notebook takes, as the command line tells it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from workshop import Workshop, text


def test_the_parameters_of_a_notebook_are_told_with_what_they_receive(shop: Workshop) -> None:
    shop.write("data/raw.csv", "1")
    shop.notebook(
        "one.ipynb",
        """
        # the seed of
        # all chance
        seed: int = 0
        raw: str = "raw.csv"  # where it comes from
        out: str = "out.csv"
        rate: float
        when = f()
        """,
    )
    io = "inputs: {raw: 'file:data/raw.csv'}, outputs: {out: o.csv}"
    shop.pipeline(f"one: {{notebook: one.ipynb, params: {{seed: 7, rate: 0.5}}, {io}}}")
    done = shop.caderno("show", "one", "--params")
    assert done.code == 0, done.out
    rows = [line.split() for line in done.out.splitlines()]
    assert rows[1] == ["seed", "int", "0", "7", *["the", "seed", "of", "all", "chance"]]
    assert rows[2] == ["raw", "str", '"raw.csv"', "input", "file:data/raw.csv", *["where", "it", "comes", "from"]]
    assert rows[3] == ["out", "str", '"out.csv"', "output", "o.csv"]
    assert rows[4] == ["rate", "float", "(none)", "0.5"]
    assert rows[5] == ["when", "(an", "expression)"]


@pytest.fixture
def explained(shop: Workshop) -> Workshop:
    """A settled project whose two notebooks use a helper two imports deep."""
    shop.write("lib/tools/__init__.py", "")
    shop.write("lib/tools/near.py", "from tools.far import deep\n\ndef near():\n    return deep()\n")
    shop.write(
        "lib/tools/far.py", "STEP = 1\nOTHER = 1\n\ndef deep():\n    return STEP\n\ndef alone():\n    return OTHER\n"
    )
    shop.notebook("one.ipynb", "seed: int = 1\nout: str = 'o'", "from tools.near import near", "near()", text("# Why"))
    shop.notebook("two.ipynb", "made: str = ''", "from tools.far import alone\nalone()")
    shop.pipeline(
        """
        one: {notebook: one.ipynb, params: {seed: 1}, outputs: {out: o.txt}}
        two: {notebook: two.ipynb, inputs: {made: one.out}}
        """
    )
    shop.settle()
    assert set(shop.states().values()) == {"cached"}
    return shop


def explain(shop: Workshop, *arguments: str) -> dict[str, Any]:
    """Return the tasks of `plan --json` by id."""
    done = shop.caderno("plan", "--json", *arguments)
    assert done.code == 0, done.out
    return {task["task"]: task for task in json.loads(done.out)["tasks"]}


def test_a_comment_two_imports_deep_runs_nothing(explained: Workshop) -> None:
    path = explained.root / "lib/tools/far.py"
    path.write_text(f"# why\n{path.read_text()}")
    assert {task["state"] for task in explain(explained).values()} == {"cached"}


def test_a_constant_two_imports_deep_runs_what_uses_it_and_is_named_with_the_way_to_it(explained: Workshop) -> None:
    path = explained.root / "lib/tools/far.py"
    path.write_text(path.read_text().replace("STEP = 1", "STEP = 2"))
    found = explain(explained)
    assert found["one"]["why"] == "tools.far:STEP changed"
    reason = found["one"]["reasons"][0]
    assert (reason["kind"], reason["name"]) == ("code", "tools.far:STEP")
    way = "cell 3 → tools.near:near → tools.near:deep → tools.far:deep → tools.far:STEP"
    assert reason["detail"] == [f"reached by {way}"]
    assert found["one"]["compared"] == explained.record("one").fingerprint
    assert found["two"]["state"] == "wait"
    done = explained.caderno("plan", "--why")
    assert way in done
    assert f"compared with the result {found['one']['compared'][:16]}" in done


def test_an_unrelated_function_runs_only_what_uses_it(explained: Workshop) -> None:
    path = explained.root / "lib/tools/far.py"
    path.write_text(path.read_text().replace("return OTHER", "return -OTHER"))
    found = explain(explained)
    assert found["one"]["state"] == "cached"
    assert found["two"]["why"] == "tools.far:alone changed"


def test_a_changed_cell_comes_with_its_difference_and_a_markdown_cell_with_none(explained: Workshop) -> None:
    before = (explained.root / "notebooks/one.ipynb").read_text()
    cells = ("from tools.near import near", "near() + 1")
    explained.notebook("one.ipynb", "seed: int = 1\nout: str = 'o'", *cells, text("# Because"))
    (explained.result("one") / "notebook.ipynb").write_text(before)
    reasons = explain(explained)["one"]["reasons"]
    assert [reason["text"] for reason in reasons] == ["code cell 3 changed"]
    assert reasons[0]["detail"] == ["- near()", "+ near() + 1"]
    explained.notebook(
        "one.ipynb", "seed: int = 1\nout: str = 'o'", "from tools.near import near", "near()", text("# Because")
    )
    assert explain(explained)["one"]["state"] == "cached"


def test_a_changed_parameter_a_damaged_output_and_a_forced_run_are_told(explained: Workshop) -> None:
    assert explain(explained, "-p", "one.seed=2")["one"]["why"] == "parameter seed 1 → 2"
    assert explain(explained, "--force", "two")["two"]["why"] == "forced"
    (explained.result("one") / "o.txt").write_text("damaged")
    assert explain(explained)["one"]["why"] == "output out is damaged"
    (explained.result("one") / "o.txt").unlink()
    assert explain(explained)["one"]["why"] == "output out is missing"
