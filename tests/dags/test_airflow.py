"""Pipelines in a real Airflow: how they are parsed, and how their tasks run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from dagsite import ROOT, Site

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

BAG = """
import json, os
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.serialization.serialized_objects import DagSerialization
folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
def told(task):
    names = "retries pool pool_slots queue owner doc_md task_display_name is_mapped"
    return {name: getattr(task, name) for name in names.split()} | {
        "rule": getattr(task.trigger_rule, "value", task.trigger_rule),
        "timeout": str(task.execution_timeout), "up": sorted(task.upstream_task_ids),
        "out": [[asset.name, asset.uri] for asset in task.outlets]}
found = {}
for name, dag in bag.dags.items():
    DagSerialization.from_dict(DagSerialization.to_dict(dag))  # as the scheduler sees it
    params = {key: dag.params.get_param(key) for key in dag.params}
    found[name] = {
        "tasks": {task.task_id: told(task) for task in dag.tasks}, "tags": sorted(dag.tags),
        "params": {key: {"value": param.value, **param.schema} for key, param in params.items()},
        "description": dag.description, "start": str(dag.start_date), "end": str(dag.end_date),
        "catchup": dag.catchup, "active": dag.max_active_runs}
errors = {path.rpartition("/")[2]: text for path, text in bag.import_errors.items()}
print(json.dumps({"dags": found, "errors": errors}))
"""


def test_a_pipeline_becomes_a_dag(site: Site) -> None:
    found = site.script(BAG)
    assert found["errors"] == {}
    dag = found["dags"]["tiny"]
    tasks = dag["tasks"]
    assert {name: task["up"] for name, task in tasks.items()} == {
        "pipeline.check": [],
        "fetch": ["pipeline.check"],
        "square.unfold": ["fetch"],
        "square": ["square.unfold"],
        "sum": ["square"],
    }
    assert {name for name, task in tasks.items() if task["is_mapped"]} == {"square"}
    assert (tasks["fetch"]["retries"], tasks["fetch"]["pool"], tasks["fetch"]["pool_slots"]) == (1, "small", 2)
    assert (tasks["square"]["queue"], tasks["square.unfold"]["queue"]) == ("gpu", "gpu")
    assert (tasks["square"]["timeout"], tasks["fetch"]["timeout"]) == ("0:25:00", "None")
    assert tasks["fetch"]["doc_md"] == "# Fetch\n\nWhat was known that day?"
    assert tasks["square.unfold"]["task_display_name"] == "square: which?"
    assert {task["owner"] for name, task in tasks.items()} == {"sums"}
    assert (dag["tags"], dag["description"], dag["active"], dag["catchup"]) == (["small"], "What is the sum?", 2, False)
    assert dag["start"].startswith("2013-11-01 04:00:00+00:00")  # midnight in New York
    assert dag["end"].startswith("2013-12-01 04:59:59.999999+00:00")
    params = dag["params"]
    assert {name: (param["type"], param["value"]) for name, param in params.items()} == {
        "day": (["null", "string"], None),
        "profile": (["null", "string"], None),
        "force": ("boolean", False),
        "seed": ("integer", 1),
        "ratio": ("number", 0.5),
        "word": ("string", "no"),
        "on": ("boolean", True),
        "many": ("array", [1]),
        "deep": ("object", {"a": 1}),
    }
    assert (params["profile"]["enum"], params["day"]["format"]) == ([None, "quick"], "date")


def test_an_automatic_delivery_is_the_last_task(site: Site) -> None:
    gate = "gate: {candidates: a.m, test: b.t, outcome: y, metric: brier, model: m}\n"
    head = f"schedule: '@daily'\ndelivery: automatic\n{gate}"
    site.shop.pipeline("a: {notebook: fetch.ipynb}\nb: {notebook: sum.ipynb}", head)
    tasks = site.script(BAG)["dags"]["tiny"]["tasks"]
    last = tasks["pipeline.deliver"]
    assert (last["up"], last["rule"]) == (["a", "b"], "none_failed")
    assert last["out"] == [["m", "caderno://models/m"]]


def test_a_delivery_that_needs_approvals_has_a_dag_that_asks(site: Site) -> None:
    gate = "gate: {candidates: a.m, test: b.t, outcome: y, metric: brier, model: m, approvals: 2}\n"
    head = f"schedule: {{cron: '@daily', delivery_queue: vault}}\ndelivery: automatic\nowner: sums\n{gate}"
    site.shop.pipeline("a: {notebook: fetch.ipynb}\nb: {notebook: sum.ipynb}", head)
    dags = site.script(BAG)["dags"]
    assert dags.keys() == {"tiny", "tiny.approval"}
    assert dags["tiny"]["tasks"]["pipeline.ask"]["up"] == ["pipeline.deliver"]
    tasks = dags["tiny.approval"]["tasks"]
    assert {name: task["up"] for name, task in tasks.items()} == {
        "approve_1": [],
        "approve_2": ["approve_1"],
        "promote": ["approve_2"],
    }
    assert {(one["queue"], one["owner"], one["rule"]) for one in tasks.values()} == {("vault", "sums", "none_failed")}
    assert dags["tiny"]["tasks"]["pipeline.deliver"]["queue"] == "vault"
    assert tasks["promote"]["out"] == [["m", "caderno://models/m"]]
    assert dags["tiny.approval"]["params"]["version"]["value"] is None


def test_broken_files_are_told_and_cost_no_other_dag(site: Site) -> None:
    site.shop.write("params/broken.yaml", "name: broken\nschedule: '@daily'\ntasks: [\n")
    site.shop.write("params/typo.yaml", "name: typo\nschedule: '@daily'\ntasks:\n  a: {notebok: a.ipynb}\n")
    site.shop.write("params/cron.yaml", "name: cron\nschedule: 99 6 * * *\ntasks: {a: {notebook: fetch.ipynb}}\n")
    site.shop.write("params/unscheduled.yaml", "name: unscheduled\ntasks: {a: {notebook: no}}\n# schedule\n")
    found = site.script(BAG)
    assert list(found["dags"]) == ["tiny"]
    assert list(found["errors"]) == ["problems.py"]
    told = found["errors"]["problems.py"]
    assert "params/broken.yaml:4: not valid YAML" in told
    assert "params/typo.yaml:4: unknown key 'notebok' in tasks.a; did you mean 'notebook'?" in told
    assert "params/cron.yaml:2: " in told


def test_a_hundred_pipelines_are_parsed_in_half_a_second(site: Site) -> None:
    shutil.copytree(ROOT / "notebooks", site.shop.root / "notebooks", dirs_exist_ok=True)
    example = (ROOT / "params/flights.yaml").read_text()
    for number in range(100):
        text = example.replace("name: flights", f"name: flights{number}", 1)
        site.shop.write(f"params/flights{number}.yaml", text if "schedule:" in text else f"schedule: '@daily'\n{text}")
    seconds = site.script(f"""
