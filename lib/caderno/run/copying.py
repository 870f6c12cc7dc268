"""Copying runs from one MLflow store to another: parameters, metrics with their history, tags, inputs, files, models.

Traces are not copied. A copy bears the tag `caderno.copy_of`, so copying again after a kill goes on where it was.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from caderno.run.tracking import Tracking

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run

COPY_OF = "caderno.copy_of"
_BATCH = 100  # of parameters; MLflow takes as many, and ten times as many metrics
_PARENT = "mlflow.parentRunId"


class Copy:
    """The runs of one experiment of `source`, copied to `target`: old ids to new ones in `runs` and `models`.

    Copies are still open: `finish` ends one.
    """

    def __init__(self, source: Tracking, target: Tracking) -> None:
        self._source = source.client
        self._target = target
        self._originals: dict[str, Run] = {}
        self.runs: dict[str, str] = {}
        self.models: dict[str, str] = {}
        for run in _all(self._source.search_runs, [source.experiment], order_by=["attributes.start_time ASC"]):
            self._originals[run.info.run_id] = run
            self.runs[run.info.run_id] = self._run(run)
        for model in _all(self._source.search_logged_models, [source.experiment]):
            self.models[model.model_id] = self._model(model)
        for run in self._originals.values():
            self._content(run)
        self._open = set(self.runs)

    def finish(self, old: str, status: str) -> None:
        """End the copy of a run, when its original ended."""
        self._open.discard(old)
        self._target.finish(self.runs[old], status, self._originals[old].info.end_time)

    def finish_rest(self) -> None:
        """End the other copies as their originals ended; what was never ended was killed."""
        for old in sorted(self._open):
            status = self._originals[old].info.status
            self.finish(old, "KILLED" if status == "RUNNING" else status)

    def _run(self, run: Run) -> str:
        client = self._target.client
        known = client.search_runs([self._target.experiment], f"tags.`{COPY_OF}` = '{run.info.run_id}'")
        if known:
            return str(known[0].info.run_id)
        tags = {**run.data.tags, COPY_OF: run.info.run_id}
        if _PARENT in tags:
            tags[_PARENT] = self.runs.get(tags[_PARENT], tags[_PARENT])
        made = client.create_run(self._target.experiment, run.info.start_time, tags, run.info.run_name)
        return str(made.info.run_id)

    def _content(self, run: Run) -> None:
        from mlflow.entities import Param

        client, new = self._target.client, self.runs[run.info.run_id]
        params = [Param(*pair) for pair in run.data.params.items()]
        for start in range(0, len(params), _BATCH):
            client.log_batch(new, params=params[start : start + _BATCH])
        for key in run.data.metrics:
            self._metrics(new, self._source.get_metric_history(run.info.run_id, key))
        datasets, used, made = self._linked(run)
        if datasets or used:
            client.log_inputs(new, datasets or None, used or None)
        if made:
            client.log_outputs(new, made)
        files = _local(run.info.artifact_uri)
        if files.is_dir():
            client.log_artifacts(new, str(files))

    def _linked(self, run: Run) -> tuple[list[Any], list[Any], list[Any]]:
        """Return the data sets that a run used, and the models that it used and made, by their new names."""
        from mlflow.entities import LoggedModelInput, LoggedModelOutput

        datasets = run.inputs.dataset_inputs if run.inputs else []
        used = run.inputs.model_inputs if run.inputs else []
        made = run.outputs.model_outputs if run.outputs else []
        return (
            datasets,
            [LoggedModelInput(self.models.get(one.model_id, one.model_id)) for one in used],
            [LoggedModelOutput(self.models.get(one.model_id, one.model_id), one.step) for one in made],
        )

    def _metrics(self, run: str, metrics: Sequence[Any], model: str | None = None) -> None:
        from mlflow.entities import Metric

        for start in range(0, len(metrics), _BATCH):
            copies = [
                Metric(
                    one.key,
                    one.value,
                    one.timestamp,
                    one.step,
                    model_id=model,
                    dataset_name=one.dataset_name,
                    dataset_digest=one.dataset_digest,
                )
                for one in metrics[start : start + _BATCH]
            ]
            self._target.client.log_batch(run, metrics=copies)

    def _model(self, model: LoggedModel) -> str:
        client = self._target.client
        old = model.source_run_id or ""
        run = self.runs.get(old)
        known = client.search_logged_models([self._target.experiment], f"tags.`{COPY_OF}` = '{model.model_id}'")
        new = str(
            known[0].model_id
            if known
            else client.create_logged_model(
                self._target.experiment,
                model.name,
                run,
                {**model.tags, COPY_OF: model.model_id},
                model.params,
                model.model_type,
            ).model_id
        )
        with tempfile.TemporaryDirectory(prefix="caderno-model-") as folder:
            files = Path(folder) / "model"
            shutil.copytree(_local(model.artifact_location), files)
            described = files / "MLmodel"
            if described.exists():  # it names the ids
                text = described.read_text().replace(model.model_id, new)
                described.write_text(text.replace(old, run) if run else text)
            client.log_model_artifacts(new, str(files))
        for metric in model.metrics or []:
            if logged_by := self.runs.get(metric.run_id or ""):
                self._metrics(logged_by, [metric], new)
        client.finalize_logged_model(new, model.status)
        return new


def _all(search: Callable[..., Any], *arguments: Any, **options: Any) -> Iterator[Any]:
    """Yield what MLflow's search yields, page by page."""
    token = None
    while True:
        page = search(*arguments, **options, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _local(uri: str) -> Path:
    return Path(url2pathname(urlsplit(uri).path))
