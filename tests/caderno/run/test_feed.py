"""A run as lines of JSON: each is valid, all are there, and nothing else is."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from workshop import NOTE, Workshop, until

from caderno.events import EVENTS, CellFinished, RunStarted, RunWarned, TaskSkipped
from caderno.run import feed

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "lib/caderno/run/events.schema.json"


def parsed(text: str) -> list[dict[str, Any]]:
    """Return the lines, each valid by the schema and strict JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    lines = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    for line in lines:
        validator.validate(line)
        assert line["time"].endswith("Z")
    return lines


def start(shop: Workshop, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "caderno.cli", "run", "--json", *arguments],
        cwd=shop.root, env=shop.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_schema_in_the_package_is_that_of_the_events() -> None:
    assert json.loads(SCHEMA.read_text()) == feed.schema()


def test_every_event_is_documented_with_exactly_its_fields() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "reports/README.md").read_text(), re.M)
    documented = {event: set(re.findall(r"`(\w+)`", re.sub(r"\([^()]*\)", "", fields))) for event, fields in rows}
    common = {"run", "time"}
    assert documented == {feed.name(kind): set(kind.__dataclass_fields__) - common for kind in EVENTS}


def test_what_json_cannot_hold_becomes_what_it_can() -> None:
    started = RunStarted(run="r", pipeline="p", tasks=("a",), to_run=1, expected={"a": math.nan})
    assert json.loads(feed.line(started))["expected"] == {"a": None}
    finished = CellFinished(run="r", task="a", cell=1, cells=1, seconds=math.inf)
    (line,) = parsed(feed.line(finished))
    assert line["seconds"] is None
    (line,) = parsed(feed.line(RunWarned(run="r", message="a\nb \ud800 \x1b[31mred")))
    assert line["message"] == "a\nb ? red"


