"""Where a result is built once more: the code of its commit in a git worktree, in a folder that goes away afterwards.

That folder stands in data/.caderno/verify/, so that what a killed process left is found and removed by the next one.
Each is held by a lock as long as its process lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from caderno.errors import CadernoError
from caderno.plan.records import TaskRecord
from caderno.project import Project

_LOCK = "lock"
_TREE = "tree"
_CODE = ("lib", "notebooks", "params")  # what is copied where there is no commit
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
_OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")  # a hook's git sets them for its own checkout


@contextmanager
def workplace(project: Project) -> Iterator[Path]:
    """Yield a new folder to build in; it is removed at the end, and what killed ones left before that."""
    folder = project.state / "verify"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with (folder / _LOCK).open("a") as making:
            fcntl.flock(making, fcntl.LOCK_EX)
            _clear(project, folder)
            home = folder / os.urandom(4).hex()
            home.mkdir()
            stack.callback(_remove, project, home)
            fcntl.flock(stack.enter_context((home / _LOCK).open("a")), fcntl.LOCK_EX)
        yield home


@contextmanager
def standing(project: Project, record: TaskRecord, home: Path) -> Iterator[Project]:
    """Yield a project in which lib/ and notebooks stand as in the commit of `record`, without any data.

    Where there is no commit, they are copies of the project's. Raises CadernoError where the commit is not there.
    """
    tree = home / _TREE
    try:
        root = tree / _checked_out(project, record.git.commit, tree) if record.git else _copied(project, tree)
        data = Project(root).data
        if data.is_symlink():  # a link in the commit leads out of here, to the store perhaps
            data.unlink()
        Project(root).state.mkdir(parents=True, exist_ok=True)
        yield Project(root)
    finally:
        _remove_tree(project, tree)


def _checked_out(project: Project, commit: str, tree: Path) -> str:
    """Make the worktree and return where in it the project's root is."""
    inside = _git(project.root, "rev-parse", "--show-prefix")
    if inside.returncode:
        raise CadernoError(
            f"the result was made at commit {commit[:12]}, and {project.root} is in no git repository",
            "verify it in a clone of the repository",
        )
    if _git(project.root, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise CadernoError(
            f"the commit of the result, {commit[:12]}, is not in this repository", f"run: git fetch origin {commit}"
        )
    done = _git(project.root, "worktree", "add", "--quiet", "--detach", str(tree), commit)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["git worktree add failed"])[-1]
        raise CadernoError(f"the commit {commit[:12]} can't be checked out: {said}")
    return inside.stdout.strip("\n")


def _copied(project: Project, tree: Path) -> Path:
    tree.mkdir()
    for name in _CODE:
        if (project.root / name).is_dir():
            shutil.copytree(project.root / name, tree / name, ignore=_LEFT_OUT)
    return tree


def _clear(project: Project, folder: Path) -> None:
    """Remove what killed processes left: their folders, and git's notes of their worktrees, which may be all there is.

    `git worktree prune` would also drop worktrees of others that are on a disk which is not there now.
    """
    for line in _git(project.root, "worktree", "list", "--porcelain").stdout.splitlines():
        home = Path(line.removeprefix("worktree ")).parent
        if line.startswith("worktree ") and folder.resolve() in home.parents and not _held(folder / home.name):
            _remove(project, folder / home.name)
    for home in folder.iterdir():
        if home.is_dir() and not _held(home):
            _remove(project, home)


def _held(home: Path) -> bool:
    try:
        with (home / _LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _remove(project: Project, home: Path) -> None:
    _remove_tree(project, home / _TREE)
    shutil.rmtree(home, ignore_errors=True)


def _remove_tree(project: Project, tree: Path) -> None:
    """Remove a worktree, or a folder that is none, and what git knows of it; also where only that is left."""
    _git(project.root, "worktree", "remove", "--force", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git without hooks, out of reach of a Ctrl-C in the terminal; where there is no git, it fails."""
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in _OF_HOOKS}
    try:
        return subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False, start_new_session=True
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
