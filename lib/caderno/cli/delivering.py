"""Commands that deliver models: release, approve, refuse, promote, rollback, models, history, ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from caderno.cli import completing
from caderno.cli.common import cli, pipeline_option

if TYPE_CHECKING:
    from caderno.deliver.delivery import Delivery
    from caderno.deliver.ledger import Action
    from caderno.deliver.standing import Person
    from caderno.events import ModelDelivered
    from caderno.plan.planner import Plan
    from caderno.plan.records import RunRecord
    from caderno.project import Project
    from caderno.spec import Pipeline

_as = click.option("--as", "who", metavar="'NAME <MAIL>'", help="Who acts; default: git's user.name and user.email.")


def _why(required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--why", required=required, metavar="REASON", help="The reason, for the ledger.")


_version = click.argument("version", required=False, shell_complete=completing.versions)


def delivery_of(pipeline: str | None) -> Delivery:
    """Return the delivery of the pipeline that an option names. Raises CadernoError."""
    from caderno import spec
    from caderno.deliver.delivery import Delivery
    from caderno.project import Project

    project = Project.find(Path.cwd())
    return Delivery(project, spec.load(project, spec.choose(project, pipeline)), note)


def note(text: str) -> None:
    """Tell what was done beside what was asked."""
    click.echo(f"note: {text}", err=True)


def _person(project: Project, given: str | None) -> Person:
    from caderno.deliver.standing import Person, whoami

    person = Person.read(given) if given is not None else whoami(project.root)
    if not person.name:
        raise click.BadParameter(f"{given!r} names nobody", param_hint="--as")
    return person


def _named(pipeline: str | None) -> str:
    """Return the option that names a pipeline in the next command; "" where this one needed none."""
    return f" --pipeline {pipeline}" if pipeline else ""


def check_candidates(plan: Plan) -> None:
    """Raise where a run of `plan` would have nothing to deliver."""
    from caderno.deliver.delivery import gate_of

    gate = gate_of(plan.pipeline)
    needed = [text.partition(".")[0] for text in (gate.candidates, gate.test)]
    there = {planned.task.name for planned in plan.tasks}
    if missing := [name for name in needed if name not in there]:
        raise click.UsageError(f"--deliver needs {' and '.join(missing)}: name {'them' if missing[1:] else 'it'} too")


def deliver(project: Project, pipeline: Pipeline, run: RunRecord) -> ModelDelivered | None:
    """Deliver what a run made; return what came of it, None where it made no candidates."""
    from caderno import report
    from caderno.deliver.delivery import Delivery
    from caderno.deliver.standing import Person
    from caderno.events import ModelDelivered
    from caderno.run.provenance import user_name

    delivery = Delivery(project, pipeline, note)
    if delivery.gate.candidates.partition(".")[0] not in {task.name for task in run.tasks}:
        return None
    found = delivery.automatic(Person(f"caderno run, by {user_name(project.root)}"))
    if found is None:
        why, champion = f"the best candidate is {delivery.model}'s champion already", delivery.standing().champion
        click.echo(f"delivery: {why}", err=True)
        return ModelDelivered(
            run=run.run,
            model=delivery.model,
            version=champion or "",
            outcome="champion",
            why=why,
            promoted=False,
            missing=(),
            report=None,
        )
    decision, missing = found
    page = project.relative(report.decision_file(project, decision.pipeline, decision.name))
    became = f"is not promoted ({'; '.join(missing)})" if missing else "is the champion now"
    click.echo(f"delivery: {delivery.model} version {decision.version} {became}; {page}", err=True)
    return ModelDelivered(
        run=run.run,
        model=delivery.model,
        version=decision.version,
        outcome=decision.outcome,
        why=decision.why,
        promoted=not missing,
        missing=tuple(missing),
        report=page,
    )


@cli.command()
@pipeline_option
@_as
def release(pipeline: str | None, who: str | None) -> None:
    """Register the best candidate of the last run, and let the gate decide on it.

    It becomes the challenger, unless the gate refuses it. The decision is a page in reports/ and JSON beside it.
    Exit code 0 if the gate would promote it, else 3.

    \b
    caderno run && caderno release
    """
    from caderno import report
    from caderno.deliver import telling
    from caderno.deliver.candidates import best

    delivery = delivery_of(pipeline)
    person = _person(delivery.project, who)
    candidate = best(delivery.project, delivery.store, delivery.gate)
    click.echo(f"{candidate.record.task} of run {candidate.run}, on the test rows of {candidate.test_task} …", err=True)
    decision, new = delivery.release(candidate, person)
    page = report.decision_file(delivery.project, decision.pipeline, decision.name)
    telling.show_decision(decision, new, delivery.project.relative(page), _named(pipeline))
    if decision.outcome != "promote":
        raise SystemExit(3)


@cli.command()
@_version
@pipeline_option
@_why(required=True)
@_as
def approve(version: str | None, pipeline: str | None, why: str, who: str | None) -> None:
    """Approve VERSION, by default the challenger: sign its report, figures, notebook and files.

    When one of them differs later, the approval is void.

    \b
    caderno approve --why "calibration looked at, months are stable"
    caderno approve 3 --why "…" --as "Name <name@example.org>"
    """
    _sign("approve", version, pipeline, why, who)


@cli.command()
@_version
@pipeline_option
@_why(required=True)
@_as
def refuse(version: str | None, pipeline: str | None, why: str, who: str | None) -> None:
    """Refuse VERSION, by default the challenger: it is not promoted while that stands.

    \b
    caderno refuse --why "worse for the small airports"
    """
    _sign("refuse", version, pipeline, why, who)


def _sign(action: Action, version: str | None, pipeline: str | None, why: str, who: str | None) -> None:
    delivery = delivery_of(pipeline)
    person = _person(delivery.project, who)
    signed = delivery.sign(action, version, person, why)
    click.echo(f"{delivery.model} version {signed.number}: {action}d by {person}")
    missing = delivery.lacking(signed.number)
    done = f"nothing is missing: caderno promote{_named(pipeline)}"
    click.echo("\n".join(f"missing: {one}" for one in missing) if missing else done)


@cli.command()
@_version
@pipeline_option
@_why(required=False)
@click.option("--emergency", is_flag=True, help="Promote whatever gate and approvals say; needs --why.")
@_as
def promote(version: str | None, pipeline: str | None, why: str | None, emergency: bool, who: str | None) -> None:
    """Make VERSION, by default the challenger, the champion.

    Exit code 3, with all that is missing, where the gate does not let it or approvals lack, or where somebody else was
    quicker.

    \b
    caderno promote
    caderno promote 4 --emergency --why "the champion answers nonsense since the feed changed"
    """
    if emergency and not why:
        raise click.UsageError("an emergency needs its reason: --why")
    delivery = delivery_of(pipeline)
    person = _person(delivery.project, who)
    seen = delivery.standing().champion
    promoted = delivery.promote(version, person, why or "", emergency, seen)
    before = f", after version {seen}" if seen else ""
    click.echo(f"{delivery.model}: version {promoted.number} is the champion{before}")


@cli.command()
@click.option("--to", "version", metavar="VERSION", help="An earlier champion; default: the one before.")
@pipeline_option
@_why(required=True)
@_as
def rollback(version: str | None, pipeline: str | None, why: str, who: str | None) -> None:
    """Go back at once to the champion before, or to an earlier one.

    \b
    caderno rollback --why "alarms doubled since noon"
    """
    delivery = delivery_of(pipeline)
    person = _person(delivery.project, who)
    back = delivery.rollback(version, person, why)
    click.echo(f"{delivery.model}: version {back.number} is the champion again")


@cli.command()
@pipeline_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with what the challenger lacks.")
def models(pipeline: str | None, as_json: bool) -> None:
    """List the versions of the pipeline's model: aliases, metrics, what the gate said, who signed.

    \b
    caderno models
    """
    from caderno.deliver import telling

    delivery = delivery_of(pipeline)
    with delivery.ledger.turn():
        now = delivery.settle()
    lacking = {now.challenger: delivery.lacking(now.challenger)} if now.challenger else {}
    if as_json:
        click.echo(json.dumps(telling.models(delivery, now, lacking), ensure_ascii=False))
    else:
        telling.show_models(delivery.model, now, lacking, _named(pipeline))


@cli.command()
@pipeline_option
def history(pipeline: str | None) -> None:
    """Show who released, approved, promoted and rolled back what, when and why.

    \b
    caderno history
    """
    from caderno import spec
    from caderno.deliver import telling
    from caderno.deliver.delivery import gate_of
    from caderno.deliver.ledger import ledger_of
    from caderno.project import Project

    project = Project.find(Path.cwd())
    loaded = spec.load(project, spec.choose(project, pipeline))
    gate_of(loaded)
    telling.show_history(ledger_of(project).rows(loaded.model))


@cli.group()
def ledger() -> None:
    """Check the ledger of decisions, or put MLflow's aliases back to what it says."""


@ledger.command()
@pipeline_option
def verify(pipeline: str | None) -> None:
    """Find any change, gap or other order of rows, any alias that no row explains, and files that differ.

    Exit code 3 where something is found.

    \b
    caderno ledger verify
    """
    from caderno.deliver.files import Tampered

    delivery = delivery_of(pipeline)
    found = delivery.faults()
    if found:
        raise Tampered("\n".join(found), "aliases: caderno ledger restore; models: caderno run, caderno release")
    count = len(delivery.ledger.rows())
    click.echo(f"{count} row{'s' * (count != 1)} in order; MLflow's aliases and the models' files are as they say")


@ledger.command()
@pipeline_option
def restore(pipeline: str | None) -> None:
    """Put MLflow's aliases back to what the ledger says.

    \b
    caderno ledger restore
    """
    moved = delivery_of(pipeline).restore()
    click.echo("\n".join(f"put back: {one}" for one in moved) if moved else "the aliases are as the ledger says")
