"""Pages are replaced whole; a page in the reports is the one in the result."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from caderno.report.disk import link, write


def test_a_page_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    page = tmp_path / "new" / "index.html"
    write(page, "ol\u00e1")
    write(page, "two")
    assert page.read_text(encoding="utf-8") == "two"
    assert list(page.parent.iterdir()) == [page]


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    write(page, "old")
    with pytest.raises(UnicodeEncodeError):
        write(page, "\ud800")
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


def test_a_linked_page_is_the_same_file_and_replaces_another(tmp_path: Path) -> None:
    source, target = tmp_path / "report.html", tmp_path / "reports" / "train.html"
    source.write_text("new")
    target.parent.mkdir()
    target.write_text("old")
    link(source, target)
    link(source, target)
    assert target.samefile(source)
    assert list(target.parent.iterdir()) == [target]


def test_a_page_is_copied_where_links_are_not_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    source, target = tmp_path / "report.html", tmp_path / "reports" / "train.html"
    source.write_text("new")
    link(source, target)
    assert target.read_text() == "new"
    assert not target.samefile(source)
    assert list(target.parent.iterdir()) == [target]
