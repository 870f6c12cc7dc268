"""The folders of kernels' sockets: none is left for ever, and none in use is taken away."""

from __future__ import annotations

import fcntl
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from caderno.run.kernels import private_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir()
    (made / "lock").touch()
    return made


def test_a_folder_is_private_and_gone_afterwards(temporary: Path) -> None:
    with private_folder() as made:
        assert made.parent == temporary
        assert made.stat().st_mode & 0o777 == 0o700
    assert not made.exists()


def test_what_a_killed_engine_left_is_removed_and_what_is_in_use_stays(temporary: Path) -> None:
    left, used, other = folder(temporary, "caderno-left"), folder(temporary, "caderno-used"), folder(temporary, "other")
    with (used / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with private_folder():
            assert not left.exists()
            assert used.exists()
            assert other.exists()


def test_a_folder_that_others_are_just_making_is_theirs() -> None:
    def use(_: int) -> bool:
        with private_folder() as made:
            (made / "socket").touch()
            return made.is_dir()

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(use, range(2000)))
