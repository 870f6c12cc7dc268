"""What people and programs do with a DAG through Airflow's REST API."""

from __future__ import annotations

import psutil
import pytest
from processes import marked, until
from together import Site

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]


def test_a_run_is_triggered_polled_read_and_cleared(site: Site) -> None:
    client, tally = site.rig.client, site.tally.now()
    run = site.run("2026-02-15")
    assert client.state(site.dag, run) == "success"
    assert "join" in client.log(site.dag, run, "join")
    client.clear(site.dag, run, ["join"])
    site.succeeds(run)
    assert client.task(site.dag, run, "join")["try_number"] == 2
    assert set(tally.count("ended").values()) == {1}, "a cleared task takes up what is there"


def test_a_cleared_task_that_runs_ends_all_its_processes(site: Site) -> None:
    client, tally = site.rig.client, site.tally.now()
    with tally.hold("measure-a"):
        run = client.trigger(site.dag, "2026-02-16")
        machine = site.rig.machines[tally.begun("measure a")]
        of_task = {one for one in marked(machine.worker.mark) if one.pid != machine.worker.pid}
        assert any(one.name() == "sleep" for one in of_task), "what the notebook started"
        client.clear(site.dag, run, [["measure", 0]])
        until(lambda: not any(map(alive, of_task)), 60, lambda: f"the end of {[one for one in of_task if alive(one)]}")
    site.succeeds(run)
    assert tally.count("begun").most_common(1)[0][1] == 2
    assert set(tally.count("ended").values()) == {1}
    assert not site.running()


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
