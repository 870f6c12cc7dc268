"""Plans, runs and records on the terminal."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.markup import escape
from rich.table import Table

from caderno.errors import CadernoError
from caderno.plan.environment import masked
from caderno.plan.gc import Result
from caderno.plan.planner import Plan, Planned, Planner
from caderno.plan.records import RunRecord, TaskRecord
from caderno.run.console import ListingConsole, clean, new_table
from caderno.run.folds import Line, base, fold
from caderno.run.progress import counted, duration
from caderno.spec import UNSET, Task
from caderno.spec.matrix import UNKNOWN

if TYPE_CHECKING:
    from caderno.report import Diff

_STYLES = {
    "cached": "dim green",
    "fetch": "green",
    "fetched": "green",
    "run": "cyan",
    "wait": "yellow",
    "succeeded": "green",
    "failed": "bold red",
    "killed": "bold red",
    "skipped": "yellow",
}


def show_plan(plan: Plan, named: Collection[str] = (), unfold: bool = False, every_reason: bool = False) -> None:
    """Print each task with what a run would do, and why; those alike in one line, save the ids in `named`.

    With `every_reason`, each stands on a line of its own, with how the code is reached and how cells differ.
    """
    from caderno.report.text import size

    lines = [Line(planned.state, planned.why, (planned.task.id,)) for planned in plan.tasks]
    folded = lines if unfold else fold(lines, named, ("run", "wait", "fetch", "cached"))
    table = new_table("", "task", "why")
    by_id = {planned.task.id: planned for planned in plan.tasks}
    for line in folded:
        why = _reasons(by_id[line.tasks[0]]) if every_reason else escape(line.why)
        table.add_row(f"[{_STYLES[line.state]}]{line.state}[/]", escape(line.label), why)
    counts = Counter(planned.state for planned in plan.tasks)
    console = ListingConsole()
    console.print(table)
    waiting = f", {counts['wait']:,} wait for them" if counts["wait"] else ""
    hint = "" if len(folded) == len(lines) else "  [dim](--all: a line each)[/]"
    there = f", {counts['fetch']:,} to fetch ({size(sum(one.size for one in plan.tasks))})" if counts["fetch"] else ""
    console.print(f"{counts['run']:,} to run{waiting}{there}, {counts['cached']:,} cached{hint}")


def _reasons(planned: Planned) -> str:
    """Return all reasons of a task as lines of markup, and with which result they compare."""
    if not planned.reasons:
        return escape(planned.why)
    lines = []
    for reason in planned.reasons:
        lines.append(escape(clean(reason.text)))
        lines += [f"  [dim]{escape(clean(line))}[/]" for line in reason.detail]
    if planned.compared:
        lines.append(f"[dim]compared with the result {planned.compared[:16]}[/]")
    return "\n".join(lines)


def plan_as_json(plan: Plan) -> str:
    """Return a plan as one JSON object: what `plan --why` shows, for programs.

    The value of an axis is null where it is known only when an upstream has run.
    """
    tasks = [
        {
            "task": planned.task.id,
            "name": planned.task.name,
            "axes": {axis: None if value is UNKNOWN else value for axis, value in planned.task.axes.items()},
            "upstream": planned.task.upstream,
            "state": planned.state,
            "why": planned.why,
            "fingerprint": planned.resolved.fingerprint if planned.resolved else None,
            "compared": planned.compared or None,
            "size": planned.size,
            "reasons": [asdict(reason) for reason in planned.reasons],
        }
        for planned in plan.tasks
    ]
    found = {"pipeline": plan.pipeline.name, "profile": plan.pipeline.profile, "tasks": tasks}
    return json.dumps(found, indent=1, ensure_ascii=False)


def show_run(record: RunRecord, unfold: bool = False) -> None:
    """Print how a run went, failures first; tasks that went the same way in one line."""
    console = ListingConsole()
    profile = f", profile {record.profile}" if record.profile else ""
    console.print(
        f"[bold]{escape(record.pipeline)}[/]{profile}: [{_STYLES[record.state]}]{record.state}[/] "
        f"in {duration(record.seconds)}, {record.started.astimezone():%Y-%m-%d %H:%M:%S}, by {escape(record.user)}"
    )
    lines = [Line(task.state, task.why, (task.task,), task.seconds) for task in record.tasks]
    folded = lines if unfold else fold(lines, order=("failed", "killed", "skipped", "succeeded", "fetched", "cached"))
    table = new_table("", "task", "time", "why")
    for line in folded:
        seconds = duration(line.seconds) if line.state not in ("cached", "skipped") else ""
        table.add_row(f"[{_STYLES[line.state]}]{line.state}[/]", escape(line.label), seconds, escape(line.why))
    console.print(table)
    if len(folded) < len(lines):
        counts = Counter[str](task.state for task in record.tasks)
        console.print(f"{counted(counts)}  [dim](--all: a line each)[/]")


def show_record(record: TaskRecord, place: str) -> None:
    """Print what is known of one execution of a task."""
    console = ListingConsole()
    console.print(
        f"[bold]{escape(record.task)}[/] [{_STYLES[record.state]}]{record.state}[/] in {duration(record.seconds)}, "
        f"{record.started.astimezone():%Y-%m-%d %H:%M:%S}, by {escape(record.user)} on {escape(record.host)}"
    )
    table = new_table("", "", "")
    for kind, name, text in _facts(record, place):
        table.add_row(f"[dim]{kind}[/]", escape(name), escape(text))
    table.show_header = False
    console.print(table)
    if record.failure:
        cell = f" in cell {record.failure.number}" if record.failure.number is not None else ""
        console.print(f"[bold red]{escape(record.failure.kind)}[/]{cell}: {escape(clean(record.failure.message))}")


def _facts(record: TaskRecord, place: str) -> list[tuple[str, str, str]]:
    from caderno.report.text import size

    facts = [("notebook", record.notebook, ""), ("result", place, ""), ("fingerprint", record.fingerprint, "")]
    facts.append(("kernel", record.kernel, ""))
    if record.peak:
        facts.append(("took", f"{record.cpu:g} s of processor, {size(record.peak)} of memory", ""))
    for name, value in record.params.items():
        facts.append(("parameter", name, f"{value}{'' if name in record.overridden else '  (default)'}"))
    for name, items in record.inputs.items():
        facts += [("input", name, f"{item.source}  {(item.digest or 'not seen')[:12]}") for item in items]
    for name, output in record.outputs.items():
        facts.append(("output", name, f"{output.path}  {output.digest[:12]}  {output.size:,} bytes"))
    facts += [("metric", name, f"{value:.6g}") for name, value in sorted(record.metrics.items())]
    facts += [("code", name, digest[:12]) for name, digest in record.code.units.items()]
    facts += [("package", name, version) for name, version in record.code.packages.items()]
    if record.git:
        facts.append(("git", record.git.commit[:12], "with uncommitted changes" if record.git.dirty else ""))
    if record.tracking:
        facts.append(("MLflow run", record.tracking.run_id, record.tracking.url or record.tracking.tracking_uri))
    return facts


def show_diff(diff: Diff, page: str) -> None:
    """Print what changed between two results of a task; `page` shows the same."""
    console = ListingConsole()
    for name, one in (("before", diff.old.record), ("now", diff.new.record)):
        console.print(
            f"[dim]{name:<7}[/]{one.fingerprint[:8]}  {one.started.astimezone():%Y-%m-%d %H:%M:%S}  "
            f"[{_STYLES[one.state]}]{one.state}[/] in {duration(one.seconds)}  run {escape(one.run)}"
        )
    if diff.is_empty:
        console.print("nothing changed")
    table = new_table("", "", "", "")
    table.show_header = False
    for metric in diff.metrics:
        said = metric.texts
        if metric.difference != 0:
            noise = {True: "beyond noise", False: "within noise", None: ""}[metric.beyond_noise]
            moved = f"{said.arrow} {said.difference}  {noise}" if metric.difference else ""
            table.add_row("[dim]metric[/]", escape(metric.name), f"{said.old or '–'} → {said.new or '–'}", moved)
    kinds = (("parameter", diff.params), ("input", diff.inputs), ("package", diff.versions), ("output", diff.outputs))
    for kind, changes in kinds:
        for change in changes:
            values = f"{'–' if change.old is None else change.old} → {'–' if change.new is None else change.new}"
            table.add_row(f"[dim]{kind}[/]", escape(change.name), escape(values), escape("; ".join(change.notes)))
    for change in diff.code:
        table.add_row("[dim]helper[/]", escape(change.name), _fate(change.old, change.new))
    for figure in diff.figures:
        table.add_row("[dim]figure[/]", escape(figure.caption), _fate(figure.old, figure.new))
    console.print(table)
    for cell in diff.cells:
        console.print(f"[bold]{cell.type} cell {cell.new or cell.old} {_fate(cell.old, cell.new)}[/]")
        for sign, line in cell.lines:
            style = {"+": "green", "-": "red", " ": "dim"}[sign]
            console.print(f"  [{style}]{sign} {escape(clean(line))}[/]")
    console.print(f"page: {escape(page)}")


def _fate(old: object, new: object) -> str:
    return "is new" if old is None else "is gone" if new is None else "changed"


def show_params(task: Task) -> None:
    """Print a notebook's parameters: type, default, what it receives, and the comment in the notebook."""
    table = new_table("parameter", "type", "default", "receives", "")
    for name, parameter in task.notebook.parameters.items():
        default = "(none)" if parameter.required else "(an expression)" if parameter.default is UNSET else None
        table.add_row(
            escape(name),
            escape(parameter.annotation or ""),
            escape(default or json.dumps(parameter.default, ensure_ascii=False)),
            escape(_received(task, name)),
            f"[dim]{escape(parameter.comment)}[/]",
        )
    console = ListingConsole()
    console.print(table if task.notebook.parameters else f"{task.notebook.name} declares no parameters")


