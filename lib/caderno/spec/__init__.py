"""YAML and notebooks → pipelines of tasks with typed parameters."""

from caderno.spec.loading import choose, load
from caderno.spec.notebook import UNSET, CodeCell, Notebook, Parameter, parameters_in, parse_cell
from caderno.spec.pipeline import (
    FromFile,
    FromPrevious,
    FromTask,
    FromUrl,
    InputSpec,
    OpenAxis,
    Pipeline,
    Task,
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
    "OpenAxis",
    "Parameter",
    "Pipeline",
    "Task",
    "choose",
    "load",
    "parameters_in",
    "parse_cell",
]
