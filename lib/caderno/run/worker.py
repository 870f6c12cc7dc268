"""One task, from its resolved inputs to its committed result."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caderno import report
from caderno.errors import TrackingError
from caderno.events import now
from caderno.plan import digests
from caderno.plan.planner import Planner, Resolved
from caderno.plan.records import Cell, Failure, Git, Input, Output, TaskRecord
from caderno.plan.store import LOG, NOTEBOOK, PAGE
from caderno.plan.tables import table_with
from caderno.remote import Elsewhere
from caderno.run import execute as executing
from caderno.run.context import RUN_TAG
from caderno.run.fetching import bring, here
from caderno.run.kernels import KILLED, KernelControl
from caderno.run.ledger import Ledger, Open
from caderno.run.masking import Mask
from caderno.run.outcomes import Done
from caderno.run.tracking import Model, source_tags
from caderno.run.warm import Parent
from caderno.run.watching import Watch, undeclared, watch_for
from caderno.spec import Task


@dataclass(frozen=True)
class RunContext:
    """What all tasks of a run share."""

    run: str
    planner: Planner
    ledger: Ledger
    parent: Open | None  # the run's own; None where the task stands alone
    git: Git | None
    user: str
    host: str
    machine: str
    warm: Parent | None  # of the kernels; None where each starts cold
    threads: int  # native threads that a task may use for each of its cpus
    retry: bool = True  # whether tasks that fail are tried again, as their retries say
    remote: Elsewhere | None = None  # where results of other machines are


def run_task(
    context: RunContext,
    task: Task,
    resolved: Resolved,
    control: KernelControl,
    on_cell: Callable[[int, Cell], None],
    force: bool = False,
) -> Done:
    """Run one task to its record, unless its result is there by now, here or on another machine.

    While another run computes the same fingerprint this waits, and then uses its result.
    """
    store, remote = context.planner.store, context.remote

    def given_up() -> bool:
        return control.reason is not None

    with store.lock(resolved.fingerprint, given_up):
        if not force:
            if found := here(store, task, resolved):
                return (*found, "cached")
            brought = None
            if remote and remote.ask(task, resolved):
                brought = bring(store, remote, task, resolved, given_up)
            if brought:
                return (*brought, "fetched")
        for _ in range(task.retries + 1 if context.retry else 1):
            control.renew()
            record, place = _attempt(context, task, resolved, control, on_cell)
            if record.state != "failed":
                break
        if record.state == "succeeded":
            store.point_latest(task.folder, record.fingerprint)
        return record, place, "computed"


def _attempt(
    context: RunContext,
    task: Task,
    resolved: Resolved,
    control: KernelControl,
    on_cell: Callable[[int, Cell], None],
) -> tuple[TaskRecord, Path]:
    staged = context.planner.store.stage(task.folder, resolved.fingerprint)
    try:
        return _attempt_in(staged, context, task, resolved, control, on_cell)
    except BaseException:  # the disk is full, say: what it wrote must not keep it so
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _attempt_in(
    staged: Path,
    context: RunContext,
    task: Task,
    resolved: Resolved,
    control: KernelControl,
    on_cell: Callable[[int, Cell], None],
) -> tuple[TaskRecord, Path]:
    store = context.planner.store
    place = store.place(task.folder, resolved.fingerprint)
    tracked = context.ledger.start(task.id, tags_of(context, task, resolved), place, context.parent)
    started, began = now(), time.monotonic()
    execution, mask = execute_in(
        staged, context, task, resolved, tracked, control, on_cell, timeout=task.timeout, memory=task.memory
    )
    reads = undeclared(context.planner.project, execution.sight.read)
    failure = execution.failure or _edited(context, task, resolved) or _forbidden(task, reads)
    outputs: dict[str, Output] = {}
    if failure is None:
        outputs, failure = made(context, task, tracked, staged)
    if failure is None and execution.sight.ran:  # the picture was wrong: this result's place is another
        resolved = context.planner.observe(task, resolved, execution.sight.ran)
        context.ledger.will_stand(tracked, store.place(task.folder, resolved.fingerprint))
    logged = context.ledger.logged(tracked)
    record = TaskRecord(
        pipeline=context.planner.pipeline.name,
        task=task.id,
        state="succeeded" if failure is None else KILLED if failure.kind == KILLED else "failed",
        fingerprint=resolved.fingerprint,
        notebook=task.notebook.name,
        profile=context.planner.pipeline.profile,
        day=context.planner.pipeline.day,
        run=context.run,
        started=started,
        seconds=round(time.monotonic() - began, 3),
        user=context.user,
        host=context.host,
        machine=context.machine,
        params=dict(task.params),
        overridden=task.overridden,
        inputs=_with_tables(context, resolved),
        env=resolved.env,
        outputs=outputs,
        code=resolved.code,
        git=context.git,
        tracking=tracked.run,
        kernel=control.kind,
        metrics=logged.metrics,
        cpu=execution.usage.cpu,
        peak=execution.usage.peak,
        cells=execution.cells,
        failure=failure,
        unseen=sorted(execution.sight.ran),
        undeclared=reads,
    )
    record = TaskRecord.model_validate_json(mask.text(record.model_dump_json()))
    notebook = mask.notebook(execution.notebook)
    executing.write_notebook(notebook, staged / NOTEBOOK)
    earlier = store.before(store.home(task.folder), record.started, report.EARLIER)
    (staged / PAGE).write_text(report.render_task(record, notebook, earlier), encoding="utf-8")
    committed = store.commit(staged, record)
    context.ledger.close(tracked, record, logged, committed)
    return record, committed


def execute_in(
    staged: Path,
    context: RunContext,
    task: Task,
    resolved: Resolved,
    tracked: Open,
    control: KernelControl,
    on_cell: Callable[[int, Cell], None],
    **options: Any,
) -> tuple[executing.Execution, Mask]:
    """Execute a task's notebook with `staged` as the directory of its result; return that and the mask for it.

    `options` are further ones of `execute`.
    """
    for output in task.outputs.values():
        (staged / output).parent.mkdir(parents=True, exist_ok=True)
    environment = _environment(context, task, tracked)
    mask = Mask.of(environment, [item.path for items in resolved.inputs.values() for item in items])
    execution = executing.execute(
        task.notebook.raw,
        parameters(context.planner, task, resolved, staged),
        folder=task.notebook.path.parent,
        environment=environment,
        watch=_watch(context, task, resolved, tracked, staged),
        mask=mask,
        partial=staged / NOTEBOOK,
        log=staged / LOG,
        control=control,
        on_cell=on_cell,
        warm=None if task.cold else context.warm,
        **options,
    )
    return execution, mask


def parameters(planner: Planner, task: Task, resolved: Resolved, target: Path) -> dict[str, Any]:
    """Return what papermill injects: paths of inputs, the given parameters, paths of outputs in `target`.

    Paths are relative to the notebook's folder, where its kernel works (through links: `..` follows none).
    """
    folder = task.notebook.path.parent.resolve()

    def path(value: str) -> str:
        return value if "://" in value else Path(os.path.relpath(planner.project.root / value, folder)).as_posix()

    injected: dict[str, Any] = {}
    for name, spec in task.inputs.items():
        paths = [path(item.path) for item in resolved.inputs[name]]
        injected[name] = paths if spec.many else paths[0] if paths else None
    injected |= task.given
    for name, output in task.outputs.items():
        if name not in task.models:
            injected[name] = path(str(target / output))
    return injected


def _environment(context: RunContext, task: Task, tracked: Open) -> Mapping[str, str]:
    threads = str(context.threads * task.cpus)
    defaults = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    return (
        defaults
        | dict(os.environ)
        | tracked.tracking.kernel_environment(tracked.run)
        | {"PYTHONPATH": context.planner.project.python_path}
    )


def tags_of(context: RunContext, task: Task, resolved: Resolved) -> dict[str, str]:
    """Return the tags of a task's run in MLflow."""
    return source_tags(context.git, context.user) | {
        RUN_TAG: context.run,
        "caderno.pipeline": context.planner.pipeline.name,
        "caderno.task": task.id,
        "caderno.fingerprint": resolved.fingerprint,
        "mlflow.source.name": task.notebook.name,
    }


