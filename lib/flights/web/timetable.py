"""The dataset by flight: who flies when, and the row of features that a model is asked with.

Features are taken from the dataset as they stand there; nothing of them is computed here. They lie in a file without a
name, of which the system keeps in memory what is looked at.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from flights.board import Floats
from flights.features import DAY, KEY, LABEL, NUMBERS

LEARNED = ("train", "validation")  # a model is fitted on both; the rows of `test` it never saw
PARTS = (*LEARNED, "test")
PAST = 28  # days of a flight number's own past
_ROWS = 20_000  # read at once
_NEAR = 6


class Result(Protocol):
    """A task's result, as the service hands it over."""

    @property
    def fingerprint(self) -> str:
        """What it was made of."""

    @property
    def outputs(self) -> Mapping[str, Path]:
        """Its files by name."""


@dataclass(frozen=True)
class Departure:
    """One scheduled flight. `place` is its row among all; `past` and `past_late` count its number's last 28 days."""

    origin: str
    destination: str | None  # None where the registry does not know it
    scheduled: pd.Timestamp  # UTC
    late: bool
    learned: bool  # among the rows that models are fitted on
    past: int
    past_late: int
    place: int


@dataclass(frozen=True)
class Timetable:
    """All flights of one dataset: `rows` has KEY, `day`, `late` and `learned`, `numbers` the features beside them.

    `of_number` has the places of the rows of each carrier and number.
    """

    rows: pd.DataFrame
    of_number: Mapping[Any, Any]
    numbers: Floats
    airlines: Mapping[str, str]  # by carrier
    airports: Mapping[str, str]  # by code
    places: Mapping[tuple[float, float], str]  # latitude and longitude -> code

    @classmethod
    def read(cls, dataset: Mapping[str, Path], registry: Mapping[str, Path]) -> Timetable:
        """Read the outputs of the tasks `dataset` and `registry`."""
        parts = [pd.read_parquet(dataset[part], columns=[*KEY, DAY, LABEL]) for part in PARTS]
        rows = pd.concat(parts, keys=PARTS, names=["part"]).reset_index("part").reset_index(drop=True)
        rows["learned"] = rows.pop("part").isin(LEARNED)
        airports = pd.read_parquet(registry["airports"], columns=["faa", "name", "lat", "lon"])
        certain = airports.drop_duplicates(["lat", "lon"], keep=False)
        airlines = pd.read_parquet(registry["airlines"])
        return cls(
            rows,
            rows.groupby(["carrier", "flight"]).indices,
            _numbers([dataset[part] for part in PARTS], len(rows)),
            dict(zip(airlines["carrier"], airlines["name"], strict=True)),
            dict(zip(airports["faa"], airports["name"], strict=True)),
            dict(zip(zip(certain["lat"], certain["lon"], strict=True), certain["faa"], strict=True)),
        )

    @property
    def first(self) -> pd.Timestamp:
        """The first day."""
        return pd.Timestamp(self.rows[DAY].min())

    @property
    def last(self) -> pd.Timestamp:
        """The last day."""
        return pd.Timestamp(self.rows[DAY].max())

    def carriers(self, day: pd.Timestamp | None = None) -> list[str]:
        """Return who flies, on one day or ever, sorted."""
        rows = self.rows if day is None else self.rows[self.rows[DAY] == day]
        return sorted(rows["carrier"].unique())

    def departures(self, day: pd.Timestamp, carrier: str, number: int) -> list[Departure]:
        """Return the flights of a number on a day, by time: it may leave from several airports, or twice."""
        same = self.rows.iloc[self.of_number.get((carrier, number), [])]
        before = same[(same[DAY] < day) & (same[DAY] >= day - pd.Timedelta(days=PAST))]
        found = same[same[DAY] == day].sort_values("scheduled_departure")
        return [self._departure(row, before[before["origin"] == row.origin]) for row in found.itertuples()]

    def near(self, day: pd.Timestamp, carrier: str, number: int) -> list[int]:
        """Return the carrier's numbers of that day that are next to one that it has not."""
        rows = self.rows[(self.rows[DAY] == day) & (self.rows["carrier"] == carrier)]
        return sorted(sorted(map(int, rows["flight"].unique()), key=lambda one: abs(one - number))[:_NEAR])

    def features(self, departure: Departure) -> dict[str, Any]:
        """Return the row that the dataset has of a flight, None where nothing was known."""
        row = self.rows.iloc[departure.place]
        numbers = self.numbers[departure.place].tolist()
        known = {name: None if value != value else value for name, value in zip(NUMBERS, numbers, strict=True)}
        return {"origin": row["origin"], "carrier": row["carrier"], **known}

    def _departure(self, row: Any, before: pd.DataFrame) -> Departure:
        where = tuple(self.numbers[row.Index, [NUMBERS.index(f"dest_{one}") for one in ("latitude", "longitude")]])
        late = int(before[LABEL].sum())
        return Departure(
            row.origin,
            self.places.get(where),
            row.scheduled_departure,
            bool(row.late),
            bool(row.learned),
            len(before),
            late,
            int(row.Index),
        )


class Latest:
    """The timetable of the newest results: read again when there are newer ones."""

    def __init__(self, latest: Callable[[str], Result]) -> None:
        self._latest = latest
        self._held: tuple[tuple[str, str], Timetable] | None = None
        self._turn = threading.Lock()

    def __call__(self) -> Timetable:
        """Return it. While newer results are read, who asks gets what was there before."""
        dataset, registry = self._latest("dataset"), self._latest("registry")
        wanted = (dataset.fingerprint, registry.fingerprint)
        held = self._held
        if held and (held[0] == wanted or self._turn.locked()):
            return held[1]
        with self._turn:
            if self._held is None or self._held[0] != wanted:
                self._held = (wanted, Timetable.read(dataset.outputs, registry.outputs))
            return self._held[1]


def _numbers(paths: Sequence[Path], rows: int) -> Floats:
    """Return the features of all files, one row a flight, in a file that ends with this process."""
    with tempfile.TemporaryFile() as file:
        for path in paths:
            with pq.ParquetFile(path, pre_buffer=False) as stored:
                for batch in stored.iter_batches(_ROWS, columns=NUMBERS, use_threads=False):
                    columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in NUMBERS]
                    file.write(np.column_stack(columns).tobytes())
        file.flush()
        pa.default_memory_pool().release_unused()  # else what was needed for reading stays taken
        return np.memmap(file, np.float64, "r", shape=(rows, len(NUMBERS)))
