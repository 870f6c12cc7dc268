"""What a colleague ran, you need not: whole runs of two machines that share results."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remotes import S3, Shared, outputs, settled, staged
from servers import Server
from workshop import NOTE, PIPELINE, NewShop, Workshop, ended, until

pytestmark = pytest.mark.kernel
Machines = Callable[[Callable[[Workshop], Workshop]], list[Workshop]]
TASKS = ["first", "second[side=left]", "second[side=right]", "third"]


def states(shop: Workshop) -> set[str]:
    return set(shop.run_states().values())


def events(text: str, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == kind]


def links(page: Path) -> list[str]:
    """Return the files that a page leads to, relative to it."""
    return re.findall(r'href="([^"#:]+)["#]', page.read_text())


def test_the_second_machine_runs_nothing_and_of_a_changed_helper_only_what_uses_it(machines: Machines) -> None:
    one, two = machines(staged)
    done = one.caderno("run")
    assert done.code == 0, done.out
    assert sorted(one.calls()) == ["first", "left", "right", "third"]

    planned = json.loads(two.caderno("plan", "--json").out)["tasks"]
    assert [(task["task"], task["state"]) for task in planned] == [(task, "fetch") for task in TASKS]
    assert all(task["size"] > 0 and task["reasons"][0]["kind"] == "remote" for task in planned)
    assert "4 to fetch" in two.caderno("plan")

    done = two.caderno("run", "--json")
    assert done.code == 0, done.out
    assert two.calls() == []
    assert states(two) == {"fetched"}
    assert outputs(two) == outputs(one)
    assert not (two.root / "mlflow.db").exists(), "nothing was computed, so MLflow has nothing to hear"
    assert {event["task"] for event in events(done.out, "fetch_started")} == set(TASKS)
    for event in events(done.out, "task_fetched"):
        assert "<title>" in (two.root / event["report"]).read_text()
    for page in (two.root / "reports" / PIPELINE).glob("*.html"):
        assert [link for link in links(page) if not (page.parent / link).exists()] == []
    assert (two.store.home("third") / "latest" / "report.txt").read_text() == "LEFT RIGHT"
    assert states(two) == {"fetched"}
    assert "4 cached" in two.caderno("run")
    assert "computed" not in two.caderno("gc", "--dry-run")

    helper = two.root / "lib" / "tools.py"
    helper.write_text(helper.read_text().replace("text.upper()", "text.title()"))
    assert two.caderno("run").code == 0
    assert sorted(two.calls()) == ["left", "right", "third"]
    assert two.run_states() == dict(zip(TASKS, ["cached", *["succeeded"] * 3], strict=True))
    (one.root / "lib" / "tools.py").write_text(helper.read_text())
    assert one.caderno("run").code == 0
    assert one.run_states() == dict(zip(TASKS, ["cached", *["fetched"] * 3], strict=True))
    assert outputs(one) == outputs(two)


def test_what_a_fetched_result_was_made_from_can_be_looked_at(machines: Machines) -> None:
    one, two = machines(staged)
    one.caderno("run")
    two.caderno("run")
    assert one.record("third").model_copy(update={"fetched": True}) == two.record("third")
    assert "report.txt" in two.caderno("show", "third")
    assert "fetched" in two.caderno("status")
    page = (two.root / "reports" / "index.html").read_text()
    assert "fetched" in page
    done = two.caderno("report")
    assert done.code == 0, done.out


@pytest.fixture
def folder(tmp_path: Path) -> Shared:
    (tmp_path / "a share").mkdir()
    return Shared(str(tmp_path / "a share"), {})


@pytest.fixture
def pair(folder: Shared, new_shop: NewShop) -> list[Workshop]:
    return [folder.joined(staged(new_shop())) for _ in range(2)]


def at(folder: Shared, shop: Workshop) -> Path:
    """Return where the output of the first task is in the shared folder."""
    record = shop.record("first")
    return Path(folder.url, "tiny", "first", record.fingerprint, record.outputs["made"].digest)


def test_the_pipeline_file_names_the_remote_and_the_variable_goes_before(folder: Shared, new_shop: NewShop) -> None:
    one, two = staged(new_shop()), staged(new_shop())
    for shop in (one, two):
        text = (shop.root / "params" / "tiny.yaml").read_text()
        shop.write("params/tiny.yaml", text.replace("tasks:", f"remote: {json.dumps(folder.url)}\ntasks:", 1))
    assert one.caderno("run", "first").code == 0
    assert "1 to fetch" in two.caderno("plan", "first")
    assert "1 to run" in two.caderno("plan", "first", "--no-remote")
    assert "1 to run" in two.caderno("plan", "first", env={"CADERNO_REMOTE": ""})
    assert "1 to run" in two.caderno("plan", "first", env={"CADERNO_REMOTE": "memory://elsewhere"})


def test_force_computes_and_replaces_what_is_there(pair: list[Workshop]) -> None:
    one, two = pair
    clock = "import time; Path(made).write_text(str(time.time_ns()))"
    for shop in pair:
        shop.notebook("first.ipynb", "number: int = 3\nmade: str = 'made.txt'", NOTE, "note('first')", clock)
    one.caderno("run", "first")
    two.caderno("run", "--force", "first")
    assert two.calls() == ["first"]
    assert outputs(two) != outputs(one)
    three = Workshop(one.root.with_name("three"), one.variables)
    for name in ("notebooks", "params", "lib"):
        (three.root / name).mkdir(parents=True)
    staged(three)
    three.notebook("first.ipynb", "number: int = 3\nmade: str = 'made.txt'", NOTE, "note('first')", clock)
    assert three.caderno("run", "first").code == 0
    assert outputs(three) == outputs(two)


def test_a_remote_that_is_away_is_said_once_and_what_was_computed_is_sent_by_the_next_run(
    folder: Shared, pair: list[Workshop]
) -> None:
    one, two = pair
    share = Path(folder.url)
    away = share.rename(share.with_name("unmounted"))
    done = one.caderno("run")
    assert done.code == 0, done.out
    assert done.out.count("is not there: make the folder, or mount it;") == 1
    assert "could not be sent" in done
    assert "the next run sends it" in done
    assert not share.exists()
    away.rename(share)
    done = one.caderno("run")
    assert "nothing to run" in done
    assert "warning" not in done
    assert two.caderno("run").code == 0
    assert states(two) == {"fetched"}
    assert not list((one.project.state / "unsent").rglob("*.json"))


def test_a_run_that_is_killed_before_it_sent_is_made_up_for(pair: list[Workshop]) -> None:
    one, two = pair
    process = one.start("run")
    until(lambda: one.finished("first"))
    process.kill()
    process.communicate()
    assert list((one.project.state / "unsent").rglob("*.json"))
    assert one.caderno("run").code == 0
    assert not list((one.project.state / "unsent").rglob("*.json"))
    assert two.caderno("run").code == 0
    assert states(two) == {"fetched"}


def test_what_is_damaged_there_is_computed_and_replaced(folder: Shared, pair: list[Workshop]) -> None:
    one, two = pair
    one.caderno("run")
    damaged = at(folder, one)
    damaged.write_text("x")
    done = two.caderno("run")
    assert done.code == 0, done.out
    assert "warning: first can't be fetched from" in done
    assert two.calls() == ["first"]
    assert two.run_states() == dict(zip(TASKS, ["succeeded", *["fetched"] * 3], strict=True))
    assert damaged.read_text() == "6"


def test_when_a_result_that_could_not_be_fetched_comes_out_otherwise_what_hangs_on_it_runs(
    folder: Shared, pair: list[Workshop]
) -> None:
    one, two = pair
    clock = "import time; Path(made).write_text(str(time.time_ns()))"
    for shop in pair:
        shop.notebook("first.ipynb", "number: int = 3\nmade: str = 'made.txt'", NOTE, "note('first')", clock)
    one.caderno("run")
    at(folder, one).write_text("x")
    assert "4 to fetch" in two.caderno("plan")
    assert two.caderno("run").code == 0
    assert sorted(two.calls()) == ["first", "left", "right", "third"]
    assert two.record("second[side=left]").inputs["made"][0].digest == two.record("first").outputs["made"].digest


def test_two_machines_at_once_are_harmless(pair: list[Workshop]) -> None:
    one, two = pair
    processes = [shop.start("run") for shop in pair]
    for process in processes:
        done = ended(process)
        assert done.code == 0, done.out
    assert outputs(one) == outputs(two)
    assert states(one) | states(two) <= {"succeeded", "fetched", "cached"}


def test_a_matrix_whose_values_come_from_a_fetched_output_is_unfolded(folder: Shared, new_shop: NewShop) -> None:
    def opened(shop: Workshop) -> Workshop:
        shop.notebook("folds.ipynb", "made: str = ''", NOTE, "note('folds'); Path(made).write_text('[1, 2]')")
        shop.notebook("train.ipynb", "fold: int = 0\nout: str = ''", NOTE, "note(str(fold)); Path(out).touch()")
        shop.pipeline("""
            folds: {notebook: folds.ipynb, outputs: {made: folds.json}}
            train: {notebook: train.ipynb, matrix: {fold: {from: folds.made}}, outputs: {out: out.txt}}
        """)
        return folder.joined(shop)

    one, two = opened(new_shop()), opened(new_shop())
    assert one.caderno("run").code == 0
    done = two.caderno("run")
    assert done.code == 0, done.out
    assert two.calls() == []
    assert two.run_states() == {"folds": "fetched", "train[fold=1]": "fetched", "train[fold=2]": "fetched"}


def test_ctrl_c_while_it_fetches_ends_the_run_and_the_next_goes_on(folder: Shared, new_shop: NewShop) -> None:
    def big(shop: Workshop) -> Workshop:
        shop.notebook("one.ipynb", "made: str = 'made.bin'", "made")
        shop.pipeline("one: {notebook: one.ipynb, outputs: {made: made.bin}}")
        return folder.joined(shop)

    one, two = big(new_shop()), big(new_shop())
    remote = folder.elsewhere(one)
    for place, record in settled(one, os.urandom(300_000_000)):
        remote.push(place, record, lambda: False)
    process = two.start("run")
    until(lambda: any(two.store.home("one").glob("*.part/.*")))
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 130, done.out
    assert two.run_states() == {"one": "killed"}
    assert list(two.store.home("one").glob("*.part"))
    assert two.caderno("run").code == 0
    assert two.run_states() == {"one": "fetched"}


@pytest.mark.parametrize(
    ("remote", "said"),
    [
        ("s33://team/results", "did you mean 's3'?"),
        ("gs://team/results", "pip install gcsfs"),
        ("s3//team", "is not there: make the folder, or mount it"),
    ],
)
def test_a_wrong_url_is_an_error_before_anything_starts(pair: list[Workshop], remote: str, said: str) -> None:
    done = pair[0].caderno("run", "first", env={"CADERNO_REMOTE": remote})
    assert said in done
    assert "Traceback" not in done
    if "://" in remote:
        assert done.code == 2
        assert pair[0].calls() == []
        forced = pair[0].caderno("run", "--force", "first", env={"CADERNO_REMOTE": remote})
        assert (forced.code, pair[0].calls()) == (2, [])


def test_a_bucket_that_is_not_there_and_a_server_that_is_off(s3: S3, pair: list[Workshop]) -> None:
    done = pair[0].caderno("plan", env={**s3.variables, "CADERNO_REMOTE": "s3://nobodys/results"})
    assert (done.code, "there is no nobodys" in done) == (2, True)
    off = {**s3.variables, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "CADERNO_REMOTE": s3.url}
    began = time.monotonic()
    done = pair[0].caderno("run", "first", env=off)
    assert done.code == 0, done.out
    assert done.out.count("does not answer") == 2, "once, and why it was not sent"
    assert time.monotonic() - began < 60


def test_results_travel_through_the_artifacts_of_mlflow_runs(server: Server, new_shop: NewShop) -> None:
    shared = Shared("mlflow", {"MLFLOW_TRACKING_URI": server.uri})
    one, two = (shared.joined(staged(new_shop())) for _ in range(2))
    done = one.caderno("run")
    assert done.code == 0, done.out
    done = two.caderno("run")
    assert done.code == 0, done.out
    assert two.calls() == []
    assert states(two) == {"fetched"}
    assert outputs(two) == outputs(one)
    server.stop()
    try:
        helper = two.root / "lib" / "tools.py"
        helper.write_text(helper.read_text().replace("2 * x", "3 * x"))
        done = two.caderno("run", "first")
        assert done.code == 0, done.out
        assert "could not be sent" in done
    finally:
        server.start()
    assert two.caderno("run", "first").code == 0
    (one.root / "lib" / "tools.py").write_text(helper.read_text())
    done = one.caderno("run", "first")
    assert done.code == 0, done.out
    assert one.run_states() == {"first": "fetched"}
