"""The DAGs that Airflow reads: one for each pipeline of params/ with a schedule. see README.md."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, get_parsing_context

from caderno_airflow.building import dag_of
from caderno_airflow.folder import each

_DAGS = Path(__file__).resolve().parent
_ROOT = _DAGS.parents[1]


def dags() -> dict[str, DAG]:
    """Return the DAGs by name; where Airflow parses for one task, that task's alone."""
    return each(_ROOT, lambda pipeline: dag_of(pipeline, _ROOT, _DAGS), get_parsing_context().dag_id)[0]


globals().update(
    {f"dag_{name}": dag for name, dag in dags().items()}
)  # Airflow looks for them among the module's names
