"""What is served changes whole, and only to what can be served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from serve.conftest import Said

from caderno.errors import CadernoError
from caderno.serve import shelf as shelves
from caderno.serve.batching import Settings
from caderno.serve.errors import NotFound
from caderno.serve.shelf import Shelf
from caderno.serve.sources import Folder, Wanted

NAME = "half_plus_two"


class Changing(Folder):
    """Versions of one folder, of which some can't be had."""

    def __init__(self, folder: Path) -> None:
        super().__init__(NAME, folder)
        self.now = Wanted(("1",), {"champion": "1"}, "1")
        self.broken: set[str] = set()
        self.away = ""

    def wanted(self) -> Wanted:
        if self.away:
            raise CadernoError(self.away)
        return self.now

    def files(self, version: str) -> AbstractContextManager[Path]:
        if version in self.broken:
            raise CadernoError(f"version {version} is not what was registered: MLmodel was changed")
        return super().files(version)

    def promote(self, version: str) -> None:
        self.now = Wanted((version,), {"champion": version}, version)


@pytest.fixture
def source(models: Path) -> Changing:
    return Changing(models / NAME)


@pytest.fixture
def shelf(source: Changing) -> Iterator[Shelf]:
    made = Shelf([source], Settings(), Said())
    made.refresh()
    yield made
    made.end()


def champion(shelf: Shelf) -> str:
    with shelf.picked(NAME, label="champion") as version:
        return version.number


def test_while_a_new_champion_cannot_be_loaded_the_old_one_answers_and_why_is_said(
    source: Changing, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.broken = {"2"}
    source.promote("2")
    for _ in range(3):  # the reason stays, for as long as it holds
        shelf.refresh()
        assert champion(shelf) == "1"
        assert "MLmodel was changed" in shelf.troubles[NAME]
        assert shelf.ready
    source.broken = set()
    shelf.refresh()
    assert champion(shelf) == "1"  # it is not tried again at once
    monkeypatch.setattr(shelves, "_AGAIN", 0.0)
    shelf.refresh()
    assert champion(shelf) == "2"
    assert not shelf.troubles


def test_a_change_back_is_followed_while_the_other_cannot_be_loaded(source: Changing, shelf: Shelf) -> None:
    source.broken = {"2"}
    source.promote("2")
    shelf.refresh()
    source.promote("1")
    shelf.refresh()
    assert champion(shelf) == "1"
    assert not shelf.troubles


def test_a_ledger_that_is_away_changes_nothing_and_is_said_until_it_is_back(source: Changing, shelf: Shelf) -> None:
    source.away = "the ledger can't be used: it is locked"
    shelf.refresh()
    assert champion(shelf) == "1"
    assert shelf.troubles == {NAME: source.away}
    source.away = ""
    shelf.refresh()
    assert not shelf.troubles


def test_who_holds_a_version_keeps_it_until_it_was_answered(source: Changing, shelf: Shelf) -> None:
    with shelf.picked(NAME) as held:
        source.promote("2")
        shelf.refresh()
        assert champion(shelf) == "2"
        with pytest.raises(NotFound), shelf.picked(NAME, "1"):
            pass
        assert held.memory() > 0  # its processes are still there
