"""What a task and a run leave behind in words: `task.json` and `run.json`.

A record is written last, into the staged directory, and the rename of that directory is the commit
point: where a record can be read, its result is whole.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

TaskState = Literal["succeeded", "failed", "killed"]
RunTaskState = Literal["succeeded", "fetched", "cached", "failed", "killed", "skipped"]
REUSED = ("fetched", "cached")  # made by an earlier run, on another machine or here
DONE = ("succeeded", *REUSED)
RunState = Literal["succeeded", "failed", "killed"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Table(_Model):
    """The shape of a file of data: its columns in order with their types, "" where the file does not tell."""

    rows: int | None
    columns: dict[str, str]


class Input(_Model):
    """One file or directory that a task read, or a URL that it was given.

    `path` is relative to the project's root (a URL stands as it is); `digest` is the SHA-256 of the
    content in hex (None for a URL: what is behind it is not seen); `size` is in bytes; `task` and
    `fingerprint` name the result that made it, where a task did.
    """

    source: str  # as in the pipeline file: "dataset.train", "file:data/sources/registry.db"
    path: str
    digest: str | None
    size: int | None
    task: str | None = None  # "train[model=forest]"
    fingerprint: str | None = None
    table: Table | None = None  # where it is one


class Output(_Model):
    """One declared output: `path` is relative to the result's directory, `size` in bytes."""

    path: str
    digest: str
    size: int
    model_uri: str | None = None  # MLflow's, for an output of kind mlflow-model
    table: Table | None = None  # where it is one


class Cell(_Model):
    """One executed code cell: `index` is its place in the executed notebook, from 0.

    `cpu` is processor time in seconds, `peak` the most resident memory in bytes, both of the kernel and all that it
    started; None where the system does not tell.
    """

    index: int
    seconds: float
    cpu: float | None = None
    peak: int | None = None


class Failure(_Model):
    """Why a task did not succeed.

    `cell` is the failing cell's place in the executed notebook, from 0; `number` its place in the notebook that
    people edit, from 1, which has no cell with injected parameters.
    """

    kind: str  # "ValueError", or what happened: "dead kernel", "timeout", "missing output", "killed"
    message: str
    cell: int | None = None
    number: int | None = None
    source: str = ""  # the failing cell's source
    traceback: str = ""  # may hold ANSI colours, as IPython prints them


class Code(_Model):
    """All code that the fingerprint counts, as digests and versions."""

    notebook: str  # digest of all code cells
    cells: list[str]  # digest of each code cell, in order
    units: dict[str, str]  # what it uses of the project's code: "tools.a:f", "tools.a" (runs at import) … -> digest
    packages: dict[str, str]  # third-party distributions: name -> version
    python: str  # "3.11"


class Git(_Model):
    """The commit that the project stood at; `dirty` if files differed from it; `branch` None if detached."""

    commit: str
    branch: str | None
    dirty: bool


class TrackingRun(_Model):
    """An MLflow run. `url` opens it in the tracking server's pages, where it has some.

    `tracking_uri` shows no password, and names a store in the project relative to its root.
    """

    tracking_uri: str
    experiment_id: str
    run_id: str
    url: str | None = None


class TaskRecord(_Model):
    """`task.json`: all that is known of one execution of a task."""

    schema_version: Literal[2] = 2
    pipeline: str
    task: str  # "train[model=forest]"
    state: TaskState
    fingerprint: str
    notebook: str  # relative to the project's root: "notebooks/train.ipynb"
    profile: str | None
    run: str  # the id of the run that executed it
    fetched: bool = False  # that was elsewhere: its page is not here
    started: datetime  # UTC
    seconds: float
    user: str
    host: str
    machine: str = ""  # "Linux x86_64, 2 cores, 8.3 GB"
    params: dict[str, JsonValue]  # the resolved parameters, inputs and outputs apart
    overridden: list[str]  # those that differ from the notebook's defaults
    day: date | None = None  # of the run that executed it
    inputs: dict[str, list[Input]]
    env: dict[str, str | None] = {}  # the environment variables that it lists; None where one is not set
    outputs: dict[str, Output]
    code: Code
    git: Git | None
    tracking: TrackingRun | None
    kernel: str = "cold"  # "warm", or "cold" with the reason where it was not asked for
    metrics: dict[str, float]
    cpu: float | None = None  # as of a cell, of the whole task
    peak: int | None = None
    cells: list[Cell]
    failure: Failure | None = None
    unseen: list[str] = []  # code that ran though the notebook was not seen to use it: "tools.a:f"
    undeclared: list[str] = []  # files that Python opened to read and that are no declared input


class RunTask(_Model):
    """One task in a run, as the run left it.

    `folder` is where its notebook.ipynb, report.html and task.json stand, relative to the project's
    root; None for a skipped task. `seconds` is the time spent in this run (0.0 when cached).
    """

    task: str
    name: str  # the task's name in the pipeline file, without the matrix: "train"
    notebook: str
    state: RunTaskState
    why: str  # "new", "parameter seed changed", "cached", "Ada computed it on builder"
    upstream: list[str]
    fingerprint: str | None = None
    folder: str | None = None
    started: datetime | None = None
    seconds: float = 0.0


class RunRecord(_Model):
    """`run.json`: one execution of a pipeline."""

    schema_version: Literal[1] = 1
    run: str  # "20131105-073000-3f9a"
    pipeline: str
    description: str
    profile: str | None
    day: date | None = None
    command: str
    state: RunState
    started: datetime
    seconds: float
    user: str
    host: str
    git: Git | None
    tracking: TrackingRun | None
    tasks: list[RunTask]  # in the pipeline's order
