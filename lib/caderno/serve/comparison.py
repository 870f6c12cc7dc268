"""What the log of predictions says: how far champion and challenger agree, and how far features have moved."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from caderno.deliver.delivery import Delivery
from caderno.deliver.smoke import read
from caderno.errors import CadernoError
from caderno.plan.digests import of_path
from caderno.plan.store import read_record
from caderno.plan.tables import table_of
from caderno.run.provenance import git_state, user_name
from caderno.serve.drift import Drift, drifts
from caderno.serve.logbook import Logbook, folder_of

if TYPE_CHECKING:
    import pandas as pd

_TABLES = {".parquet", ".feather", ".csv"}
_EVER = 3e9  # seconds, a century
_MOST = 50_000  # rows, drawn by lot, of which features are compared
_PAIR = (
    "SELECT request, row, champion_score, challenger_score, champion_seconds, challenger_seconds FROM shadow "
    "WHERE time >= :since AND champion = :champion AND challenger = :challenger"
)
_ROWS = """
SELECT (SELECT count(*) FROM predictions WHERE time >= :since AND version = :champion)
     + (SELECT count(*) FROM shadow WHERE time >= :since AND champion = :champion) AS rows
"""
_FEATURES = """
SELECT request, row, features FROM predictions
WHERE time >= :since AND version = :champion AND abs(random() % 1000000) < :share
UNION
SELECT request, row, features FROM shadow
WHERE time >= :since AND champion = :champion AND abs(random() % 1000000) < :share
"""
_LOST = "SELECT kind, why, sum(rows) AS rows FROM lost WHERE time >= :since GROUP BY kind, why"


@dataclass(frozen=True)
class Agreement:
    """Scores of challenger and champion for the same rows: absolute differences, Pearson's correlation.

    `same_side`: the share of rows that both put on the same side of 0.5, where scores are probabilities.
    """

    rows: int
    mean: float
    median: float
    p90: float
    p99: float
    most: float
    correlation: float | None
    same_side: float | None


@dataclass(frozen=True)
class Latency:
    """Seconds that requests took."""

    median: float
    p99: float


@dataclass(frozen=True)
class Lost:
    """Rows that are not in the log, and why."""

    kind: str
    why: str
    rows: int


@dataclass(frozen=True)
class Comparison:
    """All that `caderno shadow` tells; `notes` say what could not be told, and why."""

    model: str
    champion: str
    challenger: str | None
    since: str
    requests: int
    agreement: Agreement | None
    latency: dict[str, Latency]
    served: int  # rows of which features were compared
    reference: tuple[str, ...]  # files that the champion learned from
    reference_rows: int
    drift: tuple[Drift, ...]
    lost: tuple[Lost, ...]
    notes: tuple[str, ...]

    def as_json(self) -> str:
        """Return it as JSON."""
        drift = [{**asdict(one), "word": one.word} for one in self.drift]
        return json.dumps({**asdict(self), "drift": drift}, indent=1, allow_nan=False)

    def metrics(self) -> dict[str, float]:
        """Return its figures by name."""
        figures: dict[str, float | None] = {"requests": self.requests, "served": self.served}
        for one in self.lost:
            figures[f"lost.{one.kind}"] = (figures.get(f"lost.{one.kind}") or 0) + one.rows
        if self.agreement:
            figures |= {f"agreement.{name}": value for name, value in asdict(self.agreement).items()}
        for who, latency in self.latency.items():
            figures |= {f"seconds.{who}.{name}": value for name, value in asdict(latency).items()}
        figures |= {f"psi.{one.feature}": one.psi for one in self.drift}
        return {name: float(value) for name, value in figures.items() if value is not None}


def compare(delivery: Delivery, seconds: float | None) -> Comparison:
    """Return what was logged in the last so many seconds, by default since the champion reigns.

    Raises CadernoError where there is no champion, or nothing was logged.
    """
    now = delivery.standing()
    if now.champion is None:
        raise CadernoError(f"{delivery.model} has no champion", "caderno promote")
    since = _reigns(delivery) if seconds is None else datetime.now(UTC) - timedelta(seconds=min(seconds, _EVER))
    begin = since.isoformat(timespec="microseconds")
    book = Logbook(folder_of(delivery.project), delivery.model, 0)
    lost = _lost(book, begin)
    rows, features = served(book, begin, now.champion)
    if not rows and not lost:
        raise CadernoError(
            f"no prediction of {delivery.model} was logged since {begin[:16].replace('T', ' ')} (UTC)",
            "caderno serve --log-share 0.1 --shadow 0.1 logs a tenth of the rows, and has the challenger asked a tenth",
        )
    notes: list[str] = []
    pairs = _pairs(book, begin, now.champion, now.challenger, notes)
    reference, files = _reference(delivery, now.champion, list(features), notes) if rows else (None, ())
    return Comparison(
        model=delivery.model,
        champion=now.champion,
        challenger=now.challenger,
        since=begin,
        requests=0 if pairs is None else pairs.request.nunique(),
        agreement=None if pairs is None else agreement(pairs.champion_score, pairs.challenger_score),
        latency={} if pairs is None else _latencies(pairs),
        served=rows,
        reference=files,
        reference_rows=0 if reference is None else len(reference),
        drift=() if reference is None else tuple(drifts(reference, features)),
        lost=lost,
        notes=tuple(notes),
    )


def agreement(champion: ArrayLike, challenger: ArrayLike) -> Agreement:
    """Return how far two models' scores for the same rows agree."""
    ours, theirs = np.asarray(champion, float), np.asarray(challenger, float)
    apart = np.abs(ours - theirs)
    varied = len(ours) > 1 and ours.std() > 0 and theirs.std() > 0
    probable = min(ours.min(), theirs.min()) >= 0 and max(ours.max(), theirs.max()) <= 1
    median, p90, p99, most = np.quantile(apart, [0.5, 0.9, 0.99, 1]).tolist()
    return Agreement(
        rows=len(ours),
        mean=float(apart.mean()),
        median=median,
        p90=p90,
        p99=p99,
        most=most,
        correlation=float(np.corrcoef(ours, theirs)[0, 1]) if varied else None,
        same_side=float(np.mean((ours >= 0.5) == (theirs >= 0.5))) if probable else None,
    )


