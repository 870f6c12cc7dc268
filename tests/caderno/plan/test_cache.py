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


def test_what_a_cache_kept_is_not_believed_when_all_is_computed_anew(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "cache.json"
    first = StatCache(path)
    asked(first, file)
    first.save()
    file.write_text("two")
    os.utime(file, (1, 1))  # the same size, time and inode
    assert asked(StatCache(path), file) == ("one", False)
    anew = StatCache(path, anew=True)
    assert asked(anew, file) == ("two", True)
    assert asked(anew, file) == ("two", False)  # once is enough
    anew.save()
    assert asked(StatCache(path), file) == ("two", False)


def test_files_that_are_gone_do_not_stay_in_the_cache(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "cache.json"
    other = tmp_path / "other"
    other.write_text("two")
    os.utime(other, (1, 1))
    first = StatCache(path)
    asked(first, file)
    first.save()
    file.unlink()
    second = StatCache(path)
    asked(second, other)
    second.save()
    assert str(other) in path.read_text()
    assert str(file) not in path.read_text()


def test_of_one_file_the_last_variant_is_kept(tmp_path: Path, file: Path) -> None:
    cache = StatCache(tmp_path / "cache.json")
    assert cache.get("versions", file, lambda path: 1, variant="a") == 1
    assert cache.get("versions", file, lambda path: 2, variant="b") == 2
    assert cache.get("versions", file, lambda path: 3, variant="b") == 2
    assert cache.get("versions", file, lambda path: 4, variant="a") == 4


def test_a_renamed_file_is_known_by_its_new_name(tmp_path: Path, file: Path) -> None:
    cache = StatCache(tmp_path / "cache.json")
    asked(cache, file)
    new = file.rename(tmp_path / "new")
    cache.moved("text", file, new)
    assert asked(cache, new) == ("one", False)


def test_only_what_was_read_for_digests_is_counted(tmp_path: Path, file: Path) -> None:
    cache = StatCache(tmp_path / "cache.json")
    asked(cache, file)
    assert cache.files == 0
    cache.get("sha256", file, lambda path: "")
    cache.get("sha256", file, lambda path: "")
    assert (cache.files, cache.bytes) == (1, 3)
