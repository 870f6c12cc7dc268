"""All runs in one place, and all pages anew from the store."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from bs4 import BeautifulSoup

from caderno.plan.store import Store
from caderno.project import Project
from caderno.report import diff_of, rebuild, write_diff, write_site

if TYPE_CHECKING:
    Site = Any


@pytest.fixture
def ran(site: Site, samples: ModuleType) -> Site:
    """Three runs of two tasks, a day apart: the first of profile smoke, the last failed."""
    for day, (state, profile) in enumerate([("succeeded", "smoke"), ("succeeded", None), ("failed", None)]):
        started = samples.STARTED + timedelta(days=day)
        site.tasks.clear()
        shared = {"started": started, "run": f"201311{9 + day:02d}-073000-aaaa", "profile": profile}
        site.add("dataset", fingerprint=f"{day}d" * 32, **shared)
        site.add("compare", state, ["dataset"], fingerprint=f"{day}c" * 32, **shared)
        run = site.run(run=shared["run"], profile=profile, started=started, day=started.date())
        Store(Project(site.root), "flights").save_run(run)
        write_site(Project(site.root), run)
    return site


def index(site: Site) -> BeautifulSoup:
    return BeautifulSoup((site.root / "reports/index.html").read_text(encoding="utf-8"), "html.parser")


def times(site: Site) -> dict[str, int]:
    return {path.relative_to(site.root).as_posix(): path.stat().st_mtime_ns for path in pages(site)}


def pages(site: Site) -> list[Path]:
    return sorted((site.root / "reports").rglob("*.html"))


def test_all_runs_stand_in_the_index_the_newest_first(ran: Site) -> None:
    rows = index(ran).select(".runs tbody tr")
    assert [row.th.a["href"] for row in rows] == [
        f"flights/runs/{run}.html" for run in ("20131111-073000-aaaa", "20131110-073000-aaaa", "20131109-073000-aaaa")
    ]
    assert [row.select_one(".state").get_text(" ", strip=True) for row in rows] == [
        "✕ failed",
        "✓ succeeded",
        "✓ succeeded",
    ]
    assert "2013-11-09, profile smoke" in rows[2].get_text()
    assert "Gradient boosting ranks first" in rows[1].select_one(".said").get_text()
    assert "compare failed." in rows[0].select_one(".said").get_text()


def test_the_latest_is_marked_for_each_profile(ran: Site) -> None:
    assert [row.select_one(".mark") is not None for row in index(ran).select(".runs tbody tr")] == [False, True, True]


def test_the_newest_run_speaks_first(ran: Site) -> None:
    newest = index(ran).find(id="newest")
    assert newest.a["href"] == "flights/runs/20131111-073000-aaaa.html"
    assert "failed" in newest.select_one(".counts").get_text()


def test_a_row_is_found_by_its_tasks_and_its_commit_too(ran: Site, samples: ModuleType) -> None:
    hidden = index(ran).select_one(".runs tbody tr span[hidden]").get_text()
    for word in ("dataset", "compare", samples.COMMIT, "20131111-073000-aaaa", "caderno run"):
        assert word in hidden


def test_lines_of_other_runs_are_taken_over_and_only_what_is_missing_is_read(ran: Site, samples: ModuleType) -> None:
    path = ran.root / "reports/index.html"
    path.write_text(path.read_text().replace("Gradient boosting", "Taken over"))
    (ran.root / "data/flights/.runs/20131109-073000-aaaa.json").unlink()
    run = ran.run(run="20131112-073000-aaaa", started=samples.STARTED + timedelta(days=4))
    Store(Project(ran.root), "flights").save_run(run)
    write_site(Project(ran.root), run)
    said = [row.get_text() for row in index(ran).select(".runs tbody tr")]
    assert len(said) == 3
    assert "Taken over" in said[2]


def test_what_an_index_by_another_version_says_is_not_taken_over(ran: Site) -> None:
    path = ran.root / "reports/index.html"
    path.write_text(path.read_text().replace('content="Caderno ', 'content="Caderno 0').replace("Gradient", "Stale"))
    write_site(Project(ran.root), ran.run(run="20131111-073000-aaaa"))
    assert "Stale" not in str(index(ran))


def test_summaries_cannot_end_their_line(site: Site, samples: ModuleType) -> None:
    attack = "x <!-- /entry --> <!-- entry a b c --><b>y</b>"
    cell = samples.code("1", samples.shown({"text/markdown": attack}), tags=["summary"])
    site.add("a", notebook=samples.notebook(cell))
    for _ in range(2):
        site.write()
    assert len(index(site).select(".runs tbody tr")) == 1
    assert not index(site).select(".runs b:not(.key b)")


# Rebuilding.


def test_nothing_is_written_where_nothing_changed(ran: Site) -> None:
    project = Project(ran.root)
    rebuild(project)
    before = times(ran)
    assert rebuild(project) == 0
    after = times(ran)
    assert {name for name in after if after[name] != before[name]} <= {"reports/index.html"}


def test_all_pages_come_back_from_the_store(ran: Site) -> None:
    project = Project(ran.root)
    rebuild(project)
    names, said = [path.relative_to(ran.root) for path in pages(ran)], str(index(ran))
    shutil.rmtree(ran.root / "reports")
    rebuild(project)
    assert [path.relative_to(ran.root) for path in pages(ran)] == names
    assert str(index(ran)) == said


def test_only_what_another_version_wrote_is_written_anew(ran: Site) -> None:
    project = Project(ran.root)
    rebuild(project)
    page = ran.root / "reports/flights" / f"compare.{'1c' * 8}.html"
    text = page.read_text(encoding="utf-8")
    result = ran.root / "data/flights/compare" / ("1c" * 8) / "report.html"
    result.write_text(text.replace('content="Caderno ', 'content="Caderno 0'))  # the page in the site is the same file
    before = times(ran)
    written: list[Path] = []
    assert rebuild(project, written.append) == 1
    assert written == [page]
    assert 'id="changed"' in page.read_text(encoding="utf-8")  # the sample's own page was made without earlier ones
    assert 'id="changed"' not in result.read_text(encoding="utf-8")  # results are as they were made
    changed = {name for name, when in times(ran).items() if before[name] != when}
    assert changed <= {"reports/index.html", page.relative_to(ran.root).as_posix()}


def test_pages_of_what_is_gone_stay(ran: Site) -> None:
    project = Project(ran.root)
    rebuild(project)
    shutil.rmtree(ran.root / "data/flights/compare")
    before = times(ran)
    rebuild(project)
    gone = {name: when for name, when in before.items() if "compare" in name or "/runs/" in name}
    assert gone.items() <= times(ran).items()


def test_a_rebuilt_page_tells_what_changed_since_the_result_before(ran: Site) -> None:
    rebuild(Project(ran.root))
    folder = ran.root / "reports/flights"
    for page in folder.glob("*.html"):
        page.unlink()
    for result in (ran.root / "data").rglob("report.html"):
        result.unlink()
    rebuild(Project(ran.root))
    last = BeautifulSoup((folder / f"dataset.{'2d' * 8}.html").read_text(), "html.parser")
    assert last.select_one("#changed > p a")["href"] == f"dataset.{'1d' * 8}.html"  # of the same profile
    assert (folder / "dataset.html").samefile(folder / f"dataset.{'2d' * 8}.html")


def test_a_damaged_notebook_costs_only_its_own_page(ran: Site) -> None:
    for broken in (ran.root / "data").rglob("notebook.ipynb"):
        broken.write_text("{")
    shutil.rmtree(ran.root / "reports")
    for result in (ran.root / "data").rglob("report.html"):
        result.unlink()
    assert rebuild(Project(ran.root)) == 9


def test_diff_pages_are_kept_up_to_date(ran: Site) -> None:
    project = Project(ran.root)
    home = ran.root / "data/flights/dataset"
    new, old = Store.before(home, None, 2)
    page = write_diff(project, diff_of(old, new))
    page.write_text("stale")
    rebuild(project)
    assert 'id="causes"' in page.read_text(encoding="utf-8")


def test_a_folder_that_was_never_run_has_nothing_to_rebuild(tmp_path: Path) -> None:
    assert rebuild(Project(tmp_path)) == 0
    assert not (tmp_path / "reports").exists()


def test_a_page_of_a_task_of_a_later_run_does_not_replace_that_of_an_earlier_one(ran: Site) -> None:
    assert len(list((ran.root / "reports/flights").glob("compare.*.html"))) == 3
