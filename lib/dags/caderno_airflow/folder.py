"""All pipelines of a project, as far as they can become DAGs, and what keeps the others from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from caderno_airflow.description import Pipeline, read
from caderno_airflow.documents import Invalid

T = TypeVar("T")


def each(root: Path, make: Callable[[Pipeline], T], only: str | None = None) -> tuple[dict[str, T], list[str]]:
    """Return what `make` makes of each pipeline with a schedule, by name, and the problems of those that are broken.

    `only` names the one pipeline to look at.
    """
    made: dict[str, T] = {}
    problems: list[str] = []
    for path in sorted((root / "params").glob("*.yaml")):
        if only not in (None, path.stem):
            continue
        place = f"params/{path.name}"
        try:
            if b"schedule" not in path.read_bytes():
                continue
            pipeline = read(path, place)
            if pipeline:
                place = f"{place}:{pipeline.line}"
                made[pipeline.name] = make(pipeline)
        except Invalid as error:
            problems += error.problems
        except Exception as error:  # such as Airflow's own, for a wrong cron: it shall cost no other DAG
            problems.append(f"{place}: {error}")
    return made, problems
