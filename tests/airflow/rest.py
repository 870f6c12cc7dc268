"""Airflow's REST API, as far as the tests ask it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import requests
from processes import until

ENDED = ("success", "failed")
UNDONE = "running, queued, scheduled"


class Client:
    """Asks with a token; what Airflow can't answer just now is asked again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()

    def log_in(self) -> bool:
        """Take a token, if the server is there."""
        try:
            answer = self._session.get(f"{self._url}/auth/token", timeout=5)
        except requests.RequestException:
            return False
        if not answer.ok:
            return False
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return True

    def ask(self, method: str, path: str, content: Any = None, patience: float = 60, **query: Any) -> Any:
        """Return the answer's JSON; a server that is away or upset is asked again for `patience` seconds."""
        end = time.monotonic() + patience
        while True:
            try:
                answer = self._session.request(
                    method, f"{self._url}/api/v2/{path}", json=content, params=query, timeout=15
                )
                if answer.status_code < 500:
                    assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
                    return answer.json() if answer.content else None
                said = f"{answer.status_code} {answer.text[:500]}"
            except requests.RequestException as error:
                said = str(error)
            assert time.monotonic() < end, f"{method} {path}: {said}"
            time.sleep(0.5)

    def dag(self, dag: str) -> dict[str, Any] | None:
        """Return what Airflow knows of a DAG, None if it does not know it yet."""
        found = self.ask("GET", "dags", dag_id_pattern=dag)["dags"]
        return next((one for one in found if one["dag_id"] == dag), None)

    def import_errors(self) -> list[dict[str, Any]]:
        return list(self.ask("GET", "importErrors")["import_errors"])

    def unpause(self, dag: str) -> None:
        self.ask("PATCH", f"dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, day: str | None = None, **conf: Any) -> str:
        """Start a run, of a day or of none; return its id."""
        moment = f"{day}T00:00:00Z" if day else None
        return str(self.ask("POST", f"dags/{dag}/dagRuns", {"logical_date": moment, "conf": conf})["dag_run_id"])

    def runs(self, dag: str) -> list[dict[str, Any]]:
        return list(self.ask("GET", f"dags/{dag}/dagRuns", limit=100)["dag_runs"])

    def state(self, dag: str, run: str) -> str:
        return str(self.ask("GET", f"dags/{dag}/dagRuns/{run}")["state"])

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, by their start."""
        found = self.ask("GET", f"dags/{dag}/dagRuns/{run}/taskInstances", limit=200)["task_instances"]
        return sorted(found, key=lambda one: (one["start_date"] or "z", one["task_id"], one["map_index"]))

    def task(self, dag: str, run: str, task: str, index: int = -1) -> dict[str, Any]:
        every = self.tasks(dag, run)
        return next(one for one in every if one["task_id"] == task and one["map_index"] == index)

    def clear(self, dag: str, run: str, tasks: Sequence[str | list[Any]], **options: Any) -> None:
        """Let tasks of a run (names, or pairs of name and map index) be done anew."""
        content = {"dry_run": False, "dag_run_id": run, "task_ids": list(tasks), "only_failed": False, **options}
        self.ask("POST", f"dags/{dag}/clearTaskInstances", content)

    def log(self, dag: str, run: str, task: str, index: int = -1, attempt: int = 1) -> str:
        """Return the lines of a task's log."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        content = self.ask("GET", path, map_index=index, full_content=True)["content"]
        return "\n".join(line["event"] if isinstance(line, dict) else str(line) for line in content)

    def xcom(self, dag: str, run: str, task: str, index: int = -1) -> dict[str, Any]:
        """Return what a task left for others, by key."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries"
        entries = self.ask("GET", path, map_index=index)["xcom_entries"]
        return {one["key"]: self.ask("GET", f"{path}/{one['key']}", map_index=index)["value"] for one in entries}

    def question(self, dag: str, run: str, task: str, limit: float = 120) -> dict[str, Any]:
        """Wait until a task asks somebody, and return what it asks.

        Its executor tells only seconds later that this step is done, and until then the scheduler takes the next one
        for a failure: nobody answers as fast.
        """
        path = f"dags/{dag}/dagRuns/{run}/hitlDetails"

        def found() -> dict[str, Any] | None:
            time.sleep(8)
            every = self.ask("GET", path)["hitl_details"]
            asked = [one for one in every if one["task_instance"]["task_id"] == task and not one["response_received"]]
            return asked[0] if asked else None

        return until(found, limit, lambda: f"a question\n{self.told(dag, run)}\n{self.failures(dag, run)}") or {}

    def answer(self, dag: str, run: str, task: str, option: str, **values: Any) -> dict[str, Any]:
        """Answer it; return who did so, and when."""
        path = f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails"
        return dict(self.ask("PATCH", path, {"chosen_options": [option], "params_input": values}))

    def backfill(self, dag: str, first: str, last: str, at_once: int = 1) -> int:
        """Let Airflow run each day from first to last; return the backfill's number."""
        content = {
            "dag_id": dag,
            "from_date": f"{first}T00:00:00Z",
            "to_date": f"{last}T00:00:00Z",
            "max_active_runs": at_once,
            "reprocess_behavior": "none",
        }
        return int(self.ask("POST", "backfills", content)["id"])

    def end(self, dag: str, run: str, limit: float = 300) -> str:
        """Wait for a run's end and return its state."""
        return (
            until(
                lambda: (found := self.state(dag, run)) in ENDED and found,
                limit,
                lambda: f"the end of {dag} {run}\n{self.told(dag, run)}",
            )
            or ""
        )

    def told(self, dag: str, run: str) -> str:
        """Return how each task of a run stands, a line each."""
        lines = [f"{dag} {run}: {self.state(dag, run)}"]
        for one in self.tasks(dag, run):
            name = one["rendered_map_index"] or (one["map_index"] if one["map_index"] >= 0 else "")
            times = [(one[key] or "")[11:19] for key in ("start_date", "end_date")]
            lines.append(
                f"  {one['task_id'] + (f' [{name}]' if name != '' else ''):32} {one['state'] or '-':16} "
                f"{one['hostname'] or '-':8} {one['queue']:10} {times[0]:8} {times[1]:8} try {one['try_number']}"
            )
        return "\n".join(lines)

    def failures(self, dag: str, run: str) -> str:
        """Return the ends of the logs of the tasks that failed."""
        found = [one for one in self.tasks(dag, run) if one["state"] == "failed"]
        texts = [self.log(dag, run, one["task_id"], one["map_index"], one["try_number"]) for one in found]
        return "\n".join(f"--- {one['task_id']}\n{text[-3000:]}" for one, text in zip(found, texts, strict=True))
