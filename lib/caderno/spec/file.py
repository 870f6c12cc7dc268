"""The shape of a pipeline file: one pydantic model a mapping, and its problems in words.

params/README.md is the reference of every key for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationError,
    WithJsonSchema,
)

from caderno.errors import InvalidPipeline, Problem, did_you_mean
from caderno.spec.yaml import Document, Key

_NAME = r"^[A-Za-z_][A-Za-z0-9_-]*$"
_DURATION = r"^\s*(\d+(?:\.\d+)?)\s*(ms|[smhd])\s*$"
_MEMORY = r"^\s*(\d+(?:\.\d+)?)\s*([KMGTkmgt])B?\s*$"
_CRON = r"^(@(hourly|daily|weekly|monthly|yearly)|[\d*/,A-Za-z-]+( +[\d*/,A-Za-z#?-]+){4})$"
_DATE = r"^\d{4}-\d\d-\d\d$"
_PLACE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}

Name = Annotated[str, Field(pattern=_NAME)]
Scalar = str | int | float | bool


def _duration(value: Any) -> Any:
    if isinstance(value, str) and (match := re.match(_DURATION, value)):
        return float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError("a duration is a number with a unit, such as 90s, 20m, 2h")


def _memory(value: Any) -> Any:
    if isinstance(value, str) and (match := re.match(_MEMORY, value)):
        return int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper()))
    raise ValueError("an amount of memory is a number with a unit, such as 500M or 4G")


def _distinct(values: list[Scalar]) -> list[Scalar]:
    seen: set[str] = set()
    for text in map(str, values):
        if text in seen:
            raise ValueError(f"the value {text} stands twice")
        seen.add(text)
    return values


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name of an environment variable")
    return name


def _place(text: str) -> str:
    if not re.fullmatch(_PLACE, text):
        raise ValueError(f"{text!r} is not module:name under lib/, such as shop.rules:check")
    return text


def _cron(text: str) -> str:
    if not re.fullmatch(_CRON, text):
        raise ValueError(f"{text!r} is neither @hourly, @daily, @weekly, @monthly, @yearly nor five fields of cron")
    return text


def _day(text: str) -> str:
    if not re.fullmatch(_DATE, text):
        raise ValueError(f"{text!r} is no day such as 2013-11-05")
    return date.fromisoformat(text).isoformat()


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError(f"there is no time zone {text!r}; {did_you_mean(text, available_timezones(), 'zone')}")
    return text


Cron = Annotated[str, Field(json_schema_extra={"pattern": _CRON}), AfterValidator(_cron)]
Day = Annotated[str, Field(json_schema_extra={"pattern": _DATE}), AfterValidator(_day)]
Place = Annotated[str, Field(json_schema_extra={"pattern": _PLACE}), AfterValidator(_place)]
Variable = Annotated[str, Field(json_schema_extra={"pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"}), AfterValidator(_variable)]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    Field(gt=0),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": _DURATION}]}),
]
Memory = Annotated[int, BeforeValidator(_memory), Field(gt=0), WithJsonSchema({"type": "string", "pattern": _MEMORY})]
Amount = Annotated[int, Field(ge=1)]
Values = Annotated[list[Scalar], Field(min_length=1), AfterValidator(_distinct)]


class _Mapping(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FromOutput(_Mapping):
    """The values of an axis: those in an output of another task, once it is there."""

    output: str = Field(
        alias="from", description="TASK.OUTPUT: a JSON file with a list of values, or a text with one a line."
    )


_VALUES, _FROM = "[values]", "[from]"  # in no key of a file: they are taken out of the places of problems
Axis = Annotated[
    Annotated[Values, Tag(_VALUES)] | Annotated[FromOutput, Tag(_FROM)],
    Discriminator(lambda value: _FROM if isinstance(value, dict | FromOutput) else _VALUES),
]


class MatrixFile(_Mapping):
    """Axes and their values: the task once for each combination."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"propertyNames": {"pattern": _NAME}})

    exclude: list[dict[Name, Scalar]] = Field(
        [], description="Combinations to leave out: each that agrees with all the values named."
    )
    include: list[dict[Name, Scalar]] = Field([], description="Combinations to add; each names every axis.")
    __pydantic_extra__: dict[Name, Axis]

    @property
    def axes(self) -> dict[str, list[Scalar] | FromOutput]:
        """The values of each axis, or where they come from, in the file's order."""
        return self.__pydantic_extra__


