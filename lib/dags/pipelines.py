"""The DAGs that Airflow reads: those of each pipeline of params/ with a schedule. see README.md."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, get_parsing_context

from caderno_airflow.building import APPROVAL, dags_of
from caderno_airflow.folder import each

_DAGS = Path(__file__).resolve().parent
_ROOT = _DAGS.parents[1]


def dags() -> dict[str, DAG]:
    """Return the DAGs by name; where Airflow parses for one task, that task's alone."""
    wanted = get_parsing_context().dag_id
    made, _ = each(_ROOT, lambda pipeline: dags_of(pipeline, _ROOT, _DAGS), wanted and wanted.removesuffix(APPROVAL))
    return {dag.dag_id: dag for several in made.values() for dag in several if wanted in (None, dag.dag_id)}


globals().update(
    {f"dag_{name}": dag for name, dag in dags().items()}
)  # Airflow looks for them among the module's names
