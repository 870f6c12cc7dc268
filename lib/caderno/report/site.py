"""The folder that people open: all runs, a page for each of them, and one for each result of a task.

    index.html                            all runs, the newest first
    <pipeline>/models.html                versions of its model, who decided what
    <pipeline>/decisions/<name>.html      a decision of the gate, and its figures as JSON
    <pipeline>/runs/<run>.html            a run
    <pipeline>/<task>.html                a task's newest result
    <pipeline>/<task>.<fingerprint>.html  any result, as good as for ever
    <pipeline>/diff/<task>.<a>..<b>.html  what changed between two results

Everything in it is relative, so that it can be zipped and mailed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from caderno.plan.records import REUSED, RunRecord, TaskRecord
from caderno.plan.store import NOTEBOOK, PAGE, RUNS, Store, read_record
from caderno.project import Project
from caderno.report.dag import tally
from caderno.report.diff import Diff, diff_of
from caderno.report.disk import link, write
from caderno.report.frame import render, stamp, stamp_in
from caderno.report.run_page import Row, conclusions, run_page, run_stamp
from caderno.report.safe import trusted
from caderno.report.text import diff_name, file_name, page_name, result_name, run_name

EARLIER = 12  # results that a page names
MARKS = "marks.json"  # in data/<pipeline>/.decisions/: run -> what became of its model, and where that was decided
_LONGEST = 280  # characters of a conclusion
# What stands between two such comments was escaped: nothing that a notebook printed can look like one.
_ENTRY = re.compile(r"<!-- entry (\S+) (\S+) (\S+) -->(.*?)<!-- /entry -->", re.DOTALL)
_Found = tuple[TaskRecord, Path]  # a result, and where it stands


@dataclass(frozen=True)
class Entry:
    """A run's line in the index; `series` names those that it can be compared with: of one pipeline and profile."""

    run: str
    state: str
    series: str
    html: Markup


def write_site(project: Project, run: RunRecord) -> Path:
    """Write the page of a run, those of its tasks, and the index of all runs; return the index.

    Pages of results are hard links to those in the store where the file system can.
    """
    rows = _rows(project, run, read_record)
    for row in rows.values():
        source = project.root / (row.task.folder or "") / PAGE
        if row.page and source.is_file() and (row.record or not row.page.exists()):
            link(source, row.page)
        if row.page and row.page.exists():
            link(row.page, row.page.with_name(page_name(row.task.task)))
    write(run_file(project, run), run_page(run, rows))
    return _write_index(project, run, rows)


def write_diff(project: Project, diff: Diff) -> Path:
    """Write and return the page of what changed between two results of a task."""
    old, new = diff.old.record, diff.new.record
    page = _folder(project, new.pipeline) / "diff" / diff_name(old, new)
    write(page, _diff_page(diff))
    return page


def rebuild(project: Project, told: Callable[[Path], None] = lambda _: None) -> int:
    """Write all pages from the store that are missing, or that another version of this code wrote; return how many.

    `told` is called with each that is written. Pages of results and runs that are gone stay as they are.
    """
    count = 0

    def put(path: Path, page: str) -> None:
        nonlocal count
        write(path, page)
        told(path)
        count += 1

    last: tuple[RunRecord, Mapping[str, Row]] | None = None
    for pipeline in _pipelines(project):
        store, folder = Store(project, pipeline), _folder(project, pipeline)
        records: dict[Path, TaskRecord] = {}
        newest: dict[str, Path] = {}
        for place, record, earlier in _results(store):
            records[place] = record
            target = newest[record.task] = task_file(project, record)
            wanted = stamp(record)
            if stamp_in(place / PAGE) == wanted:
                link(place / PAGE, target)
            elif stamp_in(target) != wanted:
                put(target, _task_page(record, place, earlier))
        for run in sorted(store.runs(), key=lambda run: run.started):
            rows = _rows(project, run, records.get)
            newest |= {row.task.task: row.page for row in rows.values() if row.page and row.page.exists()}
            path, gone = run_file(project, run), any(row.is_gone for row in rows.values())
            if stamp_in(path) != run_stamp(run, rows) and not (gone and path.exists()):
                put(path, run_page(run, rows))
            if last is None or run.started >= last[0].started:
                last = run, rows
        for task, page in newest.items():
            link(page, folder / page_name(task))
        for page, old, new in _diffs(folder, records):
            if stamp_in(page) != stamp(old[0], new[0]):
                put(page, _diff_page(diff_of(old, new)))
    if last:
        _write_index(project, *last, anew=True)
    return count


def _task_page(record: TaskRecord, place: Path, earlier: list[_Found]) -> str:
    from caderno.report import render_task

    try:
        notebook: Mapping[str, Any] = json.loads((place / NOTEBOOK).read_bytes())
    except (OSError, ValueError):  # gone, or damaged
        notebook = {"cells": []}
    return render_task(record, notebook, earlier)


def _diff_page(diff: Diff) -> str:
    from caderno.report.page import diff_page

    return diff_page(diff)


def _folder(project: Project, pipeline: str) -> Path:
    return project.reports / file_name(pipeline)


def task_file(project: Project, record: TaskRecord) -> Path:
    """Return where the page of a result stands, or will."""
    return _folder(project, record.pipeline) / result_name(record.task, record.fingerprint, record.state)


def run_file(project: Project, run: RunRecord) -> Path:
    """Return where the page of a run stands, or will."""
    return _folder(project, run.pipeline) / "runs" / run_name(run.run)


