"""All pipelines of a project, as far as they can become DAGs, and what keeps the others from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from caderno_airflow.description import Pipeline, read
from caderno_airflow.documents import Invalid

T = TypeVar("T")


def files(root: Path, only: str | None = None) -> Iterator[tuple[Path, str]]:
    """Yield each pipeline file that may have a schedule, or that of `only`, and its name in messages."""
    for path in sorted((root / "params").glob("*.yaml")):
        if only in (None, path.stem) and b"schedule" in path.read_bytes():
            yield path, f"params/{path.name}"


def each(root: Path, make: Callable[[Pipeline], T], only: str | None = None) -> tuple[dict[str, T], list[str]]:
    """Return what `make` makes of each pipeline with a schedule, by name, and the problems of those that are broken."""
    made: dict[str, T] = {}
    problems: list[str] = []
    for path, place in files(root, only):
        try:
            pipeline = read(path, place)
        except Invalid as error:
            problems += error.problems
            continue
        if pipeline is None:
            continue
        try:
            made[pipeline.name] = make(pipeline)
        except Exception as error:  # Airflow's own, such as for a wrong cron: it shall cost no other DAG
            problems.append(f"{place}:{pipeline.line}: {error}")
    return made, problems
