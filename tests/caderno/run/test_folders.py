"""The folders of kernels' sockets: none is left for ever, and none in use is taken away."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from caderno.run.kernels import private_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def folder(parent: Path, name: str, age: float) -> Path:
    made = parent / name
    made.mkdir()
    lock = made / "lock"
    lock.touch()
    then = lock.stat().st_mtime - age
    os.utime(lock, (then, then))
    return made


def test_a_folder_is_private_and_gone_afterwards(temporary: Path) -> None:
    with private_folder() as made:
        assert made.parent == temporary
        assert made.stat().st_mode & 0o777 == 0o700
    assert not made.exists()


def test_what_a_killed_engine_left_is_removed_and_what_is_in_use_stays(temporary: Path) -> None:
    left = folder(temporary, "caderno-left", 3600)
    fresh = folder(temporary, "caderno-fresh", 1)
    used = folder(temporary, "caderno-used", 3600)
    other = folder(temporary, "other", 3600)
    with (used / "lock").open("w") as lock:
        then = (used / "lock").stat().st_mtime - 3600
        os.utime(used / "lock", (then, then))
        fcntl.flock(lock, fcntl.LOCK_EX)
        with private_folder():
            assert not left.exists()
            assert fresh.exists()
            assert used.exists()
            assert other.exists()
