"""The tasks of a DAG: each calls the engine once, and tells Airflow what came of it.

Exit code 0 is success; 1, or a signal, is a failure that Airflow tries again as `retries:` says; 2 (wrong input) and 3
(a gate or an approval is missing) fail at once, since trying again changes nothing.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from caderno_airflow import engine
from caderno_airflow.engine import Ended, Engine, EngineMissing, Event

if TYPE_CHECKING:
    from airflow.sdk import Context

OWN_PARAMS = ("day", "profile", "force")  # of the trigger form; the others are the pipeline's
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PROGRESS = 10.0  # seconds between what is told of a task's progress
WAITS = "waits"  # the key under which a delivery tells of a model that waits for approvals
_ROOM = 1000  # mapped tasks at most: Airflow's own limit, [core] max_map_length, is 1024


class ReportLink(BaseOperatorLink):
    """A button that opens the page of a task's result, where CADERNO_REPORTS_URL says from where reports/ is served."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address of the page; "" where there is none."""
        return address_of(getattr(operator, "page", None))


def address_of(page: str | None) -> str:
    """Return where a page of reports/ is served; "" where that is not known."""
    base = os.environ.get("CADERNO_REPORTS_URL", "").rstrip("/")
    return f"{base}/{page.removeprefix('reports/')}" if base and page else ""


