"""Executed notebooks and records, built by hand: what a page is made from, without a kernel."""

from __future__ import annotations

import base64
import json
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from caderno.plan.records import (
    Cell,
    Code,
    Failure,
    Git,
    Input,
    Output,
    RunRecord,
    RunTask,
    RunTaskState,
    TaskRecord,
    TrackingRun,
)
from caderno.plan.store import Store
from caderno.project import Project
from caderno.report import render_task, write_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

STARTED = datetime(2013, 11, 9, 7, 30, 12, tzinfo=UTC)
SHA = "3f9a" * 16
FINGERPRINT = "c0ffee" + SHA[6:]
COMMIT = "1a2b3c4d" * 5
TRACEBACK = (
    "\x1b[31m---------------------------------------------------------------------------\x1b[39m\n"
    "\x1b[31mValueError\x1b[39m                                Traceback (most recent call last)\n"
    "\x1b[36mCell\x1b[39m\x1b[36m \x1b[39m\x1b[32mIn[3]\x1b[39m\x1b[32m, line 2\x1b[39m\n"
    "\x1b[32m      1\x1b[39m weather = pd.read_parquet(path)\n"
    "\x1b[32m----> \x1b[39m\x1b[32m2\x1b[39m hourly = weather.pivot(\x1b[33m'observed'\x1b[39m)\n"
    "\n"
    "\x1b[31mValueError\x1b[39m: Index contains <duplicate> entries, cannot reshape"
)
FRAME = """<div>
<style scoped>.dataframe tbody tr th { vertical-align: top; }</style>
<table border="1" class="dataframe">
  <thead>
    <tr style="text-align: right;"><th></th><th></th><th colspan="2" halign="left">late</th></tr>
    <tr style="text-align: right;"><th>origin</th><th>carrier</th><th>flights</th><th>share</th></tr>
  </thead>
  <tbody>
    <tr><th rowspan="2" valign="top">EWR</th><th>UA</th><td>46087</td><td>0.2513</td></tr>
    <tr><th>EV</th><td>43939</td><td>0.3161</td></tr>
    <tr><th>JFK</th><th>B6</th><td>42076</td><td>0.2320</td></tr>
  </tbody>
</table>
<p>3 rows × 2 columns</p>
</div>"""
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 40" width="120" height="40">'
    '<script>document.title = "pwned"</script><path d="M4 36 L40 20 L80 26 L116 4" fill="none" stroke="#12566b"/></svg>'
)


def png(width: int = 8, height: int = 4) -> str:
    """Return a small valid picture as base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x12\x56\x6b" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(data).decode()


def shown(data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> NotebookNode:
    """Return the output of `display`."""
    return new_output("display_data", data=dict(data), metadata=dict(metadata or {}))


def printed(text: str, name: str = "stdout") -> NotebookNode:
    """Return the output of `print`."""
    return new_output("stream", name=name, text=text)


def code(
    source: str, *outputs: NotebookNode, n: int | None = 1, tags: Sequence[str] = (), name: str = ""
) -> NotebookNode:
    """Return an executed code cell; with `n` None it never ran. `name` becomes its id."""
    cell = new_code_cell(source, outputs=list(outputs), execution_count=n, metadata={"tags": list(tags)})
    if name:
        cell["id"] = name
    return cell


def notebook(*cells: NotebookNode) -> NotebookNode:
    """Return a Python notebook."""
    info = {"name": "python", "pygments_lexer": "ipython3"}
    return new_notebook(cells=list(cells), metadata={"language_info": info})


OPENING = """# Which model tells best which flights will leave late?

Two hours before the scheduled hour, how probable is it that a flight leaves 15 or more minutes late?

**In:** the untouched months October to December and four candidates. **Out:** a ranking, with its uncertainty."""

READING = """EWR's regional flights leave late most often: 31.6 % of them.

| month | late |
| --- | ---: |
| October | 15.9 % |
| December | 30.1 % |

### How sure is that?

Flights of one day share their weather, so days are drawn, not flights: $\\hat{p}_b = \\frac{1}{n}\\sum_i y_i$."""

CONCLUSION = """**Gradient boosting ranks first: ROC AUC 0.761** (95 % interval 0.744 to 0.777), 0.009 above the forest
(0.003 to 0.015): more than noise. Its Brier score is 0.1342, the base rate's 0.1610.

