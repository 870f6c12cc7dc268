"""The part of a finished task's record that plans need, kept by the stat of the record's file.

Reading a thousand records of a hundred digests each takes longer than all the rest of a run with nothing to
do. Only a cache: deleting it costs time, never correctness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caderno.plan.cache import Entries, is_settled, stamp_of, status_of
from caderno.plan.records import Output, TaskRecord


@dataclass(frozen=True)
class ShortRecord:
    """What a plan needs of a record; `mlflow_run` is the id of the run that the result was logged to."""

    fingerprint: str
    succeeded: bool
    outputs: dict[str, Output]
    mlflow_run: str | None = None

    @classmethod
    def of(cls, record: TaskRecord) -> ShortRecord:
        """Shorten a record."""
        run = record.tracking.run_id if record.tracking else None
        return cls(record.fingerprint, record.state == "succeeded", record.outputs, run)


class Index:
    """Short records by the path of the whole ones."""

    def __init__(self, path: Path, anew: bool = False) -> None:
        self._entries = Entries(path, anew)

    def get(self, record: str, read: Callable[[], TaskRecord | None]) -> ShortRecord | None:
        """Return what stands in the file `record`, by `read()` if it has changed; None where that can't be read."""
        status = status_of(record)
        if status is None:
            return None
        stamp = stamp_of(status)
        match self._entries.get(record):
            case [kept, *fields] if kept == stamp and (short := _decoded(fields)):
                return short
        settled = is_settled(status)
        whole = read()
        if whole is None:
            return None
        short = ShortRecord.of(whole)
        if settled:
            self._entries.put(record, [stamp, *_encoded(short)])
        return short

    def save(self) -> None:
        """Write what was added, without records that are gone."""
        self._entries.save(lambda record: status_of(record) is not None)


def _encoded(short: ShortRecord) -> list[Any]:
    outputs = {name: [one.path, one.digest, one.size, one.model_uri] for name, one in short.outputs.items()}
    return [short.fingerprint, short.succeeded, outputs, short.mlflow_run]


def _decoded(fields: list[Any]) -> ShortRecord | None:
    """Return the short record in an entry; None where it is not one, as in a file that somebody edited."""
    try:
        fingerprint, succeeded, outputs, run = fields
        made = {
            name: Output(path=path, digest=digest, size=size, model_uri=uri)
            for name, (path, digest, size, uri) in outputs.items()
        }
        return ShortRecord(fingerprint, succeeded, made, run)
    except (ValueError, TypeError, AttributeError):
        return None
