"""What a place that keeps results for other machines must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path
from typing import Protocol

from caderno.plan.records import TaskRecord


class Place(Protocol):
    """A place for results of one pipeline. A parcel there means that all files it lists are there, too.

    Each method raises RemoteAway where the place does not answer, RemoteError where it refuses.
    """

    def listed(self, task: str) -> Set[str]:
        """Return the fingerprints of which there is a parcel, for a task by its name in the pipeline file."""

    def read(self, task: str, fingerprint: str, most: int) -> bytes | None:
        """Return a parcel, at most so many bytes of it; None where there is none."""

    def fetch(
        self, task: str, fingerprint: str, digest: str, target: Path, size: int, given_up: Callable[[], bool]
    ) -> None:
        """Bring the file of this digest and size to `target`, going on where that stops.

        Raises Stopped where `given_up()` turns true.
        """

    def there(self, record: TaskRecord) -> dict[str, int]:
        """Return the files of a result that are there already, by digest, with their sizes."""

    def put(self, record: TaskRecord, digest: str, source: Path) -> None:
        """Keep a file of a result; nobody sees it in part."""

    def seal(self, record: TaskRecord, parcel: bytes) -> None:
        """Keep the parcel of a result whose files are all there."""
