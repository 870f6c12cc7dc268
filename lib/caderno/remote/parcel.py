"""A result on its way between machines: its record, with the name, digest and size of each of its files.

Whoever can write to the place can put any result there, so a parcel is read as what a stranger wrote: it must be of
the task and the fingerprint that were asked for, no name in it may lead out of the result's folder, and its files must
make up the outputs that its record names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from caderno.errors import RemoteError
from caderno.plan import digests
from caderno.plan.cache import StatCache
from caderno.plan.models import digest_of
from caderno.plan.planner import Resolved
from caderno.plan.records import Output, TaskRecord
from caderno.plan.store import PAGE, RECORD
from caderno.spec import Task

LARGEST = 64_000_000  # bytes of a parcel: the record of a result and the list of its files
_OURS = (RECORD, PAGE)  # written here, from the record: a page of somebody else's making would run in a browser
_RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


class File(BaseModel):
    """A file of a result: `path` is relative to its folder, `digest` a SHA-256 in hex, `size` in bytes.

    `counts` is what an output's digest is made of where that is another: of a model's files (plan/models.py).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    counts: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class Parcel(BaseModel):
    """What is sent last, and asked for first."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    format: Literal[1] = 1
    record: TaskRecord
    files: list[File]

    @property
    def size(self) -> int:
        """How many bytes its files are."""
        return sum(file.size for file in self.files)


def packed(place: Path, record: TaskRecord, cache: StatCache | None = None) -> Parcel:
    """Return the parcel of a result. Raises RemoteError where its files are not what its record says."""
    files = []
    try:
        for path in digests.files_in(place):
            name = path.relative_to(place).as_posix()
            if name not in _OURS:
                digest, size = digests.of_path(path, cache)
                counts = digest if digest_of(str(path)) else None
                files.append(
                    File(path=name, digest=digests.of_file(path) if counts else digest, size=size, counts=counts)
                )
    except OSError as error:
        raise RemoteError(f"its files can't be read: {error.strerror}") from None
    parcel = Parcel(record=record, files=files)
    _check_outputs(parcel)
    return parcel


def unpacked(data: bytes, pipeline: str, task: Task, resolved: Resolved) -> Parcel:
    """Return what was asked for, out of what came. Raises RemoteError where it is something else."""
    if len(data) > LARGEST:
        raise RemoteError(f"its list of files is longer than {LARGEST / 1e6:.0f} MB")
    try:
        parcel = Parcel.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RemoteError(f"its record can't be read ({f'{where}: ' if where else ''}{first['msg']})") from None
    record = parcel.record
    outputs = {name: output.path for name, output in record.outputs.items()}
    wanted = (pipeline, task.id, task.notebook.name, resolved.fingerprint, "succeeded", dict(task.outputs))
    if wanted != (record.pipeline, record.task, record.notebook, record.fingerprint, record.state, outputs):
        raise RemoteError("its record is of something else")
    if not _RUN.fullmatch(record.run):
        raise RemoteError(f"its record names a run {record.run[:40]!r}, which is no run's name")
    _check_names(parcel, {item.path for items in resolved.inputs.values() for item in items})
    _check_outputs(parcel)
    return parcel


def _check_names(parcel: Parcel, known: set[str]) -> None:
    """Names must stay inside: of files in the result's folder, of inputs in the project save what it declares itself.

    `known` are the paths of the inputs as they are named here.
    """
    names = [file.path for file in parcel.files]
    inputs = {item.path for items in parcel.record.inputs.values() for item in items} - known
    for name in (*names, *(name for name in inputs if "://" not in name)):
        if not _is_inside(name):
            raise RemoteError(f"its record names {name[:80]!r}, which leads out of its folder")
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    twice = len(set(names)) < len(names) or folders.intersection(names) or set(_OURS).intersection(names)
    if twice:
        raise RemoteError("its list of files names one place twice")


def _is_inside(name: str) -> bool:
    """Whether a relative path is written plainly: no way up, no absolute path, nothing that only looks like another."""
    parts = name.split("/")
    return all(part not in ("", ".", "..") and "\0" not in part and "\\" not in part for part in parts)


def _check_outputs(parcel: Parcel) -> None:
    """The listed files must make up each output: its digest, its size."""
    for name, output in parcel.record.outputs.items():
        if _made_up(output, parcel.files) != (output.digest, output.size):
            raise RemoteError(f"the files of its output {name} are not those of its record")


def _made_up(output: Output, files: Iterable[File]) -> tuple[str, int] | None:
    """Return (digest, size) of an output from those of its files, as digests.of_path does; None where there is none."""
    inside = []
    for file in files:
        if file.path == output.path:
            return file.counts or file.digest, file.size
        if file.path.startswith(f"{output.path}/"):
            inside.append((file.path[len(output.path) + 1 :], file))
    inside.sort(key=lambda one: _order(one[0]))
    lines = [f"{name}\0{file.counts or file.digest}" for name, file in inside]
    return (digests.of_text("\n".join(lines)), sum(file.size for _, file in inside)) if inside else None


def _order(name: str) -> list[tuple[bool, str]]:
    """Return what sorts names as a walk does: a folder's files before its folders."""
    *folders, last = name.split("/")
    return [*((True, folder) for folder in folders), (False, last)]
