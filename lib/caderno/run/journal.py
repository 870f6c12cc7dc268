"""Which MLflow runs are open, kept where a killed engine can't take it along.

Each engine holds the kernel's lock on its own journal; a journal that can be locked belongs to a dead one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

from caderno.plan.store import read_record, read_run
from caderno.project import Project

STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "killed": "KILLED"}  # our states in MLflow's words


class Journal:
    """The open MLflow runs of this engine: run id -> where the record will stand that says how it ended."""

    def __init__(self, project: Project, run: str, tracking_uri: str) -> None:
        folder = _folder(project)
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{run}.json"
        self._file = self._path.open("w+", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._uri = tracking_uri
        self._open: dict[str, str] = {}
        self._write()

    def opened(self, run_id: str, place: Path) -> None:
        """Note a run that was opened in MLflow, and where its record will stand: a result, or a run's file."""
        self._open[run_id] = str(place)
        self._write()

    def closed(self, run_id: str) -> None:
        """Note that a run was ended in MLflow."""
        self._open.pop(run_id, None)
        self._write()

    def still_open(self) -> list[str]:
        """Return the ids of runs that were opened and not ended."""
        return list(self._open)

    def end(self) -> None:
        """Remove the journal, unless runs are still open."""
        if not self._open:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _write(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        json.dump({"uri": self._uri, "open": self._open}, self._file)
        self._file.flush()


def _folder(project: Project) -> Path:
    return project.state / "runs"


def orphans(project: Project) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (tracking URI, {MLflow run id: how it ended}) of each dead engine; its journal goes when this goes on."""
    for path in sorted(_folder(project).glob("*.json")):
        with contextlib.suppress(OSError), path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            try:
                content = json.load(file)
            except ValueError:
                content = {"uri": "", "open": {}}
            yield content["uri"], {run: _ending(run, place) for run, place in content["open"].items()}
            path.unlink(missing_ok=True)


def _ending(run_id: str, place: str) -> str:
    """Return how a run had ended, if its record was written and only its engine could not say so."""
    path = Path(place)
    record = read_run(path) if path.suffix == ".json" else read_record(path)
    if record is None or record.tracking is None or record.tracking.run_id != run_id:
        return STATUS["killed"]
    return STATUS[record.state]