def test_a_time_is_in_utc_with_a_z() -> None:
    event = TaskSkipped(run="r", task="a", why="w", time=datetime(2013, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert json.loads(feed.line(event))["time"] == "2013-01-02T03:04:05.000Z"


def test_what_others_print_meanwhile_goes_to_the_other_channel() -> None:
    script = """
import subprocess
from caderno.events import RunWarned
from caderno.run.feed import Feed
with Feed() as watch:
    print("a library speaks")
    watch(RunWarned(run="r", message="x"))
    subprocess.run(["echo", "a child speaks"])
print("afterwards")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    line, last = done.stdout.splitlines()
    assert json.loads(line)["event"] == "run_warned"
    assert last == "afterwards"
    assert sorted(done.stderr.splitlines()) == ["a child speaks", "a library speaks"]


def test_a_run_that_breaks_itself_is_told_as_finished(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no store"), feed.Feed() as watch:
        watch(RunStarted(run="r", pipeline="p", tasks=("a",), to_run=1, expected={}))
        raise ValueError("no store")
    lines = parsed(capfd.readouterr().out)
    assert [(line["event"], line.get("error")) for line in lines] == [
        ("run_started", None),
        ("run_finished", "no store"),
    ]


def test_wrong_input_prints_no_line(shop: Workshop) -> None:
    shop.notebook("one.ipynb", "x: int = 1", "x", kernel="no-such-kernel")
    shop.pipeline("one: {notebook: one.ipynb}")
    for arguments, said in ((["oen"], "did you mean 'one'?"), ([], "'no-such-kernel', which is not installed")):
        out, err = (process := start(shop, *arguments)).communicate(timeout=60)
        assert (process.returncode, out) == (2, "")
        assert said in err


@pytest.mark.kernel
def test_a_real_run_is_told_whole(new_shop: Callable[[], Workshop]) -> None:
    shop = new_shop()
    shop.notebook("there.ipynb", "x: int = 1", "y = x")
    shop.pipeline("there: {notebook: there.ipynb}")
    shop.settle()
    shop.notebook("good.ipynb", "x: int = 1", "import os; os.write(1, b'noise'); print('noise')")
    shop.notebook("bad.ipynb", "x: int = 1\nmade: str = ''", "raise ValueError(float('nan'))")
    shop.notebook("after.ipynb", "made: str = ''", "made")
    shop.pipeline("""
        there: {notebook: there.ipynb}
        good: {notebook: good.ipynb}
        bad: {notebook: bad.ipynb, outputs: {made: made.txt}}
        after: {notebook: after.ipynb, inputs: {made: bad.made}}
    """)
    process = start(shop)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    lines = parsed(out)
    assert (lines[0]["event"], lines[-1]["event"]) == ("run_started", "run_finished")
    assert lines[-1]["counts"] == {"cached": 1, "succeeded": 1, "failed": 1, "skipped": 1}
    told = {(line["event"], line["task"]) for line in lines if "task" in line}
    ended = {("task_cached", "there"), ("task_finished", "good"), ("task_failed", "bad"), ("task_skipped", "after")}
    assert told >= ended | {("task_started", "good"), ("cell_finished", "good"), ("task_started", "bad")}
    (bad,) = [line for line in lines if line["event"] == "task_failed"]
    assert (bad["error"], bad["cell"]) == ("ValueError: nan", 2)
    assert (shop.root / bad["report"]).is_file()


@pytest.mark.kernel
def test_who_calls_task_by_task_learns_what_is_missing_and_tries_again_by_itself(shop: Workshop) -> None:
    shop.notebook("bad.ipynb", "n: int = 1", f"{NOTE}\nnote('tried')\n1 / n")
    shop.notebook("list.ipynb", "made: str = ''", "open(made, 'w').write('[1]')")
    shop.pipeline("""
        bad: {notebook: bad.ipynb, matrix: {n: [0, 1]}, retries: 2}
        list: {notebook: list.ipynb, outputs: {made: made.json}}
        each: {notebook: bad.ipynb, matrix: {n: {from: list.made}}}
    """)
    run = start(shop, "bad", "--no-retries", "--no-deliver")
    lines = parsed(run.communicate(timeout=120)[0])
    assert run.returncode == 1
    assert shop.calls() == ["tried", "tried"]
    (good,) = [line for line in lines if line["event"] == "task_finished"]
    done = parsed(start(shop, "bad[n=1]").communicate(timeout=60)[0])
    (there,) = [line for line in done if line["event"] == "task_cached"]
    assert [there[name] for name in ("fingerprint", "report", "mlflow_run")] == [
        good[name] for name in ("fingerprint", "report", "mlflow_run")
    ]
    assert there["mlflow_run"]
    plan = {one["task"]: one for one in json.loads(shop.caderno("plan", "--json").out)["tasks"]}
    assert {task: one["state"] for task, one in plan.items()} == {
        "bad[n=0]": "run", "bad[n=1]": "cached", "list": "run", "each[n=?]": "wait",
    }  # fmt: skip
    assert [plan["each[n=?]"][key] for key in ("name", "axes", "upstream")] == ["each", {"n": None}, ["list"]]


@pytest.mark.kernel
def test_a_stopped_run_still_says_that_it_ended_and_a_deaf_reader_stops_nothing(shop: Workshop) -> None:
    shop.notebook("slow.ipynb", "x: int = 1", f"{NOTE}\nnote('begun')\nimport time; time.sleep(x)")
    shop.pipeline("slow: {notebook: slow.ipynb, params: {x: 60}}")
    process = start(shop)
    until(lambda: shop.calls() == ["begun"])
    process.send_signal(signal.SIGINT)
    lines = parsed(process.communicate(timeout=60)[0])
    assert process.returncode == 130
    assert (lines[-1]["event"], lines[-1]["state"]) == ("run_finished", "killed")
    with start(shop, "-p", "slow.x=0") as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(60) == 0
    assert shop.run_states() == {"slow": "succeeded"}
