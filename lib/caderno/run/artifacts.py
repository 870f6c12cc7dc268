"""Results in the artifacts of the MLflow runs that computed them: a place for results that needs no other server.

A run's artifacts have, under caderno/, the result's files by their SHA-256 and then the parcel; a tag, set last, says
that all is there. Which run is asked for is found by its tags.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from caderno.errors import RemoteAway, RemoteError, TrackingAway, TrackingError
from caderno.plan.records import TaskRecord
from caderno.project import Project
from caderno.run.tracking import Tracking, link_or_copy

_FOLDER = "caderno"
_PARCEL = "result.json"
_TAG = "caderno.shared"  # the task's name: all files of the result are among the run's artifacts


class Artifacts:
    """A place for results of `pipeline`: MLflow's store or server."""

    def __init__(self, project: Project, pipeline: str) -> None:
        with _told():
            self._tracking = Tracking(project, pipeline)
        self._state = project.state
        self._runs: dict[str, str] = {}  # MLflow's run of a fingerprint

    def listed(self, task: str) -> Set[str]:
        """Return the fingerprints of which there is a parcel."""
        with _told():
            found = self._tracking.tagged({_TAG: task}, "caderno.fingerprint")
        self._runs |= found
        return found.keys()

    def read(self, task: str, fingerprint: str, most: int) -> bytes | None:
        """Return a parcel, at most so many bytes of it; None where there is none."""
        with _told(), self._in_folder() as folder:
            found = self._tracking.tagged({_TAG: task, "caderno.fingerprint": fingerprint}, "caderno.fingerprint")
            if not found:
                return None
            self._runs |= found
            path = self._tracking.download(found[fingerprint], f"{_FOLDER}/{_PARCEL}", folder)
            with path.open("rb") as file:
                return file.read(most)

    def fetch(
        self, task: str, fingerprint: str, digest: str, target: Path, size: int, given_up: Callable[[], bool]
    ) -> None:
        """Bring a file to `target`; MLflow gives none but whole files."""
        run = self._runs[fingerprint]
        with _told(), self._in_folder(target.parent) as folder:
            os.replace(self._tracking.download(run, f"{_FOLDER}/{digest}", folder), target)

    def there(self, record: TaskRecord) -> dict[str, int]:
        """Return the files of a result that are there already, by digest, with their sizes."""
        run = self._run_of(record)
        with _told():
            return self._tracking.artifacts(run, _FOLDER)

    def put(self, record: TaskRecord, digest: str, source: Path) -> None:
        """Keep a file of a result."""
        run = self._run_of(record)
        with _told(), self._in_folder(self._state) as folder:
            self._tracking.upload(run, Path(link_or_copy(str(source), f"{folder}/{digest}")), _FOLDER)

    def seal(self, record: TaskRecord, parcel: bytes) -> None:
        """Keep the parcel of a result whose files are all there."""
        run = self._run_of(record)
        with _told(), self._in_folder() as folder:
            path = folder / _PARCEL
            path.write_bytes(parcel)
            self._tracking.upload(run, path, _FOLDER)
            self._tracking.tag(run, _TAG, record.task.partition("[")[0])

    def _run_of(self, record: TaskRecord) -> str:
        """Return the MLflow run of a record. Raises RemoteError where it is not in this store (yet)."""
        run = record.tracking
        if run is None or run != self._tracking.handle(run.run_id):
            raise RemoteError("its MLflow run is not on the server")
        return run.run_id

    @staticmethod
    @contextmanager
    def _in_folder(beside: Path | None = None) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=beside) as folder:
            yield Path(folder)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what MLflow raises into what a place for results does."""
    try:
        yield
    except TrackingAway as error:
        raise RemoteAway(error.message, error.hint) from None
    except TrackingError as error:
        raise RemoteError(error.message, error.hint) from None
