"""One DAG on two machines: its tasks land on both, and the results are those of a local run."""

from __future__ import annotations

import pytest
from together import Local, Site

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]


def test_the_tasks_of_a_dag_run_on_both_machines_with_the_results_of_a_local_run(site: Site, local: Local) -> None:
    tally = site.tally.now()
    run = site.run("2026-02-20")
    hosts = {one["task_id"]: set[str]() for one in site.rig.client.tasks(site.dag, run)}
    for one in site.rig.client.tasks(site.dag, run):
        hosts[one["task_id"]].add(one["hostname"])
    assert hosts["gather"] == {"m1"}
    assert hosts["join"] == {"m2"}
    assert hosts["measure"] <= {"m1", "m2"}
    assert {work.split()[0] for work in tally.count("ended")} == {"gather", "measure", "join"}
    assert set(tally.count("ended").values()) == {1}
    alone, found = local("2026-02-20"), site.results()
    assert {key: found.get(key) for key in alone} == alone
    assert not site.running()
