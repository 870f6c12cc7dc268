"""What a pipeline file says to Airflow: the tasks, what each waits for, and when the pipeline runs.

Only what a DAG is made of is looked at. All else is the engine's to check, which it does first in each run of a DAG.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from caderno_airflow import documents
from caderno_airflow.documents import Invalid

# fmt: off
PIPELINE_KEYS = frozenset({
    "name", "description", "default", "params", "env", "preload", "resources", "strict", "schedule", "owner", "tags",
    "gate", "delivery", "routes", "remote", "tasks",
})
SCHEDULE_KEYS = frozenset({"cron", "timezone", "start", "end", "catchup", "active_runs", "profile", "delivery_queue"})
TASK_KEYS = frozenset({
    "notebook", "params", "matrix", "inputs", "outputs", "after", "retries", "timeout", "kernel", "cpus", "resources",
    "memory", "env", "strict", "queue", "pool", "on_request",
})
# fmt: on
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Schedule:
    """When the pipeline runs; `start` and `end` are days in `timezone`."""

    cron: str
    timezone: str = "UTC"
    start: date | None = None
    end: date | None = None
    catchup: bool = False
    active_runs: int = 1
    profile: str | None = None
    delivery_queue: str | None = None


@dataclass(frozen=True)
class Task:
    """A task of the file. `mapped`: it has a matrix; `timeout` is in seconds; `upstream` are tasks of the file."""

    name: str
    notebook: str
    upstream: tuple[str, ...]
    mapped: bool
    retries: int
    timeout: float | None
    cpus: int
    queue: str | None
    pool: str | None


@dataclass(frozen=True)
class Pipeline:
    """A pipeline with a schedule. `tasks` are those that run without being named, each after its upstream.

    `delivers` are the tasks that a delivery at the end needs, none where nothing is delivered by itself; `approvals` is
    how many people must then approve. `place` is the file's name in messages, `line` that of its schedule.
    """

    name: str
    place: str
    line: int
    description: str
    owner: str | None
    tags: tuple[str, ...]
    params: Mapping[str, Any]
    schedule: Schedule
    tasks: Mapping[str, Task]
    delivers: tuple[str, ...]
    approvals: int
    model: str


def read(path: Path, place: str) -> Pipeline | None:
    """Return the pipeline in the file at `path`, called `place` in messages; None where it has no schedule.

    Raises Invalid with every problem found.
    """
    document = documents.load(path, place)
    if document.get("schedule") is None:
        return None
    return _Reader(document, place).pipeline(path.stem)


class _Reader:
    """Reads one document, gathering what is wrong with it."""

    def __init__(self, document: documents.Mapping, place: str) -> None:
        self._document = document
        self._place = place
        self._problems: list[str] = []

    def pipeline(self, stem: str) -> Pipeline:
        document = self._document
        self._keys(document, PIPELINE_KEYS, "")
        name = self._value(document, "name", str, "")
        if name != stem:
            self._problem(document, "name", f"is named {name!r}, its file {stem}.yaml: make the two equal")
        schedule = self._schedule()
        written = self._mapping(document, "tasks")
        if not written:
            self._problem(document, "tasks", "a pipeline needs tasks")
        tasks = {key: self._task(key, self._mapping(written, key), written) for key in written}
        wanted = self._wanted(tasks, {key for key in written if _is_true(written[key], "on_request")})
        gate = self._mapping(document, "gate")
        delivers = [str(gate.get(key, "")).partition(".")[0] for key in ("candidates", "test")] if gate else []
        made = Pipeline(
            name=name,
            place=self._place,
            line=document.lines["schedule"],
            description=self._value(document, "description", str, ""),
            owner=self._value(document, "owner", str, None),
            tags=tuple(map(str, self._value(document, "tags", list, []))),
            params=documents.plain(self._mapping(document, "params")),
            schedule=schedule,
            tasks={key: tasks[key] for key in wanted},
            delivers=tuple(delivers) if document.get("delivery") == "automatic" else (),
            approvals=0 if gate.get("approvals") is None else self._amount(gate, "approvals", 0, least=0),
            model=str(gate.get("model") or name),
        )
        if self._problems:
            raise Invalid(*self._problems)
        return made

    def _schedule(self) -> Schedule:
        document = self._document
        if isinstance(document["schedule"], str):
            return Schedule(document["schedule"])
        found = self._mapping(document, "schedule")
        self._keys(found, SCHEDULE_KEYS, " in schedule")
        if "cron" not in found:
            self._problem(document, "schedule", "schedule.cron is missing")
        zone = self._value(found, "timezone", str, "UTC")
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, LookupError):
            self._problem(found, "timezone", f"there is no time zone {zone!r}")
        return Schedule(
            cron=self._value(found, "cron", str, ""),
            timezone=zone,
            start=self._day(found, "start"),
            end=self._day(found, "end"),
            catchup=self._value(found, "catchup", bool, False),
            active_runs=self._amount(found, "active_runs", 1, least=1),
            profile=self._value(found, "profile", str, None),
            delivery_queue=self._value(found, "delivery_queue", str, None),
        )

    def _task(self, name: str, found: documents.Mapping, written: documents.Mapping) -> Task:
        self._keys(found, TASK_KEYS, f" in tasks.{name}")
        matrix = self._mapping(found, "matrix")
        axes = {axis: values for axis, values in matrix.items() if axis not in ("include", "exclude")}
        upstream: dict[str, None] = {}
        inputs = self._mapping(found, "inputs")
        for parameter, value in inputs.items():
            for text in value if isinstance(value, list) else [value]:
                self._wait(upstream, str(text), written, inputs, parameter)
        for axis, values in axes.items():
            if isinstance(values, dict):
                self._wait(upstream, str(values.get("from")), written, matrix, axis)
        for other in self._value(found, "after", list, []):
            base = str(other).partition("[")[0]
            if base not in written:
                self._problem(found, "after", f"there is no task {other!r}{_near(base, written)}")
            upstream[base] = None
        return Task(
            name=name,
            notebook=self._value(found, "notebook", str, ""),
            upstream=tuple(upstream),
            mapped=bool(axes),
            retries=self._amount(found, "retries", 0, least=0),
            timeout=self._duration(found, "timeout"),
            cpus=self._amount(found, "cpus", 1, least=1),
            queue=self._value(found, "queue", str, None),
            pool=self._value(found, "pool", str, None),
        )

    def _wait(
        self, upstream: dict[str, None], text: str, written: Iterable[str], inside: documents.Mapping, key: str
    ) -> None:
        """Note the task whose output `text` is, if it is one."""
        if text.startswith(("file:", "previous:")) or "://" in text:
            return
        other = text.partition(".")[0]
        if other in written:
            upstream[other] = None
        else:
            self._problem(inside, key, f"there is no task {other!r}{_near(other, written)}")

    def _wanted(self, tasks: Mapping[str, Task], on_request: set[str]) -> list[str]:
        """Return the tasks that run, in order: all but those on request, and what they need."""
        graph = {name: [other for other in task.upstream if other in tasks] for name, task in tasks.items()}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            name = error.args[1][0]
            self._problem(self._document["tasks"], name, f"tasks wait for each other: {' → '.join(error.args[1])}")
            return []
        wanted = tasks.keys() - on_request
        for name in reversed(order):
            if name in wanted:
                wanted |= set(graph[name])
        return [name for name in order if name in wanted]

    def _keys(self, found: documents.Mapping, known: Iterable[str], inside: str) -> None:
        for key in found:
            if key not in known:
                self._problem(found, key, f"unknown key {key!r}{inside}{_near(key, known)}")

    def _mapping(self, inside: documents.Mapping, key: str) -> documents.Mapping:
        value = inside.get(key)
        if value is not None and not isinstance(value, documents.Mapping):
            self._problem(inside, key, f"{key} must be a mapping (key: value)")
        return value if isinstance(value, documents.Mapping) else documents.Mapping(inside.lines.get(key, inside.line))

    def _value(self, inside: documents.Mapping, key: str, kind: type, default: Any) -> Any:
        value = inside.get(key, default)
        if value is default or isinstance(value, kind):
            return value
        words = {str: "a text", list: "a list", bool: "true or false"}
        self._problem(inside, key, f"{key} must be {words[kind]}, not {value!r}")
        return default

    def _amount(self, inside: documents.Mapping, key: str, default: int, least: int) -> int:
        value = inside.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        self._problem(inside, key, f"{key} must be a whole number, at least {least}, not {value!r}")
        return default

    def _duration(self, inside: documents.Mapping, key: str) -> float | None:
        value = inside.get(key)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value)
        match = re.match(r"^\s*(\d+(?:\.\d+)?)\s*(ms|[smhd])\s*$", str(value))
        if match is None:
            self._problem(inside, key, f"{key}: a duration is a number with a unit, such as 90s, 20m, 2h")
            return None
        return float(match[1]) * _SECONDS[match[2]]

    def _day(self, inside: documents.Mapping, key: str) -> date | None:
        value = inside.get(key)
        if value is None:
            return None
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self._problem(inside, key, f"{value!r} is no day such as 2013-11-05")
            return None

    def _problem(self, inside: documents.Mapping, key: str, message: str) -> None:
        self._problems.append(f"{self._place}:{inside.lines.get(key, inside.line)}: {message}")


def _is_true(task: Any, key: str) -> bool:
    return isinstance(task, dict) and task.get(key) is True


def _near(word: str, known: Iterable[str]) -> str:
    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