def _pipelines(project: Project) -> list[str]:
    """Return the pipelines that were ever run here: those of today, and those that left records of runs."""
    return sorted({*project.pipelines(), *(folder.parent.name for folder in project.data.glob(f"*/{RUNS}"))})


def _results(store: Store) -> Iterator[tuple[Path, TaskRecord, list[_Found]]]:
    """Yield all results, each with those of the same task before it, the newest first; each task's oldest first."""
    homes: dict[Path, list[_Found]] = {}
    for place, record in store.every():
        homes.setdefault(place.parent, []).append((record, place))
    for found in homes.values():
        found.sort(key=lambda one: one[0].started)
        for i, (record, place) in enumerate(found):
            yield place, record, found[max(0, i - EARLIER) : i][::-1]


def _diffs(folder: Path, records: Mapping[Path, TaskRecord]) -> Iterator[tuple[Path, _Found, _Found]]:
    """Yield the diff pages that there are, each with the two results that it compares, if the store still has them."""
    by_name = {result_name(one.task, one.fingerprint, one.state): (one, place) for place, one in records.items()}
    for page in folder.glob("diff/*.html"):
        first, _, end = page.stem.partition("..")
        task = first.removesuffix(".failed").rpartition(".")[0]
        old, new = by_name.get(f"{first}.html"), by_name.get(f"{task}.{end}.html")
        if old and new:
            yield page, old, new


def _rows(project: Project, run: RunRecord, read: Callable[[Path], TaskRecord | None]) -> dict[str, Row]:
    """Return the tasks of a run; a result's place may be another's by now, as failed attempts share one."""
    rows = {}
    for task in run.tasks:
        record = read(project.root / task.folder) if task.folder else None
        if record and (record.fingerprint, record.run) != (task.fingerprint, run.run) and task.state not in REUSED:
            record = None
        page = None
        if task.folder and task.fingerprint:
            page = _folder(project, run.pipeline) / result_name(task.task, task.fingerprint, task.state)
        rows[task.task] = Row(task, record, page)
    return rows


def _write_index(project: Project, run: RunRecord, rows: Mapping[str, Row], anew: bool = False) -> Path:
    """Write the index, in which `run` is the newest; lines of other runs are taken over from the old index."""
    index = project.reports / "index.html"
    known = {} if anew else _entries(index)
    known[run.run] = _entry(run, rows)
    entries = []
    for pipeline in _pipelines(project):
        store = Store(project, pipeline)
        for name in store.run_names():
            if name not in known and (one := store.read_run(name)):
                known[name] = _entry(one, _rows(project, one, read_record))
            if name in known:
                entries.append(known[name])
    if run.run not in {entry.run for entry in entries}:
        entries.append(known[run.run])
    entries.sort(key=lambda entry: entry.run, reverse=True)
    latest = {entry.series: entry.run for entry in reversed(entries) if entry.state == "succeeded"}
    page = render(
        "index.html.j2",
        project=project.root.name,
        run=run,
        conclusion=_conclusion(run, rows),
        entries=entries,
        latest=set(latest.values()),
        marks={run: mark for pipeline in _pipelines(project) for run, mark in _marks(project, pipeline).items()},
        models=sorted(page.parent.name for page in project.reports.glob("*/models.html")),
    )
    write(index, page)
    return index


def renew_index(project: Project) -> None:
    """Write the index once more, if there is one: what runs led to may have changed."""
    index = project.reports / "index.html"
    runs = [run for pipeline in _pipelines(project) if (run := Store(project, pipeline).last_run())]
    if runs and index.exists():
        last = max(runs, key=lambda run: run.started)
        _write_index(project, last, _rows(project, last, read_record))


def _marks(project: Project, pipeline: str) -> dict[str, dict[str, str]]:
    """Return what became of the models that runs made, with the page on which that was decided."""
    try:
        known = json.loads((project.data / pipeline / ".decisions" / MARKS).read_bytes())
    except (OSError, ValueError):
        return {}
    folder = file_name(pipeline)
    return {run: {**one, "href": f"{folder}/decisions/{file_name(one['decision'])}.html"} for run, one in known.items()}


def _entry(run: RunRecord, rows: Mapping[str, Row]) -> Entry:
    row = _conclusion(run, rows)
    html = render(
        "entry.html.j2",
        run=run,
        counts=tally(run.tasks),
        row=row,
        said=_first_words(row.summary) if row else "",
    )
    return Entry(run.run, run.state, file_name(f"{run.pipeline}.{run.profile or ''}"), trusted(html))


def _conclusion(run: RunRecord, rows: Mapping[str, Row]) -> Row | None:
    return next((row for row in conclusions(run, rows) if row.summary), None)


def _first_words(summary: Markup) -> str:
    """Return the first paragraph of a summary as text."""
    found = re.search(r"<p>(.*?)</p>", summary, re.DOTALL)
    text = str(trusted(found[1] if found else summary).striptags())
    return text if len(text) <= _LONGEST else text[:_LONGEST].rsplit(" ", 1)[0] + " …"


def _entries(index: Path) -> dict[str, Entry]:
    """Return the lines of an index by their runs; none where another version of this code wrote it."""
    if stamp_in(index) != stamp():
        return {}
    text = index.read_text(encoding="utf-8", errors="replace")
    return {one[1]: Entry(one[1], one[2], one[3], trusted(one[4])) for one in _ENTRY.finditer(text)}
