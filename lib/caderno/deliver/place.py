"""Where the ledger is; asked also by who only wants to know whether there is one."""

from __future__ import annotations

from caderno.project import Project
from caderno.run.tracking import tracking_uri

_FILE = "ledger.db"  # in data/


def ledger_uri(project: Project) -> str:
    """Return where the project's ledger is: in MLflow's PostgreSQL where that is its store, else data/ledger.db."""
    uri = tracking_uri(project)
    return uri if _is_shared(uri) else f"sqlite:///{project.data / _FILE}"


def has_ledger(project: Project) -> bool:
    """Whether the project has a ledger, or may have one where it shares a database."""
    return _is_shared(tracking_uri(project)) or (project.data / _FILE).exists()


def _is_shared(uri: str) -> bool:
    return uri.startswith("postgresql")
