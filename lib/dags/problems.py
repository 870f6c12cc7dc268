"""Airflow's import error that names what is wrong in pipelines with a schedule, by file and line.

It is a file of its own, and defines no DAG, since an import error takes all DAGs of its file with it.
"""

from __future__ import annotations

from pathlib import Path

from caderno_airflow.building import dags_of
from caderno_airflow.documents import Invalid
from caderno_airflow.folder import each

_DAGS = Path(__file__).resolve().parent
_ROOT = _DAGS.parents[1]

_, _problems = each(_ROOT, lambda pipeline: dags_of(pipeline, _ROOT, _DAGS))
if _problems:
    raise Invalid(*_problems)
