"""How a model stands follows from the rows alone."""

from __future__ import annotations

from typing import Any

import pytest

from caderno.deliver.ledger import Action, Entry, Row
from caderno.deliver.standing import Person, Standing, Wanted, lacking, standing

DIGESTS = {"report": "r", "files": "f", "test": "t"}
AUTHOR, OTHER, THIRD = "Author <a@example.org>", "Other <o@example.org>", "Third <t@example.org>"


def row(action: Action, version: str, who: str = AUTHOR, **more: Any) -> Row:
    facts = {"authors": [AUTHOR]} if action == "release" else more.pop("facts", {})
    digests = {**DIGESTS, "files": f"f{version}", **more.pop("digests", {})}
    return Row(0, Entry(action, "m", version, who, more.pop("why", ""), facts=facts, digests=digests, **more), "", "")


def decided(version: str, outcome: str = "promote", champion: str | None = None, **digests: str) -> Row:
    return row("decide", version, facts={"outcome": outcome, "champion": champion}, digests=digests)


def promoted(version: str, old: str | None = None) -> Row:
    return row("promote", version, old=old, new=version)


def back(version: str, old: str) -> Row:
    return row("rollback", version, old=old, new=version)


FIRST = [row("release", "1"), decided("1"), row("approve", "1", OTHER)]
SECOND = [*FIRST, promoted("1"), row("release", "2"), decided("2", champion="1")]


@pytest.mark.parametrize(
    ("rows", "champion", "challenger"),
    [
        ([], None, None),
        ([row("release", "1")], None, None),
        (FIRST, None, "1"),
        ([*FIRST, promoted("1")], "1", None),
        (SECOND, "1", "2"),
        ([*SECOND, row("refuse", "2", OTHER)], "1", None),
        ([*SECOND, row("release", "3"), decided("3", "hold", "1")], "1", "3"),
        ([*SECOND, row("release", "3"), decided("3", "refuse", "1")], "1", "2"),
        ([*SECOND, decided("2", "refuse", "1")], "1", None),
        ([*SECOND, promoted("2", "1")], "2", None),
        ([*SECOND, promoted("2", "1"), back("1", "2")], "1", None),
    ],
)
def test_who_reigns_and_who_challenges(rows: list[Row], champion: str | None, challenger: str | None) -> None:
    now = standing(rows)
    assert (now.champion, now.challenger) == (champion, challenger)


def test_going_back_twice_goes_further_back() -> None:
    rows = [*SECOND, promoted("2", "1"), row("release", "3"), promoted("3", "2")]
    assert standing(rows).line == ("1", "2", "3")
    assert standing([*rows, back("2", "3")]).line == ("1", "2")
    assert standing([*rows, back("2", "3"), back("1", "2")]).line == ("1",)
    forward = standing([*rows, back("1", "3"), back("3", "1")])
    assert (forward.line, forward.champions) == (("1", "3"), {"1", "2", "3"})


def test_looks_are_counted_for_each_champion_and_question() -> None:
    rows = [*SECOND, row("release", "3"), decided("3", champion="1"), decided("3", champion="1")]
    now = standing(rows)
    assert now.look("f2", "t") == 1
    assert now.look("f3", "t") == 2, "asked twice, counted once"
    assert now.look("f3", "other rows") == 3
    assert standing([*rows, promoted("3", "1")]).look("f4", "t") == 1, "a new champion"


def missing(rows: list[Row], approvals: int = 1, four_eyes: bool = True, **digests: str) -> list[str]:
    now = standing(rows)
    version = now.versions[now.challenger or rows[-1].entry.version]
    return lacking(now, version, Wanted(approvals, four_eyes), {**DIGESTS, "files": f"f{version.number}", **digests})


def test_what_lacks() -> None:
    assert missing(FIRST) == []
    assert missing(FIRST[:2]) == ["1 approval of 1 missing"]
    assert missing(FIRST[:1]) == ["the gate has not decided on it"]
    assert missing(FIRST, approvals=3) == ["2 approvals of 3 missing"]
    assert missing(FIRST[:2], approvals=0) == []


def test_what_the_gate_does_not_let_pass() -> None:
    assert missing([row("release", "1"), decided("1", "hold"), row("approve", "1", OTHER)]) == ["the gate says hold: "]


def test_the_author_counts_only_without_four_eyes() -> None:
    rows = [*FIRST[:2], row("approve", "1", "A. Uthor <A@example.org>")]
    assert missing(rows, four_eyes=False) == []
    assert missing(rows)[0].endswith("it is the author's own, and four eyes are wanted")


def test_one_person_counts_once_and_the_last_word_counts() -> None:
    rows = [*FIRST, row("approve", "1", "The Other <o@example.org>")]
    assert missing(rows, approvals=2) == ["1 approval of 2 missing"]
    refused = [*FIRST, row("approve", "1", THIRD), row("refuse", "1", OTHER, why="no")]
    assert missing(refused) == [f"{OTHER} refused it: no"]
    assert missing([*refused, row("approve", "1", OTHER)]) == []


def test_a_signature_is_void_when_what_was_signed_differs() -> None:
    found = missing(FIRST, report="another")
    assert "its report differs from what was decided on" in found
    assert f"the approval of {OTHER} is void: the report differ from what was signed" in found


def test_a_new_decision_needs_new_signatures() -> None:
    assert missing([*FIRST, decided("1", report="r2")], report="r2") == ["1 approval of 1 missing"]


def test_a_decision_against_another_champion_is_stale() -> None:
    rows = [*SECOND, row("release", "3"), promoted("3", "1"), decided("2", champion="1"), row("approve", "2", OTHER)]
    assert missing(rows)[0] == "it was compared with version 1, and the champion is version 3 by now"


@pytest.mark.parametrize(
    ("text", "name", "mail"),
    [("A B <a@b>", "A B", "a@b"), ("A B", "A B", ""), ("<a@b>", "a@b", "a@b"), (" A <a@b> ", "A", "a@b")],
)
def test_who_somebody_is(text: str, name: str, mail: str) -> None:
    assert Person.read(text) == Person(name, mail)


def test_people_are_the_same_by_mail_else_by_name() -> None:
    assert Person("A", "x@y").is_(Person("B", "X@y"))
    assert not Person("A", "x@y").is_(Person("A", "z@y"))
    assert Person("a").is_(Person("A", "x@y"))


def test_nothing_is_a_standing_too() -> None:
    assert standing([]) == Standing()
