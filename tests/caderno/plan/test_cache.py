from __future__ import annotations

import os
from pathlib import Path

import pytest

from caderno.plan.cache import StatCache


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that was last changed long ago."""
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (1, 1))
    return path


def asked(cache: StatCache, path: Path) -> tuple[str, bool]:
    """Return (the value, whether it was computed anew)."""
    computed = []

    def compute(path: Path) -> str:
        computed.append(path)
        return path.read_text()

    return cache.get("text", path, compute), bool(computed)


def test_a_file_is_read_once_as_long_as_it_is_unchanged(tmp_path: Path, file: Path) -> None:
    cache = StatCache(tmp_path / "state/cache.json")
    assert asked(cache, file) == ("one", True)
    assert asked(cache, file) == ("one", False)
    cache.save()
    assert asked(StatCache(tmp_path / "state/cache.json"), file) == ("one", False)


def test_a_changed_file_is_read_again(tmp_path: Path, file: Path) -> None:
    cache = StatCache(tmp_path / "cache.json")
    asked(cache, file)
    file.write_text("two")
    assert asked(cache, file) == ("two", True)


def test_a_file_changed_just_now_is_not_kept(tmp_path: Path, file: Path) -> None:
    cache = StatCache(tmp_path / "cache.json")
    file.write_text("two")
    asked(cache, file)
    assert asked(cache, file) == ("two", True)


def test_a_cache_that_cant_be_written_is_no_error(tmp_path: Path, file: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder would be")
    cache = StatCache(tmp_path / "state/cache.json")
    assert asked(cache, file) == ("one", True)
    cache.save()


def test_a_file_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        asked(StatCache(tmp_path / "cache.json"), tmp_path / "nowhere")


def test_two_kinds_of_value_of_one_file_are_two(tmp_path: Path, file: Path) -> None:
    cache = StatCache(tmp_path / "cache.json")
    assert cache.get("length", file, lambda path: len(path.read_text())) == 3
    assert cache.get("text", file, lambda path: path.read_text()) == "one"