import sys, time
sys.path.insert(0, {str(site.shop.root / "lib/dags")!r})
import airflow.sdk
from airflow.sdk import DAG, Asset, BaseOperator, CronDataIntervalTimetable, Param
from airflow.sdk.exceptions import AirflowException
import pipelines
from caderno_airflow.notes import first_words
taken = []
for _ in range(3):
    first_words.cache_clear()
    began = time.process_time()
    made = pipelines.dags()
    taken.append(time.process_time() - began)
print(min(taken) if len(made) == 101 else 999)
""")
    assert seconds < 0.5


@pytest.mark.parametrize(("wanted", "made"), [("", ["other", "tiny"]), ("other", ["other"])])
def test_where_a_task_runs_only_its_dag_is_made(site: Site, wanted: str, made: list[str]) -> None:
    text = (site.shop.root / "params/tiny.yaml").read_text()
    site.shop.write("params/other.yaml", text.replace("name: tiny", "name: other"))
    assert made == site.script(f"""
import json, os, sys
os.environ |= {{"_AIRFLOW_PARSING_CONTEXT_DAG_ID": {wanted!r}}} if {wanted!r} else {{}}
sys.path.insert(0, {str(site.shop.root / "lib/dags")!r})
import pipelines
print(json.dumps(sorted(pipelines.dags())))
""")


CALL = """
import json, sys
sys.path.insert(0, {dags!r})
from datetime import datetime, timezone
from types import SimpleNamespace
from caderno_airflow.operators import Run
def run(params, moment=None, written=None, kind="scheduled"):
    task = Run(task_id="t", target="t", pipeline="p", zone="America/New_York", dags={dags!r}, written=written)
    return task, {{"params": params, "dag_run": SimpleNamespace(logical_date=moment, run_type=kind), "ti": None}}
