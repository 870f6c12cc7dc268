"""The files of one result, on their way here or there.

What arrives is written beside its name and renamed when its digest is right. So a transfer that broke is taken up where
it stopped: files that are there whole are kept, and one that is not goes on from its last byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from caderno.errors import RemoteError, Stopped
from caderno.plan.cache import StatCache
from caderno.plan.digests import of_file
from caderno.plan.models import digest_of
from caderno.plan.records import TaskRecord
from caderno.remote.parcel import File, Parcel, packed
from caderno.remote.place import Place


def pull(place: Place, parcel: Parcel, staged: Path, given_up: Callable[[], bool]) -> None:
    """Make the folder `staged` hold the files of `parcel`, and no others.

    Raises RemoteError where one can't be had or is not what the parcel says, Stopped where `given_up()` turns true.
    """
    wanted = {staged / file.path for file in parcel.files}
    arriving = {_arriving(staged, file) for file in parcel.files}
    _clear(staged, wanted | arriving)
    for file in parcel.files:
        _pull_file(place, parcel.record, file, staged, given_up)
    _clear(staged, wanted)


def _pull_file(place: Place, record: TaskRecord, file: File, staged: Path, given_up: Callable[[], bool]) -> None:
    target, arriving = staged / file.path, _arriving(staged, file)
    if _is(target, file):
        return
    task = record.task.partition("[")[0]
    for _ in range(2 if arriving.exists() else 1):  # what an earlier transfer left may be of no use
        if arriving.exists() and arriving.stat().st_size > file.size:
            arriving.unlink()
        place.fetch(task, record.fingerprint, file.digest, arriving, file.size, given_up)
        if _is(arriving, file):
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(arriving, target)
            return
        arriving.unlink()
    raise RemoteError(f"{file.path} is damaged there: not the {file.size:,} bytes of its record")


def _arriving(staged: Path, file: File) -> Path:
    return staged / f".{file.digest}.arriving"


def _is(path: Path, file: File) -> bool:
    """Whether the file at `path` is the one that is meant."""
    if not path.is_file() or path.stat().st_size != file.size or of_file(path) != file.digest:
        return False
    counting = digest_of(f"/{file.path}")
    return file.counts == (counting(path) if counting else None)


def _clear(staged: Path, kept: set[Path]) -> None:
    """Remove what is not `kept`, such as what a notebook wrote there before it was killed."""
    for place, folders, files in os.walk(staged, topdown=False):
        for path in (Path(place, name) for name in (*files, *folders)):
            if path.is_symlink() or (path.is_file() and path not in kept):
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def push(
    place: Place,
    result: Path,
    record: TaskRecord,
    given_up: Callable[[], bool],
    cache: StatCache | None = None,
    anew: bool = False,
) -> int:
    """Send a result: its files, and when all are there the parcel; return how many bytes went.

    What is there is not sent again, save `anew`. Raises RemoteError, or Stopped where `given_up()` turns true.
    """
    parcel = packed(result, record, cache)
    there = {} if anew else place.there(record)
    sent = 0
    for file in parcel.files:
        if given_up():
            raise Stopped("stopped while results were sent")
        if there.get(file.digest) != file.size:
            place.put(record, file.digest, result / file.path)
            there[file.digest] = file.size
            sent += file.size
    place.seal(record, parcel.model_dump_json().encode())
    return sent
