"""What dies, or is away for a while, while a DAG runs: the run ends right, and what was finished stays finished."""

from __future__ import annotations

import time

import pytest
from small import Tally
from together import Site

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]


def once(site: Site, tally: Tally, *again: str) -> None:
    """Each piece of work was finished once, and begun once but for `again`; MLflow has nothing open."""
    assert set(tally.count("ended").values()) == {1}, tally.lines()
    twice = {work for work, times in tally.count("begun").items() if times > 1}
    assert {work.split(" of ")[0] for work in twice} <= set(again), tally.lines()
    assert not site.running()


def test_a_machine_dies_in_the_middle_of_a_task(site: Site) -> None:
    tally = site.tally.now()
    with tally.hold("measure-b"):
        run = site.rig.client.trigger(site.dag, "2026-02-11")
        machine = site.rig.machines[tally.begun("measure b")]
        machine.worker.kill()
    time.sleep(3)
    machine.start()
    site.succeeds(run)
    once(site, tally, "measure b")
    assert site.rig.client.task(site.dag, run, "measure", 1)["try_number"] == 2


def test_the_scheduler_dies_in_the_middle_of_a_task(site: Site) -> None:
    tally = site.tally.now()
    with tally.hold("measure-b"):
        run = site.rig.client.trigger(site.dag, "2026-02-12")
        tally.begun("measure b")
        site.rig.scheduler.kill()
        time.sleep(5)
    site.rig.scheduler.start()
    site.succeeds(run)
    once(site, tally)


def test_the_database_is_away_for_twenty_seconds(site: Site) -> None:
    tally = site.tally.now()
    with tally.hold("measure-b"):
        run = site.rig.client.trigger(site.dag, "2026-02-13")
        tally.begun("measure b")
        site.rig.database.kill()
        time.sleep(20)
        site.rig.database.start()
    site.succeeds(run)
    once(site, tally)


def test_the_store_is_away_while_a_task_ends(site: Site) -> None:
    tally = site.tally.now()
    store, gone = site.store, site.store.with_name("gone")
    with tally.hold("measure-b"):
        run = site.rig.client.trigger(site.dag, "2026-02-14")
        tally.begun("measure b")
        store.rename(gone)
    time.sleep(10)
    gone.rename(store)
    site.succeeds(run)
    once(site, tally)
