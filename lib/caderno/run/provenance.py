"""Who runs, where, from which commit."""

from __future__ import annotations

import getpass
import platform
import subprocess
from pathlib import Path

import psutil

from caderno.plan.records import Git


def git_state(root: Path) -> Git | None:
    """Return the commit that `root` stands at, or None where it is no git checkout with a commit."""
    commit = git(root, "rev-parse", "HEAD")
    if not commit:
        return None
    branch = git(root, "symbolic-ref", "--short", "-q", "HEAD")
    return Git(commit=commit, branch=branch or None, dirty=bool(git(root, "status", "--porcelain")))


def user_name(root: Path) -> str:
    """Return the name in git's configuration, else the login name."""
    name = git(root, "config", "user.name")
    if name:
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def host_name() -> str:
    """Return this machine's name."""
    return platform.node() or "unknown"


def machine() -> str:
    """Return what kind of machine this is: `Linux x86_64, 2 cores, 8.3 GB`."""
    cores = psutil.cpu_count() or 0
    memory = psutil.virtual_memory().total / 1e9
    return f"{platform.system()} {platform.machine()}, {cores} core{'s' * (cores != 1)}, {memory:.1f} GB"


def git(root: Path, *arguments: str) -> str:
    """Return what a git command says in `root`, or nothing where it fails or says nothing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
