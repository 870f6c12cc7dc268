"""Somebody approves a model on Airflow's pages: it is in the ledger, and the model is promoted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from together import Site

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

DAG, APPROVAL = "model", "model.approval"


def test_a_model_waits_for_who_approves_in_airflow(site: Site) -> None:
    client = site.rig.client
    made(site, 0.6)
    asked = client.question(APPROVAL, "model.v1.1", "approve")
    assert asked["subject"] == "Shall version 1 of model answer in production?"
    assert "| roc_auc | 0." in asked["body"]
    assert "1 approval of 1 missing" in asked["body"]
    made(site, 0.6)
    assert len(client.runs(APPROVAL)) == 1, "nobody is asked the same twice"
    client.answer(APPROVAL, "model.v1.1", "approve", "Approve", why=" ")
    client.question(APPROVAL, "model.v1.1", "approve")
    who = client.answer(APPROVAL, "model.v1.1", "approve", "Approve", why="stable in all shops")["responded_by"]
    site.succeeds("model.v1.1", dag=APPROVAL)
    assert models(site)["champion"] == "1"
    (signed,) = models(site)["versions"][0]["signed"]
    assert (signed["action"], signed["who"], signed["why"]) == ("approve", who["name"], "stable in all shops")
    assert [one["extra"]["version"] for one in client.ask("GET", "assets/events")["asset_events"]] == ["1"]

    made(site, 0.9)
    client.question(APPROVAL, "model.v2.1", "approve")
    client.answer(APPROVAL, "model.v2.1", "approve", "Refuse", why="too good to be true")
    site.succeeds("model.v2.1", dag=APPROVAL)
    assert client.task(APPROVAL, "model.v2.1", "promote")["state"] == "skipped"
    assert (models(site)["champion"], models(site)["challenger"]) == ("1", None)


def made(site: Site, skill: float) -> str:
    """Let Airflow train and deliver a model; return the run."""
    run = site.rig.client.trigger(DAG, skill=skill)
    site.succeeds(run, dag=DAG)
    return run


def models(site: Site) -> Any:
    """Return what the ledger says on the machine that delivers."""
    done = site.machines["m1"].caderno(
        "models", "--pipeline", DAG, "--json", env=site.rig.machines["m1"].variables | {"PATH": "/usr/bin:/bin"}
    )
    assert done.code == 0, done.out
    return json.loads(done.out)
