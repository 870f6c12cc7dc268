"""Days that Airflow takes up later have the results of days that were run one by one."""

from __future__ import annotations

import pytest
from processes import until
from together import Local, Site

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]
DAYS = ["2026-02-03", "2026-02-04", "2026-02-05"]


def test_a_backfill_has_the_results_of_days_run_one_by_one(site: Site, local: Local) -> None:
    client, tally = site.rig.client, site.tally.now()
    number = client.backfill(site.dag, DAYS[0], DAYS[-1], at_once=2)
    until(lambda: client.ask("GET", f"backfills/{number}")["completed_at"], 600, "the end of the backfill")
    runs = [one for one in client.runs(site.dag) if one["run_type"] == "backfill"]
    assert {one["logical_date"][:10] for one in runs} == set(DAYS)
    assert {one["state"] for one in runs} == {"success"}
    assert set(tally.count("ended").values()) == {1}
    alone, found = local(*DAYS), site.results()
    assert {key: found.get(key) for key in alone} == alone
