"""From a run to a champion and back, on a small project with real kernels and a real registry."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from unittest.mock import patch

import pytest
from deliveries import (
    AUTHOR,
    BEST,
    BETTER,
    FIRST,
    GATE,
    NOISE,
    REVIEWER,
    SWEEP,
    WORSE,
    delivery,
    git,
    last,
    project,
    run,
    told,
)
from servers import free_port
from workshop import PIPELINE, Workshop

from caderno.deliver import decisions
from caderno.deliver.files import Tampered
from caderno.deliver.ledger import Ledger, Outpaced, Row
from caderno.deliver.registry import Alias, Registry
from caderno.errors import TrackingError

pytestmark = pytest.mark.kernel

ANOTHER = "Second Reviewer <second@example.org>"


def aliases(shop: Workshop) -> dict[Alias, str]:
    return delivery(shop).registry.aliases()


def rows(shop: Workshop) -> list[Row]:
    return delivery(shop).ledger.rows()


def actions(shop: Workshop) -> list[str]:
    return [row.entry.action for row in rows(shop)]


def approved(shop: Workshop) -> None:
    delivery(shop).sign("approve", None, REVIEWER, "looked at")


# The way of a version.


def test_a_release_is_registered_decided_on_and_challenges(prepared: Workshop) -> None:
    assert aliases(prepared) == {"champion": "1", "challenger": "2"}
    assert actions(prepared) == ["release", "decide", "approve", "promote", "release", "decide"]
    version = prepared.client().get_model_version(PIPELINE, "2")
    assert version.tags["caderno.task"] == f"train[skill={BETTER}]"
    assert len(version.tags["caderno.fingerprint"]) == 64
    decided = rows(prepared)[-1].entry
    assert decided.facts["outcome"] == "promote"
    assert decided.facts["champion"] == "1"
    assert set(decided.digests) == {"files", "test", "report", "record", "notebook"}


def test_the_decision_is_a_page_and_json_with_its_figures(prepared: Workshop) -> None:
    page = prepared.root / f"reports/{PIPELINE}/decisions/{PIPELINE}.v2.1.html"
    assert "version 2" in page.read_text()
    kept = json.loads(page.with_suffix(".json").read_text())
    assert kept["outcome"] == "promote"
    assert kept["difference"]["low"] > 0
    assert kept["others"] == {f"train[skill={BETTER}]": BETTER, f"train[skill={WORSE}]": WORSE}
    assert {one["value"] for one in kept["slices"]} == {"north", "south"}
    assert kept["packaged"]["same_as_json"]
    assert kept["packaged"]["pickles"] == ["python_model.pkl"]
    assert kept["look"] == 1
    assert kept["champion_task"] == f"train[skill={FIRST}]"
    shown = (prepared.root / "reports/index.html").read_text()
    assert "champion v1" in shown
    assert "challenger v2" in shown
    assert "models.html" in shown


def test_all_pages_come_back_from_what_is_kept(delivered: Workshop) -> None:
    pages = {path: path.read_bytes() for path in (delivered.root / "reports").rglob("*") if path.is_file()}
    shutil.rmtree(delivered.root / "reports")
    assert told(delivered, "report").code == 0
    for name in (f"{PIPELINE}/models.html", f"{PIPELINE}/decisions/{PIPELINE}.v2.1.html"):
        path = delivered.root / "reports" / name
        assert path.read_bytes() == pages[path], name
    assert "champion v1" in (delivered.root / "reports/index.html").read_text()


def test_approval_by_another_then_promotion(delivered: Workshop) -> None:
    missing = told(delivered, "promote")
    assert missing.code == 3
    assert "1 approval of 1 missing" in missing
    own = told(delivered, "approve", "--why", "mine")
    assert own.code == 3
    assert "author" in own
    assert actions(delivered)[-1] == "decide", "what is not allowed leaves no row"
    done = told(delivered, "approve", "--why", "looked at", "--as", str(REVIEWER))
    assert done.code == 0, done.out
    assert "nothing is missing" in done
    done = told(delivered, "promote", "--why", "better")
    assert done.code == 0, done.out
    assert aliases(delivered) == {"champion": "2"}
    last = rows(delivered)[-1].entry
    assert (last.action, last.old, last.new, last.who) == ("promote", "1", "2", str(AUTHOR))
    listed = told(delivered, "models").out
    assert "champion" in listed
    assert "was champion" in listed
    history = told(delivered, "history").out
    for word in ("promote v1 → v2", "looked at", str(REVIEWER), "better"):
        assert word in history


def test_two_approvals_are_of_two_people(delivered: Workshop) -> None:
    file = delivered.root / f"params/{PIPELINE}.yaml"
    file.write_text(file.read_text().replace("approvals: 1", "approvals: 2"))
    approved(delivered)
    approved(delivered)
    steps = delivery(delivered)
    assert steps.lacking("2") == ["1 approval of 2 missing"]
    assert told(delivered, "approve", "--why", "me too", "--as", ANOTHER).code == 0
    assert steps.lacking("2") == []


def test_a_refusal_stands_until_the_same_person_approves(delivered: Workshop) -> None:
    approved(delivered)
    assert told(delivered, "refuse", "2", "--why", "the south looks odd", "--as", ANOTHER).code == 0
    assert aliases(delivered) == {"champion": "1"}
    refused = told(delivered, "promote", "2")
    assert refused.code == 3
    assert "the south looks odd" in refused
    assert told(delivered, "approve", "2", "--why", "it was the feed", "--as", ANOTHER).code == 0
    assert told(delivered, "promote", "2").code == 0


@pytest.mark.parametrize(("skill", "outcome", "challenger"), [(NOISE, "hold", True), (WORSE, "refuse", False)])
def test_noise_is_held_and_worse_is_refused(delivered: Workshop, skill: float, outcome: str, challenger: bool) -> None:
    last(delivered, skill)
    done = told(delivered, "release")
    assert done.code == 3
    assert f"{outcome}\n" in done
    assert aliases(delivered).get("challenger") == ("3" if challenger else "2")
    forced = told(delivered, "promote", "3")
    assert forced.code == 3
    assert f"the gate says {outcome}" in forced


def test_an_emergency_overrides_and_is_marked_for_ever(delivered: Workshop) -> None:
    assert told(delivered, "promote", "--emergency").code == 2
    done = told(delivered, "promote", "--emergency", "--why", "the champion is down")
    assert done.code == 0, done.out
    entry = rows(delivered)[-1].entry
    assert entry.facts["emergency"] is True
    assert entry.facts["lacking"] == ["1 approval of 1 missing"]
    assert "EMERGENCY" in told(delivered, "history")
    assert "emergency" in (delivered.root / f"reports/{PIPELINE}/models.html").read_text()


def test_rollback_goes_to_the_champion_before(delivered: Workshop) -> None:
    assert told(delivered, "rollback", "--why", "x").code == 2, "there was no champion before"
    approved(delivered)
    assert told(delivered, "promote").code == 0
    assert told(delivered, "rollback").code == 2, "it needs a reason"
    done = told(delivered, "rollback", "--why", "alarms")
    assert done.code == 0, done.out
    assert aliases(delivered) == {"champion": "1"}
    entry = rows(delivered)[-1].entry
    assert (entry.action, entry.old, entry.new, entry.why) == ("rollback", "2", "1", "alarms")
    assert told(delivered, "rollback", "--to", "v2", "--why", "it was the feed").code == 0
    assert aliases(delivered) == {"champion": "2"}


def test_going_back_to_what_never_reigned_is_no_rollback(delivered: Workshop) -> None:
    approved(delivered)
    assert told(delivered, "promote").code == 0
    last(delivered, BEST)
    assert told(delivered, "release").code in (0, 3)
    done = told(delivered, "rollback", "--to", "3", "--why", "x")
    assert done.code == 3
    assert "never been champion" in done


def test_the_same_question_is_asked_once(delivered: Workshop) -> None:
    last(delivered, BETTER)
    done = told(delivered, "release")
    assert done.code == 0, done.out
    assert "as decided before" in done
    assert len(rows(delivered)) == 6
    approved(delivered)
    assert told(delivered, "promote").code == 0
    again = told(delivered, "release")
    assert again.code == 2
    assert "is the champion already" in again


@pytest.mark.slow
def test_a_decision_against_an_earlier_champion_is_stale(delivered: Workshop) -> None:
    last(delivered, BEST)
    assert told(delivered, "release").code == 0
    assert told(delivered, "promote", "2", "--emergency", "--why", "now").code == 0
    late = told(delivered, "promote", "3")
    assert late.code == 3
    assert "compared with version 1, and the champion is version 2 by now" in late
    assert told(delivered, "release").code in (0, 3)
    decided = rows(delivered)[-1].entry
    assert (decided.version, decided.facts["champion"], decided.facts["decision"]) == ("3", "2", f"{PIPELINE}.v3.2")


@pytest.mark.slow
def test_a_run_delivers_by_itself(new_shop: Callable[[], Workshop]) -> None:
    shop = new_shop()
    project(shop, GATE.replace("approvals: 1", "approvals: 0") + "delivery: automatic\n")
    assert "version 1 is the champion now" in run(shop, FIRST)
    assert "is tiny's champion already" in run(shop, FIRST)
    assert "version 2 is the champion now" in run(shop, BETTER)
    held = run(shop, 0.9005)
    assert "version 3 is not promoted (the gate says hold" in held
    assert aliases(shop) == {"champion": "2", "challenger": "3"}
    before = len(rows(shop))
    assert "version 3 is not promoted (the gate says hold" in run(shop, 0.9005)
    assert len(rows(shop)) == before
    assert shop.caderno("run", "data").code == 0, "a run without candidates delivers nothing"


@pytest.mark.slow
def test_a_run_that_delivers_by_itself_waits_for_who_must_approve(new_shop: Callable[[], Workshop]) -> None:
    shop = new_shop()
    project(shop, f"{GATE}delivery: automatic\n")
    assert "version 1 is not promoted (1 approval of 1 missing)" in run(shop, FIRST)
    assert aliases(shop) == {"challenger": "1"}
    approved(shop)
    assert "version 1 is the champion now" in run(shop, FIRST)
    assert actions(shop) == ["release", "decide", "approve", "promote"]


@pytest.mark.slow
def test_candidates_that_were_made_one_by_one_are_delivered_together(new_shop: Callable[[], Workshop]) -> None:
    shop = new_shop()
    project(shop, GATE.replace("approvals: 1", "approvals: 0") + "delivery: automatic\n", SWEEP)
    for skill in (WORSE, BETTER, FIRST):
        done = shop.caderno("run", f"train[skill={skill}]", "data", "--no-deliver")
        assert done.code == 0, done.out
    assert not rows(shop)
    assert "--deliver needs data: name it too" in shop.caderno("run", "train", "--deliver")
    words = ["run", *(f"train[skill={skill}]" for skill in (WORSE, BETTER, FIRST)), "data", "--deliver", "--json"]
    lines = shop.caderno(*words).out.splitlines()
    told = json.loads([line for line in lines if line.startswith('{"event":"model_delivered"')][-1])
    assert (told["model"], told["version"], told["outcome"], told["promoted"]) == (PIPELINE, "1", "promote", True)
    assert rows(shop)[0].entry.facts["task"] == f"train[skill={BETTER}]"
    again = shop.caderno(*words).out
    assert '"outcome":"champion"' in again
    assert '"promoted":false' in again


@pytest.mark.slow
def test_the_ledger_stands_beside_mlflow_in_postgresql(shop: Workshop, postgres: str) -> None:
    project(shop)
    env = {"MLFLOW_TRACKING_URI": postgres}
    for command in (["run"], ["release"], ["approve", "--why", "fine", "--as", str(REVIEWER)], ["promote"]):
        done = shop.caderno(*command, env=env)
        assert done.code == 0, done.out
    assert not (shop.root / "data/ledger.db").exists()
    assert [row.entry.action for row in Ledger(postgres).rows()] == ["release", "decide", "approve", "promote"]
    assert "4 rows in order" in shop.caderno("ledger", "verify", env=env)
    version = next((shop.root / "data/tiny/train").glob("*/model/MLmodel"))
    shutil.rmtree(version.parent)
    assert "4 rows in order" in shop.caderno("ledger", "verify", env=env), "the files come from MLflow"


# Trust.


def test_a_changed_model_file_is_found_named_and_never_loaded(delivered: Workshop) -> None:
    approved(delivered)
    steps = delivery(delivered)
    with steps.files(steps.standing().versions["2"]) as folder:
        model = folder / "python_model.pkl"
    payload = b"cos\nsystem\n(S'touch " + str(delivered.root / "ran").replace(" ", "?").encode() + b"'\ntR."
    model.write_bytes(payload)
    for command in (["promote"], ["approve", "--why", "x", "--as", ANOTHER], ["ledger", "verify"]):
        done = told(delivered, *command)
        assert done.code == 3, done.out
        assert "python_model.pkl was changed" in done
    last(delivered, BETTER)
    run_again = told(delivered, "release")
    assert run_again.code == 2
    assert "is not what the run made" in run_again
    assert not (delivered.root / "ran").exists()
    assert aliases(delivered) == {"champion": "1", "challenger": "2"}


def test_a_file_beside_the_model_is_found(delivered: Workshop) -> None:
    steps = delivery(delivered)
    version = steps.standing().versions["2"]
    with steps.files(version) as folder:
        (folder / "sitecustomize.py").write_text("")
    with pytest.raises(Tampered, match=r"sitecustomize\.py was added"), steps.files(version):
        pass


def test_files_come_from_mlflow_where_the_result_is_gone(delivered: Workshop) -> None:
    steps = delivery(delivered)
    version = steps.standing().versions["1"]
    shutil.rmtree(delivered.root / str(version.released.entry.facts["folder"]))
    with steps.files(version) as folder:
        assert (folder / "MLmodel").exists()
    approved(delivered)
    assert told(delivered, "promote").code == 0
    back = told(delivered, "rollback", "--why", "x")
    assert back.code == 0, back.out


@pytest.mark.parametrize("place", ["data", "reports"])
def test_a_changed_report_voids_the_approval(delivered: Workshop, place: str) -> None:
    approved(delivered)
    name = f"{PIPELINE}.v2.1"
    page = delivered.root / f"reports/{PIPELINE}/decisions/{name}.html"
    if place == "data":
        page = decisions.folder_of(delivered.project, PIPELINE, name) / decisions.PAGE
    changed = page.read_text().replace("hold", "promote") + "<!-- -->"
    page.unlink()
    page.write_text(changed)
    done = told(delivered, "promote")
    assert done.code == 3
    assert "its report differs from what was decided on" in done
    assert "is void: the report differ" in done
    signed = told(delivered, "approve", "--why", "x", "--as", ANOTHER)
    assert signed.code == 3
    assert "report" in signed


def test_an_alias_that_was_moved_by_hand_is_found_and_put_back(delivered: Workshop) -> None:
    delivered.client().set_registered_model_alias(PIPELINE, "champion", "2")
    for command in (["models"], ["promote"], ["release"], ["ledger", "verify"]):
        done = told(delivered, *command)
        assert done.code == 3, done.out
        assert "the alias champion names version 2, and the ledger says version 1" in done
    assert told(delivered, "ledger", "restore").code == 0
    assert aliases(delivered) == {"champion": "1", "challenger": "2"}
    assert "6 rows in order" in told(delivered, "ledger", "verify")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("UPDATE caderno_ledger SET entry = replace(entry, 'fine', 'good') WHERE place = 3", "row 3 was changed"),
        ("DELETE FROM caderno_ledger WHERE place = 3", "row 3 is missing"),
        ("DELETE FROM caderno_ledger WHERE place > 4", "the end was cut off"),
    ],
)
def test_a_changed_ledger_is_found_and_refused(delivered: Workshop, change: str, fault: str) -> None:
    with sqlite3.connect(delivered.root / "data/ledger.db") as database:
        for name in ("UPDATE", "DELETE"):
            database.execute(f"DROP TRIGGER caderno_ledger_{name}")
        database.execute(change)
    for command in (["promote", "2"], ["ledger", "verify"]):
        done = told(delivered, *command)
        assert done.code == 3, done.out
        assert fault in done


# Faults.


def test_nothing_is_promised_while_mlflow_is_away(delivered: Workshop) -> None:
    approved(delivered)
    before = len(rows(delivered))
    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}"}
    for command in (["release"], ["promote"], ["approve", "--why", "x", "--as", ANOTHER], ["models"]):
        done = told(delivered, *command, env=away)
        assert done.code == 2, done.out
        assert "does not answer" in done
    assert len(rows(delivered)) == before
    assert told(delivered, "history", env=away).code == 0


def test_an_alias_that_does_not_follow_is_told_and_follows_later(delivered: Workshop) -> None:
    approved(delivered)
    refused = TrackingError("MLflow refuses")
    with patch.object(Registry, "point", side_effect=refused):
        done = told(delivered, "promote")
    assert done.code == 2
    assert "row 8 of the ledger is written, and MLflow's aliases do not follow yet: MLflow refuses" in done
    assert aliases(delivered) == {"champion": "1", "challenger": "2"}
    later = told(delivered, "models")
    assert "completed a step that was cut short: row 8 of the ledger, promote of version 2" in later
    assert aliases(delivered) == {"champion": "2"}


def test_who_was_outpaced_is_told(delivered: Workshop) -> None:
    approved(delivered)
    delivery(delivered).promote("2", AUTHOR, "", False, "1")
    with pytest.raises(Outpaced, match="the champion is version 2 by now, not version 1"):
        delivery(delivered).promote("2", AUTHOR, "", False, "1")


# Bad input.


def test_a_pipeline_without_a_gate_delivers_nothing(shop: Workshop) -> None:
    project(shop, "")
    done = told(shop, "release")
    assert done.code == 2
    assert "has no gate" in done
    assert "params/README.md" in done


def test_what_is_not_there_yet_is_told_with_the_next_command(shop: Workshop) -> None:
    project(shop)
    nothing = told(shop, "release")
    assert nothing.code == 2
    assert "caderno run" in nothing
    assert "nothing was released yet" in told(shop, "models")
    assert "nothing was released yet" in told(shop, "history")
    for command in (["approve", "--why", "x"], ["promote"], ["rollback", "--why", "x"]):
        assert told(shop, *command).code == 2
    git(shop, "config", "--unset", "user.name")
    git(shop, "config", "--unset", "user.email")
    unknown = told(shop, "promote")
    assert unknown.code == 2
    assert "--as" in unknown


def test_nobody_signs_nothing(delivered: Workshop) -> None:
    for nobody in ("", " <> "):
        done = told(delivered, "approve", "--why", "x", "--as", nobody)
        assert done.code == 2
        assert "names nobody" in done


def test_a_version_that_does_not_exist(delivered: Workshop) -> None:
    done = told(delivered, "promote", "7")
    assert done.code == 2
    assert "has no version '7'" in done


def test_candidates_must_log_what_they_are_chosen_by(delivered: Workshop) -> None:
    file = delivered.root / f"params/{PIPELINE}.yaml"
    file.write_text(file.read_text().replace("metric: roc_auc", "metric: brier"))
    done = told(delivered, "release")
    assert done.code == 2
    assert f"train[skill={BEST}] logged no brier" in done
