"""What happens in a run, as data. Whatever watches a run (terminal, reports) is fed by these alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime


def now() -> datetime:
    """Return the wall clock's time in UTC; durations are never computed from it."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Event:
    """`run` is the run's id, `time` the wall clock in UTC."""

    run: str
    time: datetime = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """`tasks` are the ids of all tasks in the run, in order; `expected` their seconds in earlier records."""

    pipeline: str
    tasks: tuple[str, ...]
    to_run: int
    expected: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TaskCached(Event):
    """The task's result was there, with its page `report`; it was logged to the MLflow run with the id `mlflow_run`."""

    task: str
    fingerprint: str
    report: str | None = None
    mlflow_run: str | None = None


@dataclass(frozen=True, kw_only=True)
class FetchStarted(Event):
    """The task's result, of `size` bytes, is fetched from where another machine left it; `why` says who made it."""

    task: str
    fingerprint: str
    why: str
    size: int


@dataclass(frozen=True, kw_only=True)
class TaskFetched(Event):
    """The task's result has come from another machine; `report` is its page, relative to the project's root."""

    task: str
    fingerprint: str
    seconds: float
    report: str


@dataclass(frozen=True, kw_only=True)
class TaskPushed(Event):
    """The task's result is where other machines can fetch it; `size` bytes were sent."""

    task: str
    fingerprint: str
    seconds: float
    size: int


@dataclass(frozen=True, kw_only=True)
class TaskStarted(Event):
    """`cells` counts the notebook's code cells; `why` says why the task runs."""

    task: str
    fingerprint: str
    why: str
    cells: int


@dataclass(frozen=True, kw_only=True)
class TasksUnfolded(Event):
    """The result of `task` gave the values of matrices: `tasks` run `instead_of` those that stood for them."""

    task: str
    tasks: tuple[str, ...]
    instead_of: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CellFinished(Event):
    """`cell` counts the code cells executed so far, from 1; `seconds` is this cell's time.

    `cpu` is its processor time in seconds, `peak` the most memory in bytes, None where the system does not tell.
    """

    task: str
    cell: int
    cells: int
    seconds: float
    cpu: float | None = None
    peak: int | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFinished(Event):
    """The task succeeded; `report` is its page, relative to the project's root; `cpu` and `peak` as of a cell.

    `mlflow_run` is the id of the MLflow run that it was logged to.
    """

    task: str
    fingerprint: str
    seconds: float
    report: str
    cpu: float | None = None
    peak: int | None = None
    mlflow_run: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskFailed(Event):
    """`error` says what happened; `cell` is the failing cell's place in the notebook from 1, where there is one.

    `fingerprint` and `report` are None where the task left nothing; `killed`, it was stopped from outside.
    """

    task: str
    fingerprint: str | None
    seconds: float
    error: str
    notebook: str
    cell: int | None
    source: str
    traceback: str
    report: str | None
    killed: bool = False
    mlflow_run: str | None = None


@dataclass(frozen=True, kw_only=True)
class TaskSkipped(Event):
    """The task does not run; `why` says which upstream failed, or what stopped the run."""

    task: str
    why: str


@dataclass(frozen=True, kw_only=True)
class RunWarned(Event):
    """Something went wrong that costs no result."""

    message: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """`state` is succeeded, failed or killed; `counts` the number of tasks in each state.

    `report` is the run's page, relative to the project's root, where there is one; `error` what broke the run itself.
    """

    state: str
    seconds: float
    counts: dict[str, int]
    report: str | None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelDelivered(Event):
    """The run's best candidate was released, as `version` of `model`: `promoted`, it is the champion now.

    `outcome` is what the gate said, `why` its reason: promote, hold or refuse; or it is `champion`, where the best
    candidate was that already. `missing` is what keeps it from being promoted, such as an approval. `report` is the
    decision's page, relative to the project's root.
    """

    model: str
    version: str
    outcome: str
    why: str
    promoted: bool
    missing: tuple[str, ...]
    report: str | None


# In the order in which a run tells them.
EVENTS: tuple[type[Event], ...] = (
    RunStarted,
    TaskCached,
    FetchStarted,
    TaskFetched,
    TaskStarted,
    CellFinished,
    TaskFinished,
    TaskFailed,
    TaskPushed,
    TasksUnfolded,
    TaskSkipped,
    RunWarned,
    RunFinished,
    ModelDelivered,
)

Watcher = Callable[[Event], None]
