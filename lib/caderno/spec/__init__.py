"""YAML and notebooks → pipelines of tasks with typed parameters."""

from caderno.spec.notebook import UNSET, CodeCell, Notebook, Parameter
from caderno.spec.pipeline import (
    FromFile,
    FromPrevious,
    FromTask,
    FromUrl,
    InputSpec,
    Pipeline,
    Task,
    choose,
    load,
)

__all__ = [
    "UNSET",
    "CodeCell",
    "FromFile",
    "FromPrevious",
    "FromTask",
    "FromUrl",
    "InputSpec",
    "Notebook",
    "Parameter",
    "Pipeline",
    "Task",
    "choose",
    "load",
]
