"""Whether a pipeline's gate agrees with its tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from caderno.errors import did_you_mean
from caderno.spec.file import GateFile, PipelineFile, TaskFile
from caderno.spec.pipeline import MODEL_KIND
from caderno.spec.yaml import Key

Tell = Callable[[Key, str, str], None]  # key, what is wrong there, a hint


def check_gate(file: PipelineFile, tell: Tell) -> None:
    """Tell what is wrong in `gate` and `delivery` though each key is as it should be."""
    gate = file.gate
    if gate is None:
        if file.delivery == "automatic":
            tell(("delivery",), "nothing is promoted without a gate", "add gate: with its rules, or leave delivery out")
        return
    kind = _output(gate.candidates, "candidates", file.tasks, tell)
    if kind not in (None, MODEL_KIND):
        tell(("gate", "candidates"), f"{gate.candidates} is no model", f"its kind must be {MODEL_KIND}")
    if _output(gate.test, "test", file.tasks, tell) == MODEL_KIND:
        tell(("gate", "test"), f"{gate.test} is a model, not a table", "")
    elif file.tasks.get(task := gate.test.partition(".")[0]) and file.tasks[task].matrix.axes:
        tell(("gate", "test"), f"task {task} has a matrix: which of its tables is meant is not known", "")
    for name, bound in gate.bounds.items():
        if bound.min is None and bound.max is None:
            tell(("gate", "bounds", name), f"the bound of {name} bounds nothing", "give it min, max, or both")


def _output(text: str, key: str, tasks: Mapping[str, TaskFile], tell: Tell) -> str | None:
    """Return how an output that the gate names is written in its task; tell where there is none."""
    task, dot, output = text.partition(".")
    where: Key = ("gate", key)
    if not dot:
        tell(where, f"{text!r} is no output of a task", "write TASK.OUTPUT, such as train.model")
    elif task not in tasks:
        tell(where, f"there is no task {task!r}", did_you_mean(task, tasks, "task"))
    elif output not in tasks[task].outputs:
        tell(where, f"task {task} has no output {output!r}", did_you_mean(output, tasks[task].outputs, "output"))
    else:
        return tasks[task].outputs[output]
    return None


def approvals(gate: GateFile, delivery: str) -> int:
    """Return how many people must approve."""
    if gate.approvals is not None:
        return gate.approvals
    return 0 if delivery == "automatic" else 1
