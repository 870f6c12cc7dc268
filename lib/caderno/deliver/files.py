"""A model's files: their SHA-256 as they were registered, and whether they are still the same.

`MLmodel` is no root of trust: a loader that it names, or a pickle beside it, runs whatever somebody wrote into it. So
nothing loads a model before its files were compared with the list that stands in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from caderno.errors import CadernoError
from caderno.plan.digests import files_in, of_file, of_json
from caderno.run.tracking import ADDED

Manifest = Mapping[str, str]  # path in the model's folder, with slashes -> SHA-256 in hex
_PICKLED = {".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill"}
_SHOWN = 3


class Tampered(CadernoError):
    """Something is not what the ledger says that it was."""

    exit_code = 3


def manifest_of(folder: Path) -> dict[str, str]:
    """Return the files of a model. Raises CadernoError where they can't be read."""
    try:
        found = {path.relative_to(folder).as_posix(): path for path in files_in(folder)}
        return {name: of_file(path) for name, path in found.items() if name not in ADDED}
    except OSError as error:
        raise CadernoError(f"the model in {folder} can't be read: {error.strerror}") from None


def digest_of(manifest: Manifest) -> str:
    """Return one digest for all of a model's files."""
    return of_json(dict(manifest))


def differences(folder: Path, manifest: Manifest) -> list[str]:
    """Return what differs in a folder from a list of files, in words."""
    found = manifest_of(folder) if folder.is_dir() else {}
    if not found:
        return ["its files are gone"]
    changed = [f"{name} was changed" for name in manifest if name in found and found[name] != manifest[name]]
    gone = [f"{name} is missing" for name in manifest if name not in found]
    added = [f"{name} was added" for name in found if name not in manifest]
    return changed + gone + added


def shown(different: list[str]) -> str:
    """Return the first of many differences as one text."""
    more = len(different) - _SHOWN
    return ", ".join(different[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def pickles(folder: Path) -> list[str]:
    """Return which files are pickles, by their names and first bytes: loading one runs what stands in it."""
    return [path.relative_to(folder).as_posix() for path in files_in(folder) if _is_pickle(path)]


def _is_pickle(path: Path) -> bool:
    if path.suffix.lower() in _PICKLED:
        return True
    with path.open("rb") as file:
        head = file.read(2)
    return len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5  # PROTO of pickle 2 to 5
