"""Which results are no longer needed, and their removal.

A result is needed if it is its task's `latest` or one of its newest, if a registered model came from it, or if one
that is needed has it among its inputs. What is not a result of this pipeline is never touched.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from caderno.plan.records import TaskRecord
from caderno.plan.store import FAILED, LATEST, LOGGING, RECORD, Store


@dataclass(frozen=True)
class Result:
    """A result on the disk; `size` in bytes is what its removal frees: files with a second name elsewhere don't."""

    place: Path
    record: TaskRecord
    size: int


def unneeded(store: Store, keep: int, registered: Collection[str] = ()) -> tuple[list[Result], int]:
    """Return (the results of a pipeline that nothing needs, the oldest first; how many are kept).

    `keep` counts the newest results of each task to keep, `registered` are the MLflow runs of registered models.
    """
    found = [(place, one) for place, one in store.every() if place.name != FAILED and one.pipeline == store.pipeline]
    by_place = dict(found)
    by_task: dict[Path, list[tuple[Path, TaskRecord]]] = {}
    for place, record in found:
        by_task.setdefault(place.parent, []).append((place, record))
    needed: list[Path] = []
    for home, results in by_task.items():
        newest = sorted(results, key=lambda pair: pair[1].started, reverse=True)
        needed += [place for place, _ in newest[: max(keep, 1)]]
        if (home / LATEST).is_symlink():
            needed.append(home / (home / LATEST).readlink())
    needed += [place for place, record in found if record.tracking and record.tracking.run_id in registered]
    kept: set[Path] = set()
    while needed:
        place = needed.pop()
        if place in by_place and place not in kept:
            kept.add(place)
            needed += _inputs(store, by_place[place])
    left = [(place, record) for place, record in found if place not in kept]
    left.sort(key=lambda pair: pair[1].started)
    return [Result(place, record, _freed(place)) for place, record in left], len(kept)


def remove(places: Iterable[Path]) -> None:
    """Remove results and leftovers from the disk: a record first, so that what a crash leaves behind is no result."""
    for place in places:
        (place / RECORD).unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)


def leftovers(store: Store) -> list[Path]:
    """Return what attempts that were killed left beside the results: nobody computes them now."""
    running = set(filter(None, (store.running_at(home) for home in store.homes())))
    return [
        child
        for home in store.homes()
        for child in home.iterdir()
        if child not in running and (child.suffix in (".part", ".old") or child.name.startswith(("debug-", LOGGING)))
    ]


def _inputs(store: Store, record: TaskRecord) -> list[Path]:
    """Return the results that a result was made from."""
    paths = [store.root / item.path for items in record.inputs.values() for item in items if item.fingerprint]
    return [parent for path in paths for parent in path.parents]


def _freed(place: Path) -> int:
    status = [path.lstat() for path in place.rglob("*")]
    return sum(one.st_size for one in status if one.st_nlink == 1)