class TaskFile(_Mapping):
    """A task: one notebook with concrete parameters, or with a matrix several of them."""

    notebook: str = Field(description="Path under notebooks/, such as etl/flights.ipynb.")
    params: dict[Name, JsonValue] = Field(
        {}, description="Parameters of the notebook, by name; they go before the pipeline's."
    )
    matrix: MatrixFile = Field(
        default_factory=lambda: MatrixFile.model_validate({}),
        description="The task once for each combination of values; the notebook receives each as a parameter.",
    )
    inputs: dict[Name, str | list[str]] = Field(
        {},
        description="A parameter of the notebook and where its path comes from: TASK.OUTPUT, file:PATH, "
        "previous:OUTPUT, a URL, or a list of these.",
    )
    outputs: dict[Name, str] = Field(
        {}, description="A parameter of the notebook and a file name in the result, or mlflow-model."
    )
    after: list[str] = Field([], description="Tasks to wait for, where only the order matters.")
    retries: Annotated[int, Field(ge=0)] = Field(0, description="How often a failed task is tried again at once.")
    timeout: Duration | None = Field(
        None, description="The longest that the task may take: 90s, 20m, 2h, or seconds; then it is interrupted."
    )
    kernel: Literal["warm", "cold"] = Field(
        "warm",
        description="warm: forked from a process that has imported what notebooks import; cold: started anew.",
    )
    cpus: Amount = Field(1, description="The share of `--jobs` that the task takes; its native threads are as many.")
    resources: dict[Name, Amount] = Field(
        {}, description="What the task takes of the pipeline's resources while it runs, such as gpu: 1."
    )
    memory: Memory | None = Field(
        None, description="The most memory that the task may take, with all that it starts: 500M, 4G; then it is ended."
    )
    env: list[Variable] = Field(
        [], description="Environment variables whose values count as parameters do; with the pipeline's."
    )
    strict: bool | None = Field(
        None, description="Whether reading a file that is no declared input fails the task; overrides the pipeline's."
    )
    queue: str | None = Field(None, description="The queue of Airflow whose workers run the task, such as gpu.")
    pool: str | None = Field(
        None, description="The pool of Airflow that the task takes its cpus of; default: Airflow's."
    )
    on_request: bool = Field(
        False, description="Whether the task runs only when it is named, or needed by one that is."
    )


class ScheduleFile(_Mapping):
    """When Airflow runs the pipeline."""

    cron: Cron = Field(description='When: "0 6 * * *" (minute, hour, day, month, weekday), @daily, @hourly, …')
    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="The zone that cron's hours are of.")
    start: Day | None = Field(None, description="The first day of which there is a run.")
    end: Day | None = Field(None, description="The last day of which there is a run.")
    catchup: bool = Field(False, description="Whether days that were missed, since start, are run too.")
    active_runs: Amount = Field(1, description="How many days may run at once.")
    profile: Name | None = Field(None, description="The profile that scheduled runs have.")
    delivery_queue: str | None = Field(
        None, description="The queue of the tasks that deliver and ask: decisions and pages stay on its machine."
    )


def _schedule(value: Any) -> Any:
    return {"cron": value} if isinstance(value, str) else value


Metric = Literal["roc_auc", "brier", "log_loss", "mean_absolute_error", "root_mean_squared_error"]


class BoundFile(_Mapping):
    """Between which values a metric must be; None where that is free."""

    min: float | None = Field(None, description="The least that is let through.")
    max: float | None = Field(None, description="The most that is let through.")


class GateFile(_Mapping):
    """The rules by which a candidate may follow the champion."""

    candidates: str = Field(description="TASK.OUTPUT of kind mlflow-model: the best of these is released.")
    test: str = Field(description="TASK.OUTPUT: the table of rows that no candidate saw, on which models are compared.")
    outcome: str = Field(description="The column of what really happened: 0 and 1, or a number.")
    unit: str | None = Field(
        None, description="The column within whose values rows depend on one another, such as day; else none do."
    )
    metric: Metric = Field(description="What candidate and champion are compared by.")
    margin: float = Field(
        0.0,
        description="By more than this the candidate must be better for sure; below 0: it may be worse by that.",
    )
    equivalence: Annotated[float, Field(ge=0)] = Field(
        0.0, description="A difference that is for sure within ± this counts as none."
    )
    bounds: dict[Name, BoundFile] = Field(
        {},
        description="Metrics of the candidate alone, the gate's or those its notebook logged, with min and max.",
    )
    slices: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="Columns, and by how much the candidate may be worse within each of their values."
    )
    contract: Place | None = Field(
        None, description="module:object under lib/ that checks the test rows, by its validate() or a call."
    )
    latency: Duration | None = Field(None, description="The longest that the model may take for one row, such as 50ms.")
    size: Memory | None = Field(None, description="The most that the model's files may take, such as 100M.")
    approvals: Annotated[int, Field(ge=0)] | None = Field(
        None, description="How many people must approve: 1 if delivery is manual, else 0."
    )
    four_eyes: bool = Field(False, description="Whether the author of the commit can't be the one who approves.")
    model: Name | None = Field(None, description="The model's name in MLflow's registry; default: the pipeline's.")


