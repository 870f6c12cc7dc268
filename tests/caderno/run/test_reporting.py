"""`caderno diff` and `caderno report` on results of real kernels."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from bs4 import BeautifulSoup
from workshop import Workshop

CHROMIUM = shutil.which("chromium")
COUNT = """
import mlflow
with open(table, "w") as file:
    file.write("a,b\\n" + "1,2\\n" * rows)
with mlflow.start_run():
    mlflow.log_metrics({"rows": rows, "share": rows / 7, "share_low": rows / 7 - .1, "share_high": rows / 7 + .1})
"""


@pytest.fixture(scope="module")
def told(new_shop: Callable[[], Workshop]) -> Workshop:
    """A table and its reader, run three times: with other parameters, an edited cell and helper, and a failure."""
    shop = new_shop()
    shop.write("lib/tools/__init__.py", "")
    shop.write("lib/tools/words.py", "def name():\n    return 'first'\n")
    shop.notebook("make.ipynb", 'rows: int = 3  # lines\ntable: str = "../data/scratch/t.csv"', COUNT)
    shop.notebook("use.ipynb", 'table: str = ""', "from tools.words import name\nprint(name())", "x = 1")
    shop.pipeline("""
        make: {notebook: make.ipynb, outputs: {table: t.csv}}
        use: {notebook: use.ipynb, inputs: {table: make.table}}
    """)
    assert shop.caderno("run").code == 0
    shop.write("lib/tools/words.py", "def name():\n    return 'second'\n")
    shop.notebook("use.ipynb", 'table: str = ""', "from tools.words import name\nprint(name())", "x = 2")
    assert shop.caderno("run", "-p", "make.rows=1200").code == 0
    shop.notebook("use.ipynb", 'table: str = ""', "from tools.words import name\nprint(name())", "x = 1 / 0")
    assert shop.caderno("run", "-p", "make.rows=1200").code == 1
    return shop


pytestmark = pytest.mark.kernel


def test_the_terminal_tells_what_changed_and_where_the_page_is(told: Workshop) -> None:
    done = told.caderno("diff", "make")
    assert done.code == 0
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "parameter rows 3 → 1200" in lines
    assert "metric share 0.4 → 171.4 ▲ 171.0 beyond noise" in lines
    assert any(
        line.startswith("output table 3 rows, 16 B → 1,200 rows") and line.endswith("+1,197 rows") for line in lines
    )
    page = told.root / lines[-1].removeprefix("page: ")
    assert "What changed in make" in page.read_text(encoding="utf-8")


def test_without_words_the_newest_is_compared_with_the_last_success(told: Workshop) -> None:
    out = told.caderno("diff", "use").out
    assert "failed" in out.splitlines()[1]
    assert "code cell 3 changed" in out
    assert "+ x = 1 / 0" in out
    assert "helper" not in out


def test_two_results_are_named_by_the_first_letters_of_fingerprint_or_run(told: Workshop) -> None:
    store = told.planner().store
    newest, second, first = (record for record, _ in store.all_of("use"))
    out = told.caderno("diff", "use", first.fingerprint[:8], second.run).out
    assert f"before {first.fingerprint[:8]}" in " ".join(out.split())
    assert "tools.words:name" in out
    assert "+ x = 2" in out
    assert newest.state == "failed"


def test_what_names_no_result_or_several_is_told_with_those_that_there_are(told: Workshop) -> None:
    done = told.caderno("diff", "use", "nothing")
    assert done.code == 2
    assert "use has no result 'nothing'" in done.out
    assert done.out.count("  run 20") == 3
    several = told.caderno("diff", "use", "20")
    assert several.code == 2
    assert "'20' names 3 results of use" in several.out
    assert told.caderno("diff", "usee").code == 2


def test_a_first_result_has_nothing_to_be_compared_with(shop: Workshop) -> None:
    shop.notebook("one.ipynb", "x: int = 1", "x")
    shop.pipeline("one: {notebook: one.ipynb}")
    assert "one has not been run yet" in shop.caderno("diff", "one").out
    shop.caderno("run")
    done = shop.caderno("diff", "one")
    assert done.code == 2
    assert "nothing to compare" in done.out


def test_the_page_of_a_result_tells_what_changed(told: Workshop) -> None:
    page = BeautifulSoup((told.root / "reports/tiny/use.html").read_text(encoding="utf-8"), "html.parser")
    changed = page.find(id="changed").get_text(" ", strip=True)
    assert "x = 1 / 0" in changed
    assert "Since the result of" in changed
    rows = {tr.th.get_text(): tr.get_text(" ", strip=True) for tr in page.select("#made table tbody tr")}
    assert "1,200 rows, 2 columns" in rows["table"]


def test_the_index_has_all_runs_and_reports_come_back(told: Workshop) -> None:
    shutil.rmtree(told.root / "reports")
    done = told.caderno("report")
    assert done.code == 0
    assert done.out.endswith("pages written: reports/index.html\n")
    assert told.caderno("report").out == "no pages written: reports/index.html\n"
    index = BeautifulSoup((told.root / "reports/index.html").read_text(encoding="utf-8"), "html.parser")
    rows = index.select(".runs tbody tr")
    assert len(rows) == 3
    for row in rows:
        assert (told.root / "reports" / row.th.a["href"]).is_file()


def test_a_task_for_paper_only_goes_with_pdf(told: Workshop) -> None:
    done = told.caderno("report", "make")
    assert done.code == 2
    assert "--pdf" in done.out


def test_without_a_chromium_pdf_says_what_to_do(told: Workshop) -> None:
    done = told.caderno("report", "--pdf", env={"CADERNO_CHROMIUM": "no-such-browser"})
    assert done.code == 2
    assert "no-such-browser" in done.out


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the path; Debian: apt install chromium")
def test_pages_are_printed_with_all_code_or_none(told: Workshop) -> None:
    import pypdfium2

    def printed(path: str) -> str:
        with pypdfium2.PdfDocument(told.root / path) as document:
            return "".join(page.get_textpage().get_text_bounded() for page in document)

    done = told.caderno("report", "--pdf")
    assert done.code == 0, done.out
    run = done.out.splitlines()[-1]
    assert run.startswith("reports/tiny/runs/")
    assert "All tasks" in printed(run)
    for code, shown in (([], False), (["--code"], True)):
        path = told.caderno("report", "--pdf", "make", *code).out.splitlines()[-1]
        text = printed(path)
        assert "What made this" in text
        assert ("file.write" in text) is shown