def _watch(context: RunContext, task: Task, resolved: Resolved, tracked: Open, staged: Path) -> Watch:
    project = context.planner.project
    inputs = [
        project.root / item.path for items in resolved.inputs.values() for item in items if "://" not in item.path
    ]
    known = [*inputs, staged, *tracked.tracking.files()]
    return watch_for(project, task, context.planner.seen(task).picture, known)


def _forbidden(task: Task, reads: list[str]) -> Failure | None:
    """Where a task is strict, a file that it read undeclared is its failure."""
    if not task.strict or not reads:
        return None
    more = f" and {len(reads) - 1} more" if len(reads) > 1 else ""
    return Failure(kind="undeclared read", message=f'{reads[0]}{more}; declare it under inputs: "file:{reads[0]}"')


def _edited(context: RunContext, task: Task, resolved: Resolved) -> Failure | None:
    """A helper that changed while the task ran leaves open which version it used: then there is no result."""
    after = context.planner.code(task, anew=True).units
    changed = sorted(name for name, digest in resolved.code.units.items() if after.get(name) != digest)
    if not changed:
        return None
    return Failure(kind="edited", message=f"{', '.join(changed)} changed while the task ran; run it again")


def made(context: RunContext, task: Task, tracked: Open, staged: Path) -> tuple[dict[str, Output], Failure | None]:
    """Return the declared outputs with their digests, or the failure that one is missing."""
    try:
        models = _models(task, tracked, staged)
    except TrackingError as error:
        return {}, Failure(kind="MLflow", message=error.message)
    found: dict[str, Output] = {}
    missing = []
    for name, path in task.outputs.items():
        model = models.get(name)
        if not (staged / path).exists():
            missing.append(f"mlflow model named {name!r}" if name in task.models else path)
            continue
        digest, size = digests.of_path(staged / path, context.planner.cache)
        found[name] = Output(
            path=path,
            digest=digest,
            size=size,
            model_uri=model.uri if model else None,
            table=table_with(digest, staged / path),
        )
    if missing:
        return {}, Failure(kind="missing output", message=f"the notebook did not write: {', '.join(missing)}")
    return found, None


def _with_tables(context: RunContext, resolved: Resolved) -> dict[str, list[Input]]:
    """Return the inputs with their shapes."""
    root = context.planner.project.root
    return {
        name: [item.model_copy(update={"table": table_with(item.digest, root / item.path)}) for item in items]
        for name, items in resolved.inputs.items()
    }


def _models(task: Task, tracked: Open, staged: Path) -> dict[str, Model]:
    """Fetch the models that are outputs of a task; return those that its notebook logged, by name."""
    logged = tracked.tracking.models(tracked.run) if task.models else {}
    found = {name: logged[name] for name in task.outputs if name in task.models and name in logged}
    for name, model in found.items():
        tracked.tracking.fetch(model, staged / task.outputs[name])
    return found
