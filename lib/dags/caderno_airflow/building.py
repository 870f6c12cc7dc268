"""From the description of a pipeline to a DAG.

    check ─▶ registry ──────────────────┬─▶ dataset ─▶ train? ─▶ train ×4 ─▶ compare ─▶ deliver ─▶ ask
          ─▶ flights? ─▶ flights ×12 ───┘                                                           ┊
                                                                                approve ─▶ promote ◀┘

A task with a matrix is mapped over the ids that a task before it (`flights.unfold`) returns: those whose results are
not there yet. So neither profile nor day needs to be known when the file is parsed. Where people must approve, the last
task triggers a DAG that asks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param, chain

from caderno_airflow.description import Pipeline, Task
from caderno_airflow.notes import first_words
from caderno_airflow.operators import OWN_PARAMS, Check, Deliver, Run, Unfold

APPROVAL = ".approval"  # after a pipeline's name: the DAG that asks
_ROOM = timedelta(minutes=5)  # beyond a task's own timeout: the engine ends it itself, and says at which cell
_RULE = "none_failed"  # upstream that had nothing to do is skipped, which keeps nobody from going on
_PLAN_TIME = timedelta(minutes=30)
_PLAN_RETRIES = 2  # a machine may die under it; wrong input is never tried again
_ASKED, _SOON = 10, timedelta(seconds=5)  # how often somebody is asked again whose answer can't be signed
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def dags_of(pipeline: Pipeline, root: Path, dags: Path) -> list[DAG]:
    """Return the DAG of a pipeline, and the one that asks for approvals where its delivery needs any."""
    asks = [_approval_of(pipeline, dags)] if pipeline.approvals and pipeline.delivers else []
    return [dag_of(pipeline, root, dags), *asks]


def dag_of(pipeline: Pipeline, root: Path, dags: Path) -> DAG:
    """Return the DAG of a pipeline of the project at `root`, whose DAG folder is `dags`."""
    schedule = pipeline.schedule
    zone = ZoneInfo(schedule.timezone)
    dag = _dag(
        pipeline,
        dag_id=pipeline.name,
        description=pipeline.description or None,
        schedule=CronDataIntervalTimetable(schedule.cron, timezone=schedule.timezone),  # a day's run follows the day
        start_date=schedule.start and datetime.combine(schedule.start, time.min, zone),
        end_date=schedule.end and datetime.combine(schedule.end, time.max, zone),
        catchup=schedule.catchup,
        max_active_runs=schedule.active_runs,
        doc_md=_about(pipeline),
    )
    own = {key: value for key, value in pipeline.params.items() if key not in OWN_PARAMS}
    common: dict[str, Any] = {
        "pipeline": pipeline.name,
        "zone": schedule.timezone,
        "dags": str(dags),
        "written": own,
    }
    with dag:
        check = Check(
            task_id="pipeline.check",
            task_display_name="check",
            execution_timeout=_PLAN_TIME,
            retries=_PLAN_RETRIES,
            doc_md="Is the input right, and what is there to do? (`caderno plan`)",
            **common,
        )
        made: dict[str, Any] = {}
        for task in pipeline.tasks.values():
            upstream = [made[other] for other in task.upstream if other in made] or [check]
            made[task.name] = _task(task, upstream, common, first_words(root / "notebooks" / task.notebook))
        if pipeline.delivers:
            deliver = Deliver(
                task_id="pipeline.deliver",
                task_display_name="deliver",
                needs=list(dict.fromkeys(pipeline.delivers)),
                trigger_rule=_RULE,
                retries=_PLAN_RETRIES,
                outlets=[_asset(pipeline)],
                doc_md="Releases the best candidate, and promotes it if the gate lets it and no approval is missing.",
                **_queue(pipeline),
                **common,
            )
            ends = [made[name] for name in made if not any(name in other.upstream for other in pipeline.tasks.values())]
            deliver.set_upstream(ends)
            if pipeline.approvals:
                deliver >> _ask(pipeline)
    dag.params.update(params_of(pipeline, root))  # now: each task would copy them all
    dag.validate()
    return dag


def _dag(pipeline: Pipeline, **options: Any) -> DAG:
    """Return a DAG with what all DAGs of a pipeline share."""
    return DAG(
        tags=list(pipeline.tags),
        default_args={"owner": pipeline.owner} if pipeline.owner else {},
        auto_register=False,
        **options,
    )


def _asset(pipeline: Pipeline) -> Asset:
    return Asset(pipeline.model, f"caderno://models/{pipeline.model}", group="model")


def _queue(pipeline: Pipeline) -> dict[str, Any]:
    queue = pipeline.schedule.delivery_queue
    return {"queue": queue} if queue else {}


def _ask(pipeline: Pipeline) -> Any:
    from caderno_airflow.approving import Ask  # operators of the standard provider: only where they are needed

    return Ask(
        task_id="pipeline.ask",
        task_display_name="ask",
        trigger_dag_id=f"{pipeline.name}{APPROVAL}",
        trigger_rule=_RULE,
        retries=_PLAN_RETRIES,
        doc_md=f"Starts `{pipeline.name}{APPROVAL}`, where people approve.",
    )


def _approval_of(pipeline: Pipeline, dags: Path) -> DAG:
    """Return the DAG in which people approve a version, one after the other, and which promotes it then."""
    from caderno_airflow.approving import Approve, Promote

    common: dict[str, Any] = {
        "pipeline": pipeline.name,
        "zone": pipeline.schedule.timezone,
        "dags": str(dags),
        "trigger_rule": _RULE,
        **_queue(pipeline),
    }
    dag = _dag(
        pipeline,
        dag_id=f"{pipeline.name}{APPROVAL}",
        description=f"Who approves the models of {pipeline.name}?",
        schedule=None,
    )
    with dag:
        asked = [
            Approve(
                task_id="approve" if pipeline.approvals == 1 else f"approve_{number}",
                retries=_ASKED,
                retry_delay=_SOON,
                doc_md="Waits for a person; the answer goes to the ledger, as of `caderno approve` or `refuse`.",
                **common,
            )
            for number in range(1, pipeline.approvals + 1)
        ]
        promote = Promote(
            task_id="promote",
            retries=_PLAN_RETRIES,
            outlets=[_asset(pipeline)],
            doc_md="Makes the version the champion, if nothing is missing.",
            **common,
        )
        chain(*asked, promote)
    dag.params["version"] = Param(
        None, type=["null", "string"], title="Version", description="Of the model; left out: the challenger."
    )
    dag.validate()
    return dag


def _task(task: Task, upstream: list[Any], common: Mapping[str, Any], about: str | None) -> Any:
    """Return the operator of a task, below its upstream."""
    options: dict[str, Any] = {
        "retries": task.retries,
        "pool_slots": task.cpus,
        "trigger_rule": _RULE,
        "execution_timeout": timedelta(seconds=task.timeout) + _ROOM if task.timeout else None,
        "doc_md": about,
    }
    options |= {key: value for key, value in (("pool", task.pool), ("queue", task.queue)) if value}
    if not task.mapped:
        made = Run(task_id=task.name, target=task.name, **options, **common)
        made.set_upstream(upstream)
        return made
    unfold = Unfold(
        task_id=f"{task.name}.unfold",
        task_display_name=f"{task.name}: which?",
        name=task.name,
        trigger_rule=_RULE,
        execution_timeout=_PLAN_TIME,
        retries=_PLAN_RETRIES,
        doc_md=f"Which tasks of the matrix of `{task.name}` have no result yet?",
        **{key: value for key, value in options.items() if key == "queue"},
        **common,
    )
    unfold.set_upstream(upstream)
    return Run.partial(
        task_id=task.name,
        map_index_template="{{ task.label }}",
        **options,
        **common,
    ).expand(target=unfold.output)


def params_of(pipeline: Pipeline, root: Path) -> dict[str, Param]:
    """Return the parameters of the trigger form."""
    profiles = sorted(path.stem for path in (root / "params/profiles").glob("*.yaml"))
    found = {
        "day": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="What {{ ds }} stands for in the pipeline file. Left out: the day of the logical date; where "
            "the run has none either, notebooks keep their defaults.",
        ),
        "profile": Param(
            pipeline.schedule.profile,
            type=["null", "string"],
            enum=[None, *dict.fromkeys([*profiles, *filter(None, [pipeline.schedule.profile])])],
            title="Profile",
            description="Lay params/profiles/NAME.yaml over the pipeline.",
        ),
        "force": Param(
            False, type="boolean", title="Force", description="Make all results anew, though they are there."
        ),
    }
    for name, value in pipeline.params.items():
        if name not in OWN_PARAMS:
            found[name] = Param(value, title=name, section="Parameters of the pipeline", **_type(value))
    return found


def _type(value: Any) -> dict[str, Any]:
    """Return the JSON types that a parameter may have: its own, or, where it has no value, any."""
    return {"type": _TYPES[type(value)]} if type(value) in _TYPES else {"type": ["null", "string", "number", "boolean"]}


def _about(pipeline: Pipeline) -> str:
    lines = [
        f"# {pipeline.name}",
        pipeline.description,
        f"From `{pipeline.place}`; day by day as `caderno run --day` does.",
    ]
    return "\n\n".join(line for line in lines if line)