"""


def call(site: Site, rest: str) -> Any:
    return site.script(CALL.format(dags=str(site.shop.root / "lib/dags")) + rest)


def test_the_options_are_those_of_the_run(site: Site) -> None:
    found = call(
        site,
        """
late = datetime(2013, 11, 6, 3, 0, tzinfo=timezone.utc)  # ten in the evening of the fifth in New York
cases = [({}, None, {}), ({}, late, {}), ({}, late, {}, "manual"),
         ({"day": "2013-10-01", "profile": "quick"}, late, {}),
         ({"a": 1, "b": "no", "c": [True]}, None, {"a": 1, "b": "yes", "c": []})]
print(json.dumps([task._options(context) for task, context in [run(*case) for case in cases]]))
""",
    )
    assert found == [
        ["--pipeline", "p"],
        ["--pipeline", "p", "--day", "2013-11-05"],
        ["--pipeline", "p", "--day", "2013-11-06"],
        ["--pipeline", "p", "--day", "2013-10-01", "--profile", "quick"],
        ["--pipeline", "p", "-p", 'b="no"', "-p", "c=[true]"],
    ]


def test_exit_codes_mean_what_airflow_knows(site: Site) -> None:
    found = call(
        site,
        """
import os
told = {}
for code in (0, 1, 2, 3, 143):
    os.environ["CADERNO_COMMAND"] = f"sh -c 'echo because {code} >&2; exit {code}'"
    task, context = run({})
    try:
        told[code] = [str(task.execute(context))]
    except Exception as error:
        told[code] = [type(error).__name__, str(error)]
del os.environ["CADERNO_COMMAND"]
task, context = run({})
try:
    task.execute(context)
except Exception as error:
    told["none"] = [type(error).__name__, str(error)]
print(json.dumps(told))
""",
    )
    assert found["0"] == ["[]"]
    assert found["1"] == ["AirflowException", "because 1"]
    assert found["2"] == ["AirflowFailException", "because 2"]
    assert found["3"] == ["AirflowFailException", "because 3"]
    assert found["143"] == ["AirflowException", "because 143"]
    assert found["none"][0] == "AirflowFailException"
    assert "set the project up there" in found["none"][1]


@pytest.mark.kernel
def test_a_run_of_a_dag_computes_and_the_next_one_reuses(site: Site) -> None:
    shop = site.shop
    done = site.run("airflow", "dags", "test", "tiny", "2013-11-05")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    results = {path.parent.parent.name: path.read_text() for path in shop.root.glob("data/tiny/square/*/*/square.txt")}
    assert results == {"n=2": "42013-11-05 1 no", "n=3": "92013-11-05 1 no"}
    assert "sum: done in" in done.stdout + done.stderr
    told = xcoms(site)
    fingerprint = json.loads(next(shop.root.glob("data/tiny/sum/*/task.json")).read_text())["fingerprint"]
    assert told["sum", -1]["fingerprint"] == fingerprint
    assert told["sum", -1]["state"] == "computed"
    assert told["sum", -1]["mlflow_run"]
    assert (shop.root / told["sum", -1]["report"]).exists()
    assert told["square.unfold", -1] == ["square[n=2]", "square[n=3]"]
    assert told["square", 1]["task"] == "square[n=3]"

    conf = json.dumps({"profile": "quick"})
    again = site.run("airflow", "dags", "test", "tiny", "2013-11-05", "--conf", conf)
    assert again.returncode == 0, again.stdout[-4000:]
    told = xcoms(site)
    assert told["fetch", -1]["state"] == "reused"
    assert told["square.unfold", -1] == ["square[n=5]"]


def xcoms(site: Site) -> dict[tuple[str, int], Any]:
    """Return what the tasks of the newest run returned, by task and map index."""
    rows = site.script("""
