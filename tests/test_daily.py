"""Ring three: the example day by day; what a day's run gives depends on the day alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from checkout import caderno, environment

from caderno.deliver.ledger import ledger_of
from caderno.plan.records import RunRecord
from caderno.plan.store import Store, read_record
from caderno.project import Project

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

Make = Callable[[str], Path]


def run(project: Path, day: str, code: int = 0) -> RunRecord:
    """The record of a day's run."""
    done = caderno(project, "run", "--pipeline", "daily", "--profile", "smoke-daily", "--day", day)
    assert done.returncode == code, done.stdout + done.stderr
    record = next(Store(Project.find(project), "daily").runs())
    assert f"--day {day}" in record.command
    return record


def outputs(project: Path, record: RunRecord) -> dict[str, str]:
    """The digest of each output, but for models: their folders name their run in MLflow. They speak by predictions."""
    found = {}
    for one in record.tasks:
        assert one.folder
        made = read_record(project / one.folder)
        assert made
        for name, output in made.outputs.items():
            if output.model_uri is None:
                found[f"{one.task}.{name}"] = output.digest
    return found


def done(record: RunRecord) -> set[str]:
    return {one.task for one in record.tasks if one.state == "succeeded"}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function that copies the checkout into a new folder, with sources of its own."""
    sources = tmp_path_factory.mktemp("sources")
    made = [sys.executable, "-m", "flights.sources", "--to", str(sources)]
    subprocess.run(made, env=environment(ROOT), check=True, capture_output=True)

    def copy(name: str) -> Path:
        root = tmp_path_factory.mktemp("daily") / name
        for folder in ("notebooks", "params", "lib"):
            ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
        shutil.copytree(sources, root / "data" / "sources")
        return root

    return copy


def cut(sources: Path, day: str) -> None:
    """Leave of the sources what they held on the night of a day."""
    month, number = day[:7], int(day[8:])
    for path in (sources / "bureau").iterdir():
        if path.stem[-7:] > month:
            path.unlink()
        elif path.stem[-7:] == month:
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if line[:4] == "year" or int(line.split(",")[2]) <= number))
    for folder in (sources / "weather").iterdir():
        if folder.name > month:
            shutil.rmtree(folder)
        elif folder.name == month:
            _cut_weather(folder, day)


def _cut_weather(folder: Path, day: str) -> None:
    kept = []
    for path in sorted(folder.glob("*/*.json")):
        if path.stem > day:
            path.unlink()
        else:
            kept.append(path)
    names = [path.relative_to(folder).as_posix() for path in kept]
    pages = [json.loads(path.read_text()) for path in kept]
    for number, (path, page, follower) in enumerate(zip(kept, pages, [*names[1:], None], strict=True), start=1):
        path.write_text(json.dumps(page | {"page": number, "pages": len(kept), "next": follower}))
    index = json.loads((folder / "index.json").read_text())
    counts = {"pages": len(kept), "observations": sum(page["count"] for page in pages), "next": names[0]}
    (folder / "index.json").write_text(json.dumps(index | counts))


@pytest.fixture(scope="module")
def project(make: Make) -> Path:
    return make("one by one")


@pytest.fixture(scope="module")
def first(project: Path) -> RunRecord:
    return run(project, "2013-11-12")


@pytest.fixture(scope="module")
def second(project: Path, first: RunRecord) -> RunRecord:
    return run(project, "2013-11-13")


def test_the_next_day_computes_no_more_than_what_came_in(second: RunRecord) -> None:
    month = {"new_flights[month=2013-11]", "new_weather[month=2013-11]"}
    assert done(second) == {"calendar", *month, "unseen", "score", "monitor"}
    assert {one.state for one in second.tasks} == {"succeeded", "cached"}


def test_the_first_model_is_promoted_and_not_asked_about_again(project: Path, second: RunRecord) -> None:
    rows = ledger_of(Project.find(project)).rows("daily")
    assert [row.entry.action for row in rows] == ["release", "decide", "promote"]


def test_a_day_takes_in_nothing_that_came_after_it(project: Path, first: RunRecord) -> None:
    unseen = next(one.folder for one in first.tasks if one.task == "unseen")
    table = pd.read_parquet(project / str(unseen) / "unseen.parquet", columns=["day"])
    assert (table["day"].min(), table["day"].max()) == (pd.Timestamp("2013-11-01"), pd.Timestamp("2013-11-12"))


def test_the_flights_of_the_day_are_scored(project: Path, second: RunRecord) -> None:
    score = next(one.folder for one in second.tasks if one.task == "score")
    table = pd.read_parquet(project / str(score) / "predictions.parquet")
    assert table["day"].eq(pd.Timestamp("2013-11-13")).all()
    assert len(table) > 900
    assert table["probability"].between(0, 1).all()
    assert table["probability"].nunique() > 300


def test_the_page_of_a_task_tells_how_to_run_the_day_again(project: Path, second: RunRecord) -> None:
    page = (project / "reports" / "daily" / "unseen.html").read_text()
    assert "caderno run unseen --pipeline daily --profile smoke-daily --day 2013-11-13" in page


def test_how_the_predictions_held_up_is_logged(project: Path, second: RunRecord) -> None:
    metrics = json.loads(caderno(project, "show", "monitor", "--pipeline", "daily", "--json").stdout)["metrics"]
    assert metrics["days"] == 13
    assert metrics["roc_auc_low"] < metrics["roc_auc"] < metrics["roc_auc_high"]
    assert metrics["roc_auc"] > 0.65
    assert metrics["excess_low"] < metrics["excess"] < metrics["excess_high"]


@pytest.mark.parametrize("name", ["calendar", "unseen", "score", "monitor"])
def test_a_notebook_also_runs_by_hand_on_the_latest_results(project: Path, second: RunRecord, name: str) -> None:
    notebook = project / "notebooks" / "daily" / f"{name}.ipynb"
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db", "MLFLOW_EXPERIMENT_NAME": "daily"}
    done = subprocess.run(
        [sys.executable, "-m", "papermill", str(notebook), os.devnull, "--cwd", str(notebook.parent)],
        env=environment(project) | store,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("day", "told"),
    [
        ("2012-11-05", "the data begin in 2013-01"),
        ("2014-01-01", "nothing of 2014-01 has arrived; the last month is 2013-12"),
    ],
)
def test_a_day_without_data_is_told_and_no_model_comes_of_it(
    project: Path, second: RunRecord, day: str, told: str
) -> None:
    record = run(project, day, code=1)
    assert {one.task for one in record.tasks if one.state == "failed"} == {"calendar"}
    assert not [one for one in record.tasks if one.name in ("train", "score", "monitor") and one.folder]
    assert told in caderno(project, "run", "calendar", "--pipeline", "daily", "--day", day).stdout


@pytest.mark.slow
def test_a_day_that_has_not_arrived_is_run_when_it_has(make: Make, project: Path, second: RunRecord) -> None:
    later = make("later")
    shutil.copytree(project / "data", later / "data", dirs_exist_ok=True, symlinks=True)
    whole = {path: path.read_bytes() for path in (later / "data/sources").rglob("*.*") if path.is_file()}
    cut(later / "data" / "sources", "2013-11-13")
    failed = run(later, "2013-11-14", code=1)
    assert {one.task for one in failed.tasks if one.state == "failed"} == {"calendar"}
    for path, content in whole.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert {"calendar", "score", "monitor"} <= done(run(later, "2013-11-14"))


def test_what_is_no_day_at_all_is_refused(project: Path) -> None:
    done = caderno(project, "run", "--pipeline", "daily", "--day", "2013-02-30")
    assert done.returncode == 2
    assert "2013-02-30" in done.stderr


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_day_gives_the_same_whatever_ran_before_it_and_whatever_came_after_it(make: Make) -> None:
    days = ["2013-11-06", "2013-11-07"]  # from the 7th on October is learned from
    in_order = make("in order")
    one_by_one = {day: outputs(in_order, run(in_order, day)) for day in days}
    other = make("in another order")
    assert {day: outputs(other, run(other, day)) for day in reversed(days)} == one_by_one
    alone = make("alone on the night of the day")
    cut(alone / "data" / "sources", "2013-11-06")
    assert outputs(alone, run(alone, "2013-11-06")) == one_by_one["2013-11-06"]
    assert len({found["score.predictions"] for found in one_by_one.values()}) == len(days)
