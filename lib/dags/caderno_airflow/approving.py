"""Where people sign in Airflow: who presses a button there is in the ledger, as by `caderno approve`.

A model that waits for approvals has a run of a DAG of its own, so that tomorrow's run of the pipeline need not wait.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from caderno_airflow.operators import WAITS, CallsEngine, address_of

if TYPE_CHECKING:
    from airflow.sdk import Context

Version = Mapping[str, Any]  # of the model, as `caderno models --json` prints it

APPROVE, REFUSE = "Approve", "Refuse"


class Ask(TriggerDagRunOperator):
    """Starts the DAG that asks for approvals, once for each decision of the gate."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(logical_date=None, skip_when_already_exists=True, **kwargs)

    def execute(self, context: Context) -> None:
        """Trigger a run that is named as the decision is; skip where the model waits for nobody."""
        waits = context["ti"].xcom_pull(task_ids=list(self.upstream_task_ids), key=WAITS)[0]
        if not waits:
            raise AirflowSkipException("no model waits for approvals")
        self.trigger_run_id, self.conf = waits["decision"], {"version": waits["version"]}
        super().execute(context)


class Decides(CallsEngine):
    """What the tasks share that are about one version of the model: the run's, else the challenger."""

    def _options(self, context: Context) -> list[str]:
        return ["--pipeline", self.pipeline]

    def version(self, context: Context) -> tuple[Version, dict[str, Any]]:
        """Return the version with all that is known of the model. Skips where it reigns already, or was refused."""
        model = json.loads(self.call(context, "models", "--json").out)
        number = context["params"].get("version") or model["challenger"]
        found = next((one for one in model["versions"] if one["version"] == number), None)
        if found is None:
            raise AirflowFailException(f"{model['model']} has no {f'version {number}' if number else 'challenger'}")
        if number == model["champion"]:
            raise AirflowSkipException(f"version {number} is the champion already")
        for one in found.get("signed", ()):
            if one["action"] == "refuse":
                raise AirflowSkipException(f"version {number} was refused by {one['who']}: {one['why']}")
        return found, model


class Approve(Decides, HITLOperator):
    """Waits until somebody approves or refuses the version, and writes that into the ledger.

    An answer that can't be signed fails the attempt, and the next one asks again.
    """

    def __init__(self, **kwargs: Any) -> None:
        reason = Param("", type="string", title="Why", description="The reason, for the ledger.")
        super().__init__(
            subject="Shall it answer in production?", options=[APPROVE, REFUSE], params={"why": reason}, **kwargs
        )

    def execute(self, context: Context) -> None:
        """Ask. Skips where nothing is missing, or where another version is the challenger by now."""
        version, model = self.version(context)
        number = version["version"]
        if number != model["challenger"]:
            raise AirflowSkipException(f"the challenger is version {model['challenger']} by now, not {number}")
        if not version["lacking"]:
            raise AirflowSkipException(f"version {number} lacks nothing")
        self.subject = f"Shall version {number} of {model['model']} answer in production?"
        self.body = question(version, model)
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, str]:
        """Sign as who answered; return what was written."""
        answer = super().execute_complete(context, event)
        (chosen,), why = answer["chosen_options"], str(answer["params_input"].get("why", "")).strip()
        if not why:
            raise AirflowException("the ledger needs a reason, and asks again")
        who = signer(answer["responded_by_user"])
        version, _ = self.version(context)
        action = "approve" if chosen == APPROVE else "refuse"
        try:
            self.call(context, action, version["version"], "--why", why, "--as", who)
        except AirflowFailException as error:  # such as an author who approves: somebody else may
            raise AirflowException(str(error)) from None
        return {"action": action, "version": version["version"], "who": who, "why": why}


class Promote(Decides):
    """Makes the version the champion if nothing is missing: an event of the asset that stands for the model."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the model's name and version, and what the gate said."""
        version, model = self.version(context)
        by = ", ".join(one["who"] for one in version["signed"]) or "nobody"
        self.call(context, "promote", version["version"], "--why", f"approved by {by}", "--as", "Airflow")
        facts = {"model": model["model"], **{key: version[key] for key in ("version", "outcome", "why", "report")}}
        for asset in self.outlets:
            context["outlet_events"][asset].extra = facts
        return facts


def signer(user: Mapping[str, str] | None) -> str:
    """Return a user of Airflow as the ledger names people."""
    if not user:
        raise AirflowFailException("Airflow does not say who answered: caderno approve, on the command line")
    return f"{user['name']} <{user['id']}>" if "@" in user["id"] else user["name"]


def question(version: Version, model: Mapping[str, Any]) -> str:
    """Return what a reviewer is told, in Markdown: what the gate said, figures, what is missing, where to read more."""
    champion = next((one for one in model["versions"] if one["version"] == model["champion"]), None)
    shown = [version, *([champion] if champion else [])]
    heads = [f"version {one['version']}{' (champion)' if one is champion else ''}" for one in shown]
    lines = [
        f"The gate says **{version['outcome']}**: {version['why']}.",
        "",
        f"| on the gate's rows | {' | '.join(heads)} |",
        "| --- |" + " ---: |" * len(shown),
        *(
            f"| {name} | " + " | ".join(_figure(one["metrics"].get(name)) for one in shown) + " |"
            for name in version["metrics"]
        ),
        "",
        f"Made by `{version['task']}` from commit `{(version['commit'] or 'none')[:12]}`, by {_names(version)}.",
        f"Before it can be promoted: {'; '.join(version['lacking'])}.",
        *(["Authors can't approve their own (four eyes)."] if model["four_eyes"] else []),
        "",
    ]
    address = address_of(version["report"])
    return "\n".join([*lines, f"[The whole decision]({address})" if address else f"The whole: `{version['report']}`"])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _names(version: Version) -> str:
    return ", ".join(dict.fromkeys(str(one).partition(" <")[0] for one in version["authors"]))
