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
    assert {work.split()[0] for work in twice} == set(again), tally.lines()
    assert not site.running()


def test_a_machine_dies_in_the_middle_of_a_task(site: Site) -> None:
    tally = site.tally.now()
    with tally.hold("join"):
        run = site.rig.client.trigger(site.dag, "2026-02-11")
        machine = site.rig.machines[tally.begun("join")]
        machine.worker.kill()
    time.sleep(3)
    machine.start()
    site.succeeds(run)
    once(site, tally, "join")
    assert site.rig.client.task(site.dag, run, "join")["try_number"] == 2


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


def test_the_bucket_does_not_answer_while_a_task_ends(site: Site) -> None:
    tally = site.tally.now()
    with tally.hold("measure-z"):
        run = site.rig.client.trigger("pair", "2026-02-14")
        tally.begun("measure z")
        site.bucket.pause()
    time.sleep(10)
    site.bucket.resume()
    site.succeeds(run, dag="pair")
    once(site, tally)


def test_a_worker_dies_and_leaves_its_task_running(site: Site) -> None:
    tally, worker = site.tally.now(), site.rig.machines["m2"].worker
    with tally.hold("measure-z"):
        run = site.rig.client.trigger("pair", "2026-02-17")
        tally.begun("measure z")
        worker.kill(alone=True)
        worker.start()
    site.succeeds(run, dag="pair")
    once(site, tally)
    assert site.rig.client.task("pair", run, "measure")["try_number"] == 1
