"""Promotions and rollbacks while many ask: no request fails, and each answer is of the version that it names."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from deliveries import AUTHOR, BEST, BETTER, FIRST, REVIEWER, delivery, last, told
from serve.running import Load, Reply, Running, rows, running
from workshop import PIPELINE, Workshop

SKILLS = {"1": FIRST, "2": BETTER, "3": BEST}
ROWS = rows(0.3, -1.2)
PREDICT = f"/v1/models/{PIPELINE}:predict"


def expected(version: str) -> list[float]:
    skill = SKILLS[version]
    return [1 / (1 + math.exp(-2 * (skill * row["x"] + (1 - skill) * row["noise"]))) for row in ROWS]


def mixed(reply: Reply) -> str:
    """Return what is wrong with an answer: not of the version that it names."""
    if reply.status != 200:
        return f"{reply.status} {reply.body[:300]!r}"
    version = reply.headers["Model-Version"]
    if reply.json["predictions"] != pytest.approx(expected(version), rel=1e-12):
        return f"version {version} said {reply.json}"
    return ""


def champion(service: Running) -> str:
    return service.post(PREDICT, {"instances": ROWS}).headers["Model-Version"]


def three(shop: Workshop) -> None:
    """Make three versions that have all been champion; the third is it now."""
    delivery(shop).promote("2", AUTHOR, "test", True, "1")
    last(shop, BEST)
    assert told(shop, "release").code in (0, 3)
    delivery(shop).sign("approve", "3", REVIEWER, "fine")
    delivery(shop).promote("3", AUTHOR, "test", True, "2")


def test_a_promotion_and_a_rollback_are_live_within_seconds_without_a_failed_request(delivered: Workshop) -> None:
    with running(delivered.root, delivered.variables) as service, Load(service, PREDICT, {"instances": ROWS}) as load:
        load.wrong = mixed
        assert champion(service) == "1"
        delivery(delivered).promote("2", AUTHOR, "test", True, "1")
        assert service.wait(PREDICT.replace(":predict", "/labels/champion"), lambda one: b'"2"' in one.body) < 5
        assert champion(service) == "2"
        delivery(delivered).rollback(None, AUTHOR, "test")
        service.wait(PREDICT.replace(":predict", "/labels/champion"), lambda one: b'"1"' in one.body, 5)
        time.sleep(0.5)
    assert load.failures == []
    assert load.answers.keys() == {"1", "2"}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_hundred_swaps_under_load_fail_no_request_and_mix_no_versions(delivered: Workshop) -> None:
    three(delivered)
    taken = []
    label = f"/v1/models/{PIPELINE}/labels/champion"
    with running(delivered.root, delivered.variables) as service, Load(service, PREDICT, {"instances": ROWS}) as load:
        load.wrong = mixed
        for number in range(100):  # 1, 2, 3, 1, …: each is loaded anew
            version = str(number % 3 + 1)
            delivery(delivered).rollback(version, AUTHOR, "test")
            taken.append(service.wait(label, lambda one, version=version: f'"{version}"'.encode() in one.body))
        assert len(service.processes()) <= 1 + 2 * 4  # champion, challenger, the one before, one that ends
    print(f"{sum(load.answers.values())} answers, {len(load.failures)} failed; a swap took {sorted(taken)[50]:.1f} s")
    assert load.failures == []
    assert load.answers.keys() == {"1", "2", "3"}


@pytest.mark.slow
def test_a_champion_whose_files_were_changed_is_not_loaded_and_the_old_one_goes_on(delivered: Workshop) -> None:
    label = f"/v1/models/{PIPELINE}/labels/champion"
    with running(delivered.root, delivered.variables) as service:
        service.wait(label, lambda one: b'"1"' in one.body)
        now = delivery(delivered).standing()
        facts = now.versions["2"].released.entry.facts
        delivery(delivered).promote("2", AUTHOR, "test", True, "1")
        service.wait(label, lambda one: b'"2"' in one.body)
        delivery(delivered).rollback("1", AUTHOR, "test")
        service.wait(label, lambda one: b'"1"' in one.body)
    file = Path(delivered.root, facts["folder"], facts["output"], "MLmodel")
    delivery(delivered).rollback("2", AUTHOR, "test")
    file.chmod(0o644)
    file.write_text(file.read_text("utf-8") + "\n", "utf-8")
    with running(delivered.root, delivered.variables) as service:
        # Nothing was loaded before: the changed champion is not, and there is no old one to go on.
        assert service.post(PREDICT, {"instances": ROWS}).status == 404
        assert "was changed" in service.told()


def test_mlflow_is_not_needed_to_serve(delivered: Workshop) -> None:
    variables = {**delivered.variables, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    with running(delivered.root, variables) as service:
        assert champion(service) == "1"
