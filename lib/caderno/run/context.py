"""What MLflow calls in a kernel: tags for runs that a notebook opens beside its task's own.

An entry point of the group `mlflow.run_context_provider`. The first `start_run()` of a notebook joins the
task's run; a further one becomes its child, and so the engine can close it if the kernel dies.
Protocol: https://mlflow.org/docs/latest/ml/plugins/#run-context-provider-plugins
"""

from __future__ import annotations

import os

TASK_RUN = "CADERNO_TASK_RUN"  # the environment variable that names the task's MLflow run
RUN_TAG = "caderno.run"
TASK_RUN_TAG = "caderno.task_run"


class RunContext:
    """Says whether this process is a task's kernel, and which tags its runs get."""

    def in_context(self) -> bool:
        """Return whether this process is a task's kernel."""
        return TASK_RUN in os.environ

    def tags(self) -> dict[str, str]:
        """Return the tags of a further run that the notebook opens."""
        return {TASK_RUN_TAG: os.environ[TASK_RUN], "mlflow.parentRunId": os.environ[TASK_RUN]}