| model | ROC AUC | Brier |
| --- | ---: | ---: |
| boosting | 0.761 | 0.1342 |
| forest | 0.752 | 0.1360 |
| logistic | 0.731 | 0.1402 |
| base rate | 0.649 | 0.1610 |"""

GROUPING = """import pandas as pd

from flights.evaluate import ranking

test = pd.read_parquet(test_path)
test.groupby(["origin", "carrier"]).late.agg(["size", "mean"])"""


def story(plot: str = "") -> NotebookNode:
    """Return a notebook as a data scientist would leave it, with outputs of many kinds."""
    wide = FRAME.replace("</tr>", "<td>1234567.89</td>" * 24 + "</tr>")
    figure = {"image/png": plot or png(), "text/plain": "<Figure size 640x400 with 1 Axes>"}
    log = "".join(f"draw {i:4d}: AUC 0.75{i % 10}\n" for i in range(500))
    return notebook(
        new_markdown_cell(OPENING),
        code("seed: int = 42  # of the bootstrap", tags=["parameters"], name="p"),
        code("seed = 7\nresamples = 500", n=2, tags=["injected-parameters"], name="fresh-each-time"),
        new_markdown_cell("## What there is\n\nEach row is one scheduled flight; `tailnum` may be missing."),
        code(GROUPING, shown({"text/html": FRAME, "text/plain": "late"}), n=3, name="by-carrier"),
        new_markdown_cell(READING),
        code("roc(test)", shown(figure, {"image/png": {"width": 620, "height": 380}}), n=4, name="roc"),
        code("for draw in range(resamples):\n    step(draw)", printed(log), n=5, name="long"),
        code("wide", shown({"text/html": wide, "text/plain": "wide"}), n=6, name="wide"),
        code("warn()", printed("UserWarning: few flights in 2 of 92 days\n", "stderr"), n=7),
        new_markdown_cell("## The answer\n\n```python\nranking.head(1)\n```"),
        code("Markdown(text)", shown({"text/markdown": CONCLUSION}), n=8, tags=["summary"], name="sum"),
    )


def broken() -> NotebookNode:
    """Return a notebook that failed in its third code cell, as papermill saves it."""
    banner = new_markdown_cell("<span>An Exception was encountered at 'In [3]'.</span>")
    banner.metadata["tags"] = ["papermill-error-cell-tag"]
    lines = TRACEBACK.split("\n")
    error = new_output(
        "error", ename="ValueError", evalue="Index contains <duplicate> entries, cannot reshape", traceback=lines
    )
    return notebook(
        banner,
        new_markdown_cell("# Weather by the hour\n\nWhat did each airport's station observe in this month?"),
        code("month: str = '2013-01'  # which", n=1, tags=["parameters"]),
        code("print(len(weather))", printed("2226\n"), n=2),
        new_markdown_cell("## Reshape"),
        code("weather = pd.read_parquet(path)\nhourly = weather.pivot('observed', 'origin')", error, n=3, name="pivot"),
        new_markdown_cell("## Write"),
        code("hourly.to_parquet(out)", n=None, name="never"),
        code("Markdown('fine')", n=None, tags=["summary"]),
    )


def formulas() -> NotebookNode:
    """Return a notebook with formulas, in prose and as an output."""
    return notebook(
        new_markdown_cell("# How it flows\n\nInline: $a^2 + b^2 = c^2$.\n\n$$\\hat{p} = \\frac{1}{n}\\sum_i y_i$$"),
        code("Math(x)", shown({"text/latex": "$\\displaystyle \\sqrt{x}$", "text/plain": "x"})),
    )


def interactive() -> NotebookNode:
    """Return a notebook with a Plotly figure, a widget and a table with colours of its own."""
    plot = {"data": [{"x": [1, 2], "y": [2, 1]}], "layout": {"title": {"text": "T"}}}
    styled = "<style>#T_1 td {background: #ffe08a; color: #000}</style><table id=T_1><tr><td>7</td></tr></table>"
    made = notebook(
        new_markdown_cell("# What moves\n\nDoes it?"),
        code("#| fig-cap: Two points\nfig", shown({"application/vnd.plotly.v1+json": plot, "text/plain": "Figure"})),
        code("w", shown({"application/vnd.jupyter.widget-view+json": {"model_id": "w"}, "text/plain": "IntSlider"})),
        code("table.style", shown({"text/html": styled, "text/plain": "Styler"})),
    )
    state = {"w": {"model_name": "FloatProgressModel", "state": {"value": 3, "max": 7, "description": "so far"}}}
    made.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": state}}
    return made


# How the result before differs from that of `record`.
OLDER: dict[str, Any] = {
    "params": {"seed": 6, "resamples": 500},
    "metrics": {"auc_boosting": 0.75, "auc_boosting_low": 0.74, "auc_boosting_high": 0.76, "n_flights": 80_000.0},
    "code": Code(
        notebook=SHA,
        cells=[SHA],
        units={"flights.evaluate": "1" * 64},
        packages={"pandas": "3.0.9", "scikit-learn": "1.9.1"},
        python="3.11",
    ),
}


def older() -> NotebookNode:
    """Return `story` as it was before."""
    found = story(png(9, 5))
    found.cells[4].source = found.cells[4].source.replace("late.agg", "late.describe")
    del found.cells[7]
    return found


def record(task: str = "compare", **changes: Any) -> TaskRecord:
    """Return the record of a task that succeeded, with `changes`."""
    fields: dict[str, Any] = {
        "pipeline": "flights",
        "task": task,
        "state": "succeeded",
        "fingerprint": FINGERPRINT,
        "notebook": f"notebooks/{task.partition('[')[0]}.ipynb",
        "profile": None,
        "run": "20131109-073000-3f9a",
        "started": STARTED,
        "seconds": 72.4,
        "user": "user",
        "host": "host",
        "params": {"seed": 7, "resamples": 500, "hyperparameters": {"forest": {"max_depth": 12}}},
        "overridden": ["seed", "resamples"],
        "inputs": {
            "test": [
                Input(
                    source="dataset.test",
                    path="data/flights/dataset/1f/test.parquet",
                    digest=SHA,
                    size=2_345_678,
                    task="dataset",
                    fingerprint=FINGERPRINT,
                )
            ],
            "candidates": [
                Input(
                    source="train.model",
                    path=f"data/flights/train/model={m}/2e/model",
                    digest=SHA,
                    size=812,
                    task=f"train[model={m}]",
                    fingerprint=FINGERPRINT,
                )
                for m in ("base_rate", "forest")
            ],
            "source": [
                Input(
                    source="postgresql://reader:hunter2@db/flights",
                    path="postgresql://reader:hunter2@db/flights",
                    digest=None,
                    size=None,
                )
            ],
        },
        "outputs": {"ranking": Output(path="ranking.parquet", digest=SHA, size=56_321)},
        "code": Code(
            notebook=SHA,
            cells=[SHA],
            units={"flights.evaluate": SHA, "flights.plots:bars": SHA},
            packages={"pandas": "3.1.0", "scikit-learn": "1.9.1"},
            python="3.11",
        ),
        "git": Git(commit=COMMIT, branch="main", dirty=True),
        "tracking": TrackingRun(
            tracking_uri="sqlite:///mlflow.db", experiment_id="1", run_id="abcdef0123456789", url=None
        ),
        "metrics": {"auc_boosting": 0.76123, "brier_boosting": 0.13421, "n_flights": 81245.0},
        "cells": [Cell(index=1, seconds=0.01), Cell(index=6, seconds=3.214), Cell(index=7, seconds=64.0)],
    }
    return TaskRecord.model_validate(fields | changes)


def failed_record(task: str = "weather[month=2013-03]", **changes: Any) -> TaskRecord:
    """Return the record of a task that failed in the cell at place 5 of `broken`."""
    failure = Failure(
        kind="ValueError",
        message="Index contains <duplicate> entries, cannot reshape",
        cell=5,
        source="weather.pivot()",
        traceback=TRACEBACK,
    )
    return record(task, **{"state": "failed", "failure": failure, "metrics": {}, "outputs": {}} | changes)


@dataclass
class Site:
    """A project's folder with one run in it, grown task by task."""

    root: Path
    tasks: list[RunTask] = field(default_factory=list)

    def add(self, task: str, state: RunTaskState = "succeeded", upstream: Sequence[str] = (), **more: Any) -> None:
        """Add a task to the run; one that is not skipped leaves a result: its record and its page."""
        place = "failed" if state == "failed" else more.get("fingerprint", FINGERPRINT)[:16]
        folder = None if state == "skipped" else f"data/flights/{task.replace('[', '/').rstrip(']')}/{place}"
        earlier = more.pop("earlier", ())
        nb = more.pop("notebook", None) or (broken() if state == "failed" else story())
        fingerprint = None
        if folder:
            made = failed_record(task, **more) if state == "failed" else record(task, **more)
            (self.root / folder).mkdir(parents=True, exist_ok=True)
            (self.root / folder / "task.json").write_text(made.model_dump_json())
            (self.root / folder / "notebook.ipynb").write_text(json.dumps(nb))
            (self.root / folder / "report.html").write_text(render_task(made, nb, earlier), encoding="utf-8")
            fingerprint = made.fingerprint
        name = task.partition("[")[0]
        why = {"cached": "cached", "skipped": f"upstream {', '.join(upstream)} failed"}.get(state, "new")
        seconds = 0.0 if state in ("cached", "skipped") else more.get("seconds", 72.4)
        self.tasks.append(
            RunTask(
                task=task,
                name=name,
                notebook=f"notebooks/{name}.ipynb",
                state=state,
                why=why,
                upstream=list(upstream),
                folder=folder,
                fingerprint=fingerprint,
                seconds=seconds,
                started=STARTED if folder else None,
            )
        )

    def keep(self, made: TaskRecord, nb: NotebookNode) -> tuple[TaskRecord, Path]:
        """Put a result into the store that this run did not make."""
        place = self.root / "data" / "flights" / made.task / made.fingerprint[:16]
        place.mkdir(parents=True)
        (place / "task.json").write_text(made.model_dump_json())
        (place / "notebook.ipynb").write_text(json.dumps(nb))
        (place / "report.html").write_text(render_task(made, nb), encoding="utf-8")
        return made, place

    def run(self, **changes: Any) -> RunRecord:
        """Return the record of the run."""
        fields: dict[str, Any] = {
            "run": "20131109-073000-3f9a",
            "pipeline": "flights",
            "description": "Which flights will leave New York late?",
            "profile": None,
            "command": "caderno run",
            "state": "failed" if any(task.state == "failed" for task in self.tasks) else "succeeded",
            "started": STARTED - timedelta(minutes=4),
            "seconds": 312.0,
            "user": "user",
            "host": "host",
            "git": Git(commit=COMMIT, branch="main", dirty=False),
            "tracking": TrackingRun(
                tracking_uri="sqlite:///mlflow.db", experiment_id="1", run_id="fedcba9876543210", url=None
            ),
            "tasks": self.tasks,
        }
        return RunRecord.model_validate(fields | changes)

    def write(self, **changes: Any) -> BeautifulSoup:
        """Write the site as a run does that ends, and return the run's page, parsed."""
        run, project = self.run(**changes), Project(self.root)
        Store(project, run.pipeline).save_run(run)
        write_site(project, run)
        return soup((self.root / "reports" / "flights" / "runs" / f"{run.run}.html").read_text(encoding="utf-8"))


