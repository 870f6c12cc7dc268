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

from caderno.plan.records import RunRecord, TaskRecord
from caderno.plan.store import read_record, read_run
from caderno.project import Project

UNTOLD = "untold"  # in .caderno/: what was logged while the server did not answer
STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "killed": "KILLED"}  # our states in MLflow's words


class Journal:
    """The open MLflow runs of this engine; workers may write at once."""

    def __init__(self, project: Project, run: str, tracking_uri: str) -> None:
        folder = _folder(project)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{run}.jsonl"
        self._file = _locked(self._path)
        self._writing = threading.Lock()
        self._open: dict[str, Path] = {}
        self._append([tracking_uri])

    def opened(self, run_id: str, place: Path) -> None:
        """Note a run that was opened in MLflow, and where its record will stand: a result, or a run's file."""
        self._open[run_id] = place
        self._append([run_id, str(place)])

    def closed(self, run_id: str) -> None:
        """Note that a run was ended in MLflow."""
        self._append([run_id, None])
        self._open.pop(run_id, None)

    def still_open(self) -> dict[str, Path]:
        """Return the runs that were opened and not ended, and where their records would stand."""
        return dict(self._open)

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


def any_left(project: Project) -> bool:
    """Whether engines left anything for a later run to say to MLflow; the own journal of this one included."""
    return any(_folder(project).glob("*.jsonl")) or any((project.state / UNTOLD).glob("*"))


def orphans(project: Project, tracking_uri: str) -> Iterator[tuple[str, dict[str, Path]]]:
    """Yield (run, {MLflow run id: where its record would stand}) of each dead engine that wrote to `tracking_uri`.

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
            yield path.stem, {run: Path(place) for run, place in still_open.items()}
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


def record_at(place: Path, run_id: str) -> TaskRecord | RunRecord | None:
    """Return the record at `place`, if it is the one of this MLflow run."""
    record = read_run(place) if place.suffix == ".json" else read_record(place)
    return record if record and record.tracking and record.tracking.run_id == run_id else None
