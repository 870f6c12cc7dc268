from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from caderno.run.provenance import git_state, host_name, user_name

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Run git in a folder that is no checkout yet, with nobody's settings."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def run(*arguments: str) -> str:
        command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    return run


def test_outside_of_git_there_is_no_commit(git: Git, tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git("init", "--quiet")
    assert git_state(tmp_path) is None  # nothing committed yet


def test_a_checkout_has_commit_branch_and_whether_it_is_dirty(git: Git, tmp_path: Path) -> None:
    git("init", "--quiet", "--initial-branch", "work/it")
    (tmp_path / "file").write_text("1")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    clean = git_state(tmp_path)
    assert clean
    assert (clean.commit, clean.branch, clean.dirty) == (git("rev-parse", "HEAD"), "work/it", False)
    (tmp_path / "file").write_text("2")
    dirty = git_state(tmp_path)
    assert dirty
    assert dirty.dirty
    git("checkout", "--quiet", "--detach")
    detached = git_state(tmp_path)
    assert detached
    assert detached.branch is None


def test_a_machine_without_git_is_no_error(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None
    assert user_name(tmp_path)


def test_gits_name_goes_before_the_login(git: Git, tmp_path: Path) -> None:
    git("init", "--quiet")
    login = user_name(tmp_path)
    git("config", "user.name", "Ada Lovelace")
    assert user_name(tmp_path) == "Ada Lovelace" != login
    assert host_name()