class CallsEngine(BaseOperator):
    """What all tasks share: the pipeline's options, and the call.

    `written` are the parameters of the pipeline as its file has them: only others are handed over.
    """

    def __init__(
        self, *, pipeline: str, zone: str, dags: str, written: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.zone = zone
        self.dags = dags
        self.written = dict(written or {})
        self._engine: Engine | None = None

    def call(self, context: Context, *words: str) -> Ended:
        """Run `caderno WORDS` on the pipeline; raise what its exit code means to Airflow."""
        self._engine = Engine(engine.project_of(Path(self.dags)))
        options = self._options(context)
        self.log.info("caderno %s", " ".join([*words, *options]))
        try:
            ended = self._engine.call([*words, *options], lambda event: self.on_event(context, event), self.log.info)
        except EngineMissing as error:
            raise AirflowFailException(str(error)) from None
        self.on_end(context, ended)
        match ended.code:
            case 0:
                return ended
            case engine.WRONG_INPUT | engine.GATE | engine.NOT_RUN:
                raise AirflowFailException(ended.why)
        failed = [engine.told(event)[1].splitlines()[0] for event in ended.events if event["event"] == "task_failed"]
        raise AirflowException("\n".join(failed) or ended.why)

    def on_event(self, context: Context, event: Event) -> None:
        """Log an event as it comes."""
        level, text = engine.told(event)
        self.log.log(_LEVELS[level], text)

    def on_end(self, context: Context, ended: Ended) -> None:
        """Look at what a command has told, however it ended."""

    def on_kill(self) -> None:
        """End the engine with all its processes: the task was cleared, marked, stopped, or took too long."""
        if self._engine:
            self._engine.stop()

    def _options(self, context: Context) -> list[str]:
        given = dict(context["params"])
        options = ["--pipeline", self.pipeline]
        if day := given.get("day") or self._day(context):
            options += ["--day", str(day)]
        if profile := given.get("profile"):
            options += ["--profile", str(profile)]
        for name, default in self.written.items():
            if name in given and given[name] != default:
                options += ["-p", f"{name}={json.dumps(given[name])}"]
        return options

    def _day(self, context: Context) -> str | None:
        """Return the day of the logical date; None where the run has no such date.

        The schedule's hours are of its time zone, so its days are, too. Who gives a date by hand gives it in UTC.
        """
        run = context["dag_run"]
        zone = "UTC" if run.run_type == "manual" else self.zone
        return run.logical_date.astimezone(ZoneInfo(zone)).date().isoformat() if run.logical_date else None

    def forced(self, context: Context) -> list[str]:
        """Return the option that has results made anew, if the run asks for it."""
        return ["--force"] if context["params"].get("force") else []


class Check(CallsEngine):
    """The first task of a run: fails at once where the input is wrong, and says what there is to do."""

    def execute(self, context: Context) -> dict[str, int]:
        """Return how many tasks have their result, run, or wait for upstream."""
        ended = self.call(context, "plan", "--json", *self.forced(context))
        counts: dict[str, int] = {}
        for task in json.loads(ended.out)["tasks"]:
            counts[task["state"]] = counts.get(task["state"], 0) + 1
            if task["state"] != "cached":
                self.log.info("%s: %s, %s", task["task"], task["state"], task["why"])
        return counts


class Unfold(CallsEngine):
    """Tells which tasks of a matrix have no result yet, when all upstream of it is there."""

    def __init__(self, *, name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name

    def execute(self, context: Context) -> list[str]:
        """Return their ids: as many tasks are mapped."""
        found = self._missing(context)
        if any(None in one["axes"].values() for one in found):  # its values are on another machine: fetch them
            self.call(context, "run", *sorted({text for one in found for text in one["upstream"]}), *_ONE)
            found = self._missing(context)
        ids = [one["task"] for one in found]
        self.log.info("%s to run: %s", len(ids), ", ".join(ids) or "all results are there")
        return ids if len(ids) <= _ROOM else [self.name]

    def _missing(self, context: Context) -> list[dict[str, Any]]:
        ended = self.call(context, "plan", self.name, "--json", *self.forced(context))
        return [one for one in engine.missing(ended.out) if one["name"] == self.name]


_ONE = ("--json", "--no-retries", "--no-deliver")  # how one task is run: all else is Airflow's


class Run(CallsEngine):
    """Runs one task of the pipeline, or one of its matrix: `target`.

    What is upstream of it has its result by then, here or in the remote.
    """

    operator_extra_links = (ReportLink(),)

    def __init__(self, *, target: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.page: str | None = None
        self._told = 0.0

    @property
    def label(self) -> str:
        """Which task of the matrix this is, such as model=forest."""
        return self.target.partition("[")[2].removesuffix("]") or self.target

    def execute(self, context: Context) -> dict[str, Any] | list[dict[str, Any]]:
        """Return the result's fingerprint, MLflow run and page, and whether it was computed or reused."""
        ended = self.call(context, "run", self.target, *_ONE, *self.forced(context))
        found = engine.results(ended.events, self.target, self.pipeline)
        return found[0] if len(found) == 1 else found

    def on_event(self, context: Context, event: Event) -> None:
        """Log an event, and tell how far the task is."""
        super().on_event(context, event)
        if event["event"] == "cell_finished" and time.monotonic() - self._told > _PROGRESS:
            self._told = time.monotonic()
            context["ti"].xcom_push("progress", f"cell {event['cell']} of {event['cells']}")

    def on_end(self, context: Context, ended: Ended) -> None:
        """Keep the page of the result, or of the failure, for the button."""
        found = engine.results(ended.events, self.target, self.pipeline)
        self.page = next((one["report"] for one in found if one["report"]), None)


class Deliver(CallsEngine):
    """The last task: releases the best candidate, and promotes it if the gate lets it.

    It is skipped where nothing becomes the champion; what it did is an event of the asset that stands for the model.
    """

    operator_extra_links = (ReportLink(),)

    def __init__(self, *, needs: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.needs = list(needs)
        self.page: str | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the model's name and version, and what the gate said."""
        ended = self.call(context, "run", *self.needs, "--json", "--no-retries", "--deliver")
        (event,) = [event for event in ended.events if event["event"] == "model_delivered"]
        self.page = event["report"]
        if event["outcome"] == "promote" and event["missing"]:
            waits = {"version": event["version"], "decision": Path(event["report"]).stem}
            context["ti"].xcom_push(WAITS, waits)
        if not event["promoted"]:
            raise AirflowSkipException(engine.told(event)[1])
        facts = {key: event[key] for key in ("model", "version", "outcome", "why", "report")}
        for asset in self.outlets:
            context["outlet_events"][asset].extra = facts
        return facts