def _received(task: Task, name: str) -> str:
    """Return what a task hands over for a parameter, as the pipeline file says it; "" for the default."""
    if name in task.given:  # a model's name may be a parameter's too
        return json.dumps(task.given[name], ensure_ascii=False)
    if name in task.inputs:
        return f"input {masked(task.inputs[name].text)}"
    return f"output {task.outputs[name]}" if name in task.outputs else ""


def papermill_command(planner: Planner, task: Task) -> str:
    """Return the shell command by which papermill alone executes `task`, from the project's root.

    Its outputs go to data/papermill/, since nothing but a run may write a result. Raises CadernoError where an
    input is not there yet.
    """
    from caderno.run.tracking import environment
    from caderno.run.worker import parameters

    plan = planner.plan([task.id])
    planned = plan.tasks[-1]
    if planned.resolved is None:
        raise CadernoError(f"the inputs of {task.id} are not there yet: {planned.why}", f"run: caderno run {task.id}")
    target = Path("data/papermill", task.folder)
    injected = parameters(planner, task, planned.resolved, planner.project.root / target)
    injected = {name: value for name, value in injected.items() if name in task.notebook.parameters}
    given = yaml.safe_dump(injected, default_flow_style=True, sort_keys=False, width=10**9, allow_unicode=True).strip()
    relative = planner.project.relative
    variables = {"PYTHONPATH": str(planner.project.lib), **environment(planner.project)}
    words = [
        *("env", *(f"{name}={value}" for name, value in variables.items())),
        *("papermill", task.notebook.name, f"{target}/notebook.ipynb"),
        *("--cwd", relative(task.notebook.path.parent), "--kernel", task.notebook.kernel, "-y", given),
    ]
    return f"cd {shlex.quote(str(planner.project.root))} && mkdir -p {shlex.quote(str(target))} && {shlex.join(words)}"


def show_garbage(results: Sequence[Result], kept: int, leftovers: Sequence[Path], dry_run: bool) -> None:
    """Print which results go, task by task, and what that frees."""
    from caderno.report.text import count, size

    console = ListingConsole()
    by_task: dict[str, list[Result]] = {}
    for result in results:
        by_task.setdefault(base(result.record.task), []).append(result)
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for column in range(4):
        table.add_column(justify="right" if column in (1, 2) else "left", no_wrap=True)
    for name, members in by_task.items():
        tasks = {member.record.task for member in members}
        label = next(iter(tasks)) if len(tasks) == 1 else f"{name} ×{len(tasks):,}"
        days = f"{members[0].record.started:%Y-%m-%d} to {members[-1].record.started:%Y-%m-%d}"
        table.add_row(label, count(len(members), "result"), size(sum(one.size for one in members)), days)
    if by_task:
        console.print(table)
    if leftovers:
        console.print(f"and what attempts that were killed left: {count(len(leftovers), 'folder')}")
    verb = "would remove" if dry_run else "removes"
    total = size(sum(result.size for result in results))
    console.print(f"{verb} {count(len(results), 'result')}, {total}; keeps {kept:,}")
