"""A pipeline ready to plan: its tasks, and where each of their inputs comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any
from urllib.parse import quote

from caderno.errors import InvalidPipeline, Problem
from caderno.spec.file import GateFile
from caderno.spec.matrix import UNKNOWN
from caderno.spec.notebook import Notebook
from caderno.spec.select import named, with_upstream

MODEL_KIND = "mlflow-model"


@dataclass(frozen=True)
class FromTask:
    """An output of another task."""

    task: str
    output: str


@dataclass(frozen=True)
class FromFile:
    """A file or directory of the project: `path` is relative to the root, or absolute."""

    path: str


@dataclass(frozen=True)
class FromUrl:
    """A URL, handed over as it is; what is behind it does not enter the fingerprint."""

    url: str


@dataclass(frozen=True)
class FromPrevious:
    """The task's own latest result, or nothing yet. For checks only: it does not enter the fingerprint."""

    output: str


OpenAxis = tuple[str, str]  # a task of the file, and an axis of its matrix
Source = FromTask | FromFile | FromUrl | FromPrevious


@dataclass(frozen=True)
class InputSpec:
    """What one input parameter receives: a path, or with `many` a list of paths. `text` is as written."""

    text: str
    sources: tuple[Source, ...]
    many: bool


@dataclass(frozen=True)
class Task:
    """One notebook with concrete parameters.

    `id` is "train[model=forest]", `name` "train". `params` are the resolved parameters, the notebook's
    defaults included, inputs and outputs apart; `given` are those of them that the pipeline sets.
    `outputs` maps a parameter to a path in the result's directory; those of kind mlflow-model are in `models`.
    `timeout` is in seconds, `memory` in bytes. `cpus` and `resources` are what it takes, while it runs, of what a run
    has.
    """

    id: str
    name: str
    axes: Mapping[str, Any]
    notebook: Notebook
    params: Mapping[str, Any]
    given: Mapping[str, Any]
    inputs: Mapping[str, InputSpec]
    outputs: Mapping[str, str]
    models: frozenset[str]
    upstream: tuple[str, ...]
    where: str
    retries: int = 0
    timeout: float | None = None
    memory: int | None = None
    cold: bool = False
    cpus: int = 1
    resources: Mapping[str, int] = field(default_factory=dict)
    on_request: bool = False
    strict: bool = False
    env: tuple[str, ...] = ()

    @cached_property
    def folder(self) -> str:
        """The task's place in the store: train/model=forest."""
        return "/".join([self.name, *(f"{axis}={quote(str(value), safe=' ,+@')}" for axis, value in self.axes.items())])

    @property
    def is_open(self) -> bool:
        """Whether a value of its matrix is known only when an upstream has run: it stands for one task or more."""
        return UNKNOWN in self.axes.values()

    @property
    def overridden(self) -> list[str]:
        """The parameters whose value is not the notebook's default."""
        declared = self.notebook.parameters
        return [name for name, value in self.given.items() if name in declared and declared[name].default != value]


@dataclass(frozen=True)
class Pipeline:
    """A pipeline ready to plan: `tasks` by id, each after its upstream; `resources` is what a run has of each.

    `preload` are the modules that warm kernels have imported, None for those that notebooks import.
    `open` names the outputs that the values of matrices will come from, by task of the file and axis.
    `gate` are the rules for its models, which with `delivery` "automatic" a run itself applies. `routes` names the
    function that makes addresses of its own for the prediction service. `remote` is where other machines' results are,
    `day` what {{ ds }} stands for.
    """

    name: str
    description: str
    profile: str | None
    tasks: dict[str, Task]
    resources: Mapping[str, int] = field(default_factory=dict)
    preload: tuple[str, ...] | None = None
    open: Mapping[OpenAxis, FromTask] = field(default_factory=dict)
    gate: GateFile | None = None
    delivery: str = "manual"
    routes: str | None = None
    remote: str | None = None
    day: date | None = None
    _unfold: Callable[[Mapping[OpenAxis, Sequence[Any]]], Pipeline] | None = field(default=None, repr=False)

    @property
    def model(self) -> str:
        """The name of its model in MLflow's registry: the gate's, else its own."""
        return (self.gate and self.gate.model) or self.name

    def closed(self, values: Mapping[OpenAxis, Sequence[Any]]) -> Pipeline:
        """Return the pipeline with the values of some open axes known. Raises InvalidPipeline where they don't do."""
        assert self._unfold
        return self._unfold(values)

    def select(self, targets: Sequence[str]) -> list[Task]:
        """Return the tasks that `targets` name (see select.py) with all upstream of them.

        Without targets: all tasks but those that run on request only. Raises UnknownName.
        """
        wanted = self.named(targets) if targets else {t.id for t in self.tasks.values() if not t.on_request}
        wanted = with_upstream(self.tasks, wanted)
        return [task for task in self.tasks.values() if task.id in wanted]

    def named(self, targets: Sequence[str]) -> set[str]:
        """Return the ids of the tasks that `targets` name, without what they need. Raises UnknownName."""
        return named(self.tasks, targets)

    def one(self, target: str) -> Task:
        """Return the one task that `target` names; raise where it is none or several."""
        wanted = self.named([target])
        found = [task for task in self.tasks if task in wanted]
        if len(found) > 1:
            raise InvalidPipeline([Problem(target, f"is {len(found)} tasks", f"name one of them, such as {found[0]}")])
        return self.tasks[found[0]]