class PipelineFile(_Mapping):
    """A pipeline: its tasks, and parameters for each task whose notebook declares them."""

    name: Name = Field(description="The file's name without .yaml.")
    description: str = Field("", description="One line, the headline of the reports.")
    default: bool = Field(False, description="The pipeline to take where params/ has several and none is named.")
    params: dict[Name, JsonValue] = Field(
        {}, description="Parameters for each task whose notebook declares them, by name."
    )
    env: list[Variable] = Field(
        [], description="Environment variables whose values count, as parameters do, for every task."
    )
    strict: bool = Field(False, description="Whether reading a file that is no declared input fails a task.")
    preload: list[str] | None = Field(
        None, description="The modules that warm kernels have imported; default: what the notebooks import."
    )
    resources: dict[Name, Amount] = Field(
        {}, description="How much of each resource a run has, such as gpu: 1; tasks name what they take."
    )
    schedule: Annotated[ScheduleFile, BeforeValidator(_schedule)] | None = Field(
        None, description="When Airflow runs the pipeline: cron's five fields, or a mapping with `cron`."
    )
    owner: str | None = Field(None, description="Who answers for the pipeline, as Airflow shows it.")
    tags: list[str] = Field([], description="Words by which Airflow's pages find the pipeline.")
    gate: GateFile | None = Field(None, description="The rules by which a candidate may follow the champion.")
    delivery: Literal["manual", "automatic"] = Field(
        "manual",
        description="Whether a run itself releases its best candidate, and promotes it if the gate lets it and no "
        "approval is missing.",
    )
    routes: Place | None = Field(
        None,
        description="module:function under lib/ that makes the Flask blueprint which `caderno serve` mounts, too.",
    )
    remote: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Where results are kept for other machines: a shared folder, a URL such as s3://bucket/prefix, or "
        "mlflow; the variable CADERNO_REMOTE goes before.",
    )
    tasks: Annotated[dict[Name, TaskFile], Field(min_length=1)] = Field(
        description="The tasks by name; edges come from their inputs."
    )


def validate(document: Document) -> PipelineFile:
    """Return the checked content of a pipeline file; raise InvalidPipeline with every problem in it."""
    try:
        return PipelineFile.model_validate(document.value)
    except ValidationError as error:
        details = sorted(error.errors(), key=lambda detail: detail["type"] == "missing")  # a misspelt key comes first
        problems = dict.fromkeys(_problem(document, detail) for detail in details)
        raise InvalidPipeline(sorted(problems, key=_order)) from None


def _order(problem: Problem) -> tuple[str, int]:
    file, _, line = problem.where.rpartition(":")
    return (file, int(line)) if line.isdigit() else (problem.where, 0)


def _known(parent: Key) -> Iterable[str]:
    """Return the keys of the mapping that stands at `parent`."""
    match parent:
        case ():
            return PipelineFile.model_fields
        case ("schedule",):
            return ScheduleFile.model_fields
        case ("gate",):
            return GateFile.model_fields
        case ("gate", *_):
            return BoundFile.model_fields
        case (_, _):
            return TaskFile.model_fields
        case _:
            return ["from"]  # of an axis


def _problem(document: Document, detail: Any) -> Problem:
    key: Key = tuple(part for part in detail["loc"] if part not in ("[key]", _VALUES, _FROM))
    while key and key not in document.lines and detail["type"] != "missing":
        key = key[:-1]  # pydantic names the member of a union too
    path = ".".join(map(str, key))
    where = document.where(key)
    match detail["type"]:
        case "extra_forbidden":
            parent = key[:-1]
            known = _known(parent)
            inside = f" in {'.'.join(map(str, parent))}" if parent else ""
            return Problem(where, f"unknown key {key[-1]!r}{inside}", did_you_mean(str(key[-1]), known, "key"))
        case "missing":
            return Problem(where, f"{path} is missing", "params/README.md has an example of each key")
        case "string_pattern_mismatch":
            return Problem(where, f"{path}: a name has letters, digits, _ and -, and starts with a letter")
        case "model_type" | "dict_type":
            return Problem(where, f"{path or 'a pipeline file'} must be a mapping (key: value)")
        case _:
            return Problem(where, f"{path}: {detail['msg'].removeprefix('Value error, ')}")
