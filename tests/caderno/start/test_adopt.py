"""Notebooks that were never made for a pipeline, adopted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from workshop import Workshop

from caderno.errors import CadernoError
from caderno.start.adopt import Adopted, Options, adopt

EXPLORE = ("import pandas as pd\n%matplotlib inline", "df = pd.read_csv('sales.csv')\ndf.groupby('shop').sum()")
TUTORIAL = (
    "%matplotlib inline\nfrom sklearn.linear_model import LinearRegression",
    "csv_file = 'sales.csv'\nclean_file = 'clean.csv'",
    "import pandas as pd\nframe = pd.read_csv(csv_file).dropna()\nframe.to_csv(clean_file, index=False)",
)
READER = ("import pandas as pd", "clean = pd.read_csv(source)\nprint(len(clean), 'rows')")


@pytest.fixture
def course(shop: Workshop) -> Workshop:
    """Three notebooks and a table, and no pipeline."""
    shop.write("notebooks/sales.csv", "shop,sales\na,1\nb,\nb,3\n")
    shop.notebook("1 Explore.ipynb", None, *EXPLORE)
    shop.notebook("tutorial.ipynb", None, *TUTORIAL)
    shop.notebook("reader.ipynb", "source = 'clean.csv'", *READER)
    return shop


def adopted(shop: Workshop, *names: str, **options: bool) -> Adopted:
    files = [shop.root / "notebooks" / name for name in names] or sorted((shop.root / "notebooks").glob("*.ipynb"))
    return adopt(shop.root, files, Options("tiny", **options))


def test_inputs_outputs_and_edges_are_guessed_and_marked(course: Workshop) -> None:
    done = adopted(course, tag=True)
    tasks = course.load().tasks
    assert set(tasks) == {"task_1_explore", "tutorial", "reader"}
    assert tasks["tutorial"].inputs["csv_file"].text == "file:notebooks/sales.csv"
    assert tasks["tutorial"].outputs == {"clean_file": "clean.csv"}
    assert tasks["reader"].upstream == ("tutorial",)
    assert done.text.startswith("# yaml-language-server: $schema=pipeline.schema.json\n")
    assert json.loads((course.root / "params/pipeline.schema.json").read_text())["properties"]["tasks"]
    assert done.text.count("# a guess") == 3
    assert "# cell 2 reads sales.csv: no parameter" in done.text


def test_no_notebook_changes_without_leave(course: Workshop) -> None:
    before = {path: path.read_bytes() for path in course.root.rglob("*.ipynb")}
    done = adopted(course)
    assert {path: path.read_bytes() for path in course.root.rglob("*.ipynb")} == before
    assert any("tutorial.ipynb has no cell tagged `parameters`; cell 2 could be it: use --tag" in n for n in done.notes)


def test_a_dry_run_writes_nothing(course: Workshop) -> None:
    before = {path: path.read_bytes() for path in course.root.rglob("*") if path.is_file()}
    assert "csv_file" in adopted(course, tag=True, dry_run=True).text
    assert {path: path.read_bytes() for path in course.root.rglob("*") if path.is_file()} == before


def test_what_stands_in_the_pipeline_stays_and_nothing_is_doubled(course: Workshop) -> None:
    tasks = "    # about the reader\n    reader: {notebook: reader.ipynb} # mine\n"
    head, tail = f"name: tiny # the name\ntasks: # all\n{tasks}", "# the end\nparams: {}\n"
    course.write("params/tiny.yaml", (head + tail).encode())
    done = adopted(course, "reader.ipynb", "tutorial.ipynb", tag=True)
    text = (course.root / "params/tiny.yaml").read_text()
    assert text.startswith(head)
    assert text.endswith(tail)
    assert set(course.load().tasks) == {"reader", "tutorial"}
    assert "reader.ipynb is the task reader already: left as it is" in done.notes
    adopted(course, "reader.ipynb", "tutorial.ipynb")
    assert (course.root / "params/tiny.yaml").read_text() == text


def test_two_notebooks_of_one_name_become_two_tasks(shop: Workshop) -> None:
    for name in ("a/load.ipynb", "b/load.ipynb"):
        shop.notebook(name, None, "x = 1")
    adopted(shop, "a/load.ipynb", "b/load.ipynb")
    assert set(shop.load().tasks) == {"load", "load_2"}


def test_a_notebook_from_elsewhere_is_copied_only_on_request(course: Workshop, tmp_path: Path) -> None:
    outside = tmp_path / "outside.ipynb"
    (course.root / "notebooks/reader.ipynb").rename(outside)
    with pytest.raises(CadernoError, match=r"not under notebooks/(.|\n)*--copy outside\.ipynb"):
        adopt(course.root, [outside], Options("tiny"))
    adopt(course.root, [outside], Options("tiny", copy=True))
    assert (course.root / "notebooks/outside.ipynb").read_bytes() == outside.read_bytes()


def test_tasks_in_one_line_are_left_to_the_user(course: Workshop) -> None:
    course.write("params/tiny.yaml", "name: tiny\ntasks: {reader: {notebook: reader.ipynb}}\n")
    with pytest.raises(CadernoError, match=r"no line `tasks:`(.|\n)*notebook: tutorial.ipynb"):
        adopted(course, "tutorial.ipynb")


@pytest.mark.kernel
def test_what_was_adopted_runs(course: Workshop) -> None:
    names = sorted(f"notebooks/{path.name}" for path in (course.root / "notebooks").glob("*.ipynb"))
    done = course.caderno("adopt", *names, "--tag", "--pipeline", "tiny")
    assert done.code == 0, done.out
    assert "next: look at what is marked as a guess" in done
    done = course.caderno("run")
    assert done.code == 0, done.out
    assert (course.result("tutorial") / "clean.csv").read_text() == "shop,sales\na,1.0\nb,3.0\n"
    assert "2 rows" in (course.result("reader") / "notebook.ipynb").read_text()


def test_a_copy_is_tagged_and_what_was_copied_stays_as_it_is(shop: Workshop, tmp_path: Path) -> None:
    original = shop.notebook("week.ipynb", None, "size = 0.3", "name = 'houses.csv'\nread(join('data', name))")
    source = tmp_path / "downloads" / "week.ipynb"
    source.parent.mkdir()
    original.rename(source)
    before = source.read_bytes()
    adopted = adopt(shop.root, [source], Options(copy=True, tag=True))
    assert source.read_bytes() == before
    copied = json.loads((shop.root / "notebooks/week.ipynb").read_text())
    assert copied["cells"][0]["metadata"]["tags"] == ["parameters"]
    assert "# cell 2 names houses.csv: no parameter" in adopted.text
    assert any("its relative paths lead elsewhere now" in note for note in adopted.notes)
    assert any(note.startswith("notebooks/week.ipynb: cell 1 is now tagged") for note in adopted.notes)