import json
from sqlalchemy import select
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
with create_session() as session:
    last = session.scalars(select(DagRun).order_by(DagRun.id.desc())).first()
    rows = session.scalars(select(XComModel).where(XComModel.run_id == last.run_id, XComModel.key == "return_value"))
    print(json.dumps([[row.task_id, row.map_index, row.value] for row in rows]))
""")
    return {(task, index): json.loads(value) if isinstance(value, str) else value for task, index, value in rows}


@pytest.mark.kernel
def test_wrong_input_ends_a_run_at_its_first_task(site: Site) -> None:
    site.shop.pipeline("a: {notebook: fetch.ipynb, inputs: {x: 'file:gone.txt'}, retries: 3}", "schedule: '@daily'\n")
    done = site.run("airflow", "dags", "test", "tiny", "2013-11-05")
    said = done.stdout + done.stderr
    assert "declares no parameter 'x'" in said
    assert "params/tiny.yaml:4" in said
    states = site.script("""
import json
from sqlalchemy import select
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
with create_session() as session:
    last = session.scalars(select(DagRun).order_by(DagRun.id.desc())).first()
    print(json.dumps({one.task_id: [one.state, one.try_number] for one in last.get_task_instances(session=session)}))
""")
    assert states == {"pipeline.check": ["failed", 1], "a": ["upstream_failed", 0]}


@pytest.mark.kernel
@pytest.mark.parametrize("how", ["terminated", "killed"])
def test_a_task_that_is_ended_takes_its_kernel_with_it(site: Site, how: str) -> None:
    shop = site.shop
    shop.notebook(
        "fetch.ipynb", "x: int = 1", "import os, time; open('../pid', 'w').write(str(os.getpid())); time.sleep(600)"
    )
    shop.pipeline("slow: {notebook: fetch.ipynb}", "schedule: '@daily'\n")
    source = CALL.format(dags=str(shop.root / "lib/dags")) + (
        "import signal\n"
        "task, context = run({})\n"
        "task.target, task.pipeline = 'slow', 'tiny'\n"
        "signal.signal(signal.SIGTERM, lambda *_: task.on_kill())  # as Airflow's task runner does\n"
        "task.execute(context)\n"
    )
    process = subprocess.Popen(
        [str(site.python), "-c", source], env=site.environment, cwd=site.home, start_new_session=True
    )
    file = shop.root / "pid"
    until(lambda: file.exists() and file.read_text().isdigit(), 120)
    kernel = int(file.read_text())
    if how == "killed":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.terminate()
    process.wait(60)
    until(lambda: not Path(f"/proc/{kernel}").exists(), 40)
    until(lambda: not mine(shop.root), 40)
    left = [json.loads(path.read_text())["state"] for path in shop.root.glob("data/tiny/.runs/*.json")]
    assert set(left) <= {"killed"}


def mine(root: Path) -> list[str]:
    """Return the processes whose working directory is in the project."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(root):
                found.append(entry.name)
        except OSError:
            continue
    return found


def until(holds: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)