def _reigns(delivery: Delivery) -> datetime:
    """Return since when the champion is the champion."""
    rows = delivery.ledger.rows(delivery.model)
    return datetime.fromisoformat(next(row.entry.time for row in reversed(rows) if row.entry.new is not None))


def _lost(book: Logbook, begin: str) -> tuple[Lost, ...]:
    rows: Counter[tuple[str, str]] = Counter()
    for kind, why, some in book.read(_LOST, since=begin).itertuples(index=False):
        rows[kind, why] += int(some)
    return tuple(Lost(kind, why, count) for (kind, why), count in sorted(rows.items()))


def _pairs(book: Logbook, begin: str, champion: str, challenger: str | None, notes: list[str]) -> pd.DataFrame | None:
    """Return the rows that both answered; None, with a note, where there are none."""
    if challenger is None:
        notes.append("there is no challenger: caderno release makes one")
        return None
    found = book.read(_PAIR, since=begin, champion=champion, challenger=challenger)
    if found.empty:
        notes.append(f"version {challenger} answered nothing in shadow yet: caderno serve --shadow 0.1")
        return None
    return found


def _latencies(pairs: pd.DataFrame) -> dict[str, Latency]:
    """Return how long requests took, of the champion with waiting in its queue, of the challenger in its own."""
    requests = pairs.drop_duplicates("request")
    return {
        who: Latency(*np.quantile(requests[f"{who}_seconds"], [0.5, 0.99]).tolist())
        for who in ("champion", "challenger")
    }


def served(book: Logbook, begin: str, champion: str) -> tuple[int, dict[str, pd.Series[Any]]]:
    """Return how many logged rows that the champion answered there are, and their features by name.

    Of very many rows some, drawn by lot. A feature that some rows were logged without has fewer values.
    """
    import orjson
    import pandas as pd

    counts = book.read(_ROWS, since=begin, champion=champion)
    many = int(counts["rows"].sum()) if len(counts) else 0
    if not many:
        return 0, {}
    share = int(min(1.0, _MOST / many) * 1_000_000)
    found = book.read(_FEATURES, since=begin, champion=champion, share=share)
    rows = [orjson.loads(one) for one in found["features"]]
    names = dict.fromkeys(name for row in rows for name in row)
    return len(rows), {name: pd.Series([row[name] for row in rows if name in row], name=name) for name in names}


def _reference(
    delivery: Delivery, champion: str, columns: list[str], notes: list[str]
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Return the table that the champion learned from, and its files; None, with a note, where it can't be had.

    It is the first input of the champion's task that has all columns.
    """
    import pandas as pd

    facts = delivery.standing().versions[champion].released.entry.facts
    record = read_record(delivery.project.root / str(facts["folder"]))
    if record is None:
        notes.append(f"features are not compared: the result of {facts['task']} is gone ({facts['folder']})")
        return None, ()
    for inputs in record.inputs.values():
        paths = [delivery.project.root / one.path for one in inputs]
        shapes = [table_of(path) if path.suffix in _TABLES else None for path in paths]
        if not paths or not all(shape and shape.columns.keys() >= set(columns) for shape in shapes):
            continue
        names = tuple(one.path for one in inputs)
        if any(of_path(path)[0] != one.digest for path, one in zip(paths, inputs, strict=True)):
            notes.append(f"features are not compared: {', '.join(names)} changed since {record.task} learned from it")
            return None, ()
        return pd.concat([read(str(path))[columns] for path in paths], ignore_index=True), names
    notes.append(f"features are not compared: no input of {record.task} is a table, still there, with all of them")
    return None, ()


def log(delivery: Delivery, found: Comparison) -> str:
    """Log a comparison to MLflow, as a run named shadow with its figures and shadow.json; return the run's id.

    Raises TrackingError.
    """
    from caderno.run.tracking import Tracking, source_tags

    root, pipeline = delivery.project.root, delivery.store.pipeline
    tracking = Tracking(delivery.project, pipeline)
    who = source_tags(git_state(root), user_name(root))
    run = tracking.start("shadow", who | {"caderno.pipeline": pipeline, "caderno.champion": found.champion})
    with TemporaryDirectory(prefix="caderno-shadow-") as folder:
        file = Path(folder, "shadow.json")
        file.write_text(found.as_json(), "utf-8")
        tracking.log_figures(run, found.metrics(), file)
    tracking.finish(run.run_id, "FINISHED")
    return run.run_id
