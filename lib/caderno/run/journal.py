"""Which MLflow runs are open, kept where a killed engine can't take it along.

Each engine appends to a journal of its own and holds the kernel's lock on it; a journal that can be locked
belongs to a dead engine. A line is a JSON list: the tracking URI first, then [run id, where its record will
stand] for a run that was opened and [run id, null] for one that was ended. A torn last line is one not written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from caderno.plan.store import read_record, read_run
from caderno.project import Project

STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "killed": "KILLED"}  # our states in MLflow's words


class Journal:
    """The open MLflow runs of this engine; workers may write at once."""

    def __init__(self, project: Project, run: str, tracking_uri: str) -> None:
        folder = _folder(project)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{run}.jsonl"
        self._file = _locked(self._path)
        self._writing = threading.Lock()
        self._open: set[str] = set()
        self._append([tracking_uri])

    def opened(self, run_id: str, place: Path) -> None:
        """Note a run that was opened in MLflow, and where its record will stand: a result, or a run's file."""
        self._open.add(run_id)
        self._append([run_id, str(place)])

    def closed(self, run_id: str) -> None:
        """Note that a run was ended in MLflow."""
        self._append([run_id, None])
        self._open.discard(run_id)

    def still_open(self) -> list[str]:
        """Return the ids of runs that were opened and not ended."""
        return sorted(self._open)

    def end(self) -> None:
        """Remove the journal, unless runs are still open."""
        if not self._open:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _append(self, line: list[Any]) -> None:
        with self._writing:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


def _locked(path: Path) -> IO[str]:
    """Open `path` to append, locked; anew if another engine took the still empty file for a dead one's."""
    while True:
        file = path.open("a", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()


def _folder(project: Project) -> Path:
    return project.state / "runs"


def orphans(project: Project, tracking_uri: str) -> Iterator[dict[str, str]]:
    """Yield {MLflow run id: how it ended} of each dead engine that wrote to `tracking_uri`.

    Its journal is removed when the caller asks for the next one.
    """
    for path in sorted(_folder(project).glob("*.jsonl")):
        with contextlib.suppress(OSError), path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            uri, still_open = _read(file.read())
            if uri not in (tracking_uri, None):
                continue
            yield {run: _ending(run, place) for run, place in still_open.items()}
            path.unlink(missing_ok=True)


def _read(text: str) -> tuple[str | None, dict[str, str]]:
    """Return (tracking URI, {run id: place} of what is still open) of a journal's text."""
    uri: str | None = None
    still_open: dict[str, str] = {}
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            match json.loads(line):
                case [str() as uri]:
                    pass
                case [str() as run, str() as place]:
                    still_open[run] = place
                case [str() as run, None]:
                    still_open.pop(run, None)
    return uri, still_open


def _ending(run_id: str, place: str) -> str:
    """Return how a run had ended, if its record was written and only its engine could not say so."""
    path = Path(place)
    record = read_run(path) if path.suffix == ".json" else read_record(path)
    if record is None or record.tracking is None or record.tracking.run_id != run_id:
        return STATUS["killed"]
    return STATUS[record.state]