def soup(html: str) -> BeautifulSoup:
    """Return parsed HTML."""
    return BeautifulSoup(html, "html.parser")


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """This very module: what is imported by path has no siblings to import."""
    return sys.modules[__name__]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An empty project with a space in its path."""
    root = tmp_path / "my project"
    root.mkdir()
    return Site(root)


@pytest.fixture
def page() -> Callable[..., BeautifulSoup]:
    """Render the cells of one notebook to a parsed page."""

    def make(*cells: NotebookNode, **changes: Any) -> BeautifulSoup:
        return soup(render_task(record(**changes), notebook(*cells)))

    return make


# A real browser.


@dataclass
class Visit:
    """An open page, with every request that it made and everything that it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open a page in a context of its own, with the options that playwright has for one."""
    contexts = []

    def make(page: Path, **options: Any) -> Visit:
        contexts.append(browser.new_context(**options))
        result = Visit(contexts[-1].new_page())
        result.page.on("request", lambda request: result.requests.append(request.url))
        result.page.on("console", lambda message: result.complaints.append(message.text))
        result.page.on("pageerror", lambda error: result.complaints.append(str(error)))
        result.page.goto(page.as_uri())
        return result

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def evil() -> Iterator[tuple[str, list[str]]]:
    """A server of somebody else's: its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def decision() -> dict[str, Any]:
    """Return the record of a decision of the gate as JSON has it."""

    def figures(value: float | None, reach: float) -> dict[str, Any]:
        ends = {} if value is None else {"low": value - reach, "high": value + reach}
        return {"value": value, "low": None, "high": None, **ends, "confidence": 0.975, "units": 92}

    slices = [("day", "2013-10", 0.004, 0.002), ("carrier", "<b>9E</b>", -0.03, 0.2), ("carrier", "HA", None, 0.0)]
    return {
        "name": "flights.v2.1",
        "model": "flights",
        "version": "2",
        "pipeline": "flights",
        "profile": "smoke",
        "run": "20131105-073000-3f9a",
        "task": "train[model=forest]",
        "fingerprint": "a" * 64,
        "others": {"train[model=forest]": 0.77, "train[model=logistic]": 0.76},
        "champion": "1",
        "champion_task": "train[model=forest]",
        "changed": "diff/one.html",
        "outcome": "hold",
        "rules": [
            {"rule": "check", "verdict": "refuse", "figures": "<script>alert(1)</script>", "kind": "check"},
            {"rule": "bound of brier", "verdict": "promote", "figures": "0.13, wanted at most 0.2", "kind": "bound"},
            {"rule": "roc_auc against the champion", "verdict": "hold", "figures": "+0.001", "kind": "better"},
            {"rule": "roc_auc where day is 2013-10", "verdict": "promote", "figures": "+0.004", "kind": "slice"},
        ],
        "metric": "roc_auc",
        "metrics": {"roc_auc": 0.77, "brier": 0.13, "calibration_slope": 1.01, "own": 3.0},
        "champion_metrics": {"roc_auc": 0.769, "brier": 0.131},
        "difference": figures(0.001, 0.002),
        "slices": [
            {"column": column, "value": value, "rows": 900, "margin": 0.02, "figures": figures(of, reach)}
            for column, value, of, reach in slices
        ],
        "test": {"task": "dataset", "path": "data/t", "digest": "d" * 64, "rows": 9000, "units": 92, "span": "a to b"},
        "look": 2,
        "gate": {"unit": "day", "margin": 0.0005, "equivalence": 0.002, "bounds": {"own": {"min": 1, "max": None}}},
        "approvals": 1,
        "four_eyes": True,
        "files": {"MLmodel": "e" * 64},
        "packaged": {
            "size": 451_000,
            "load_seconds": 5.2,
            "latency": 0.03,
            "same_again": True,
            "same_as_json": True,
            "pickles": ["model.pkl"],
        },
        "authors": ["A <a@example.org>"],
        "who": "B <b@example.org>",
        "when": "2013-11-05T07:30:00Z",
    }


def models() -> dict[str, Any]:
    """Return what the page of a model tells."""
    version = {"task": "train[model=forest]", "fingerprint": "a" * 64, "released": "2013-11-05T07:30:00", "who": "B"}
    sign = {"action": "approve", "who": "C <c@example.org>", "why": "months are <i>stable</i>"}
    row = {"time": "2013-11-05T07:30:00", "who": "B", "why": "", "outcome": None, "old": None, "new": None}
    return {
        "model": "flights",
        "champion": "1",
        "challenger": "2",
        "versions": [
            {**version, "version": "2", "mark": "", "outcome": "", "decision": "", "metrics": [], "signed": []},
            {
                **version,
                "version": "1",
                "mark": "champion",
                "outcome": "promote",
                "decision": "decisions/flights.v1.1.html",
                "metrics": [("roc_auc", "0.7702")],
                "signed": [sign],
            },
        ],
        "history": [
            {**row, "place": 3, "action": "promote", "version": "1", "new": "1", "emergency": True},
            {**row, "place": 2, "action": "decide", "version": "1", "outcome": "promote", "emergency": False},
            {**row, "place": 1, "action": "release", "version": "1", "emergency": False},
        ],
        "head": "f" * 64,
    }
