"""Runs in MLflow: one for each run of a pipeline, a child for each task that ran.

The engine owns these runs: it opens them, hands their ids to the kernels, and alone decides how they end.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

from caderno.errors import TrackingAway, TrackingError
from caderno.plan.environment import masked
from caderno.plan.records import Git, TaskRecord, TrackingRun
from caderno.plan.store import LOGGING, NOTEBOOK, PAGE, RECORD
from caderno.project import Project
from caderno.run.context import RUN_TAG, TASK_RUN, TASK_RUN_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

P = ParamSpec("P")
T = TypeVar("T")

_AWAY = re.compile("failed with (timeout )?exception|failed with error code 50[234]|too many 50[234]")  # no answer
_SILENCE = re.compile("Connection refused|timed out|Connection aborted|Name or service not known|error code 50[234]")
_BATCH = 100  # what MLflow takes in one log_batch of parameters or tags
_RUNS = 1000  # that are asked for at once
_METRICS = 1000  # the same, of metrics
_ODD = re.compile(r"[^\w./ -]", re.ASCII)  # what MLflow admits in no metric's name
_LITTLE = 1_000_000  # bytes: with less left, SQLite can't work
ADDED = frozenset({"registered_model_meta"})  # MLflow writes it beside a model that it downloads
_LONGEST = 6000  # characters of a parameter's value
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing leaves the machine unasked
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds; with MLflow's own 120 and 7 retries a dead server hangs for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the record has it; printed, it makes equal outputs differ
    "GIT_PYTHON_REFRESH": "quiet",
}


def tracking_uri(project: Project) -> str:
    """Return MLFLOW_TRACKING_URI, else the project's own SQLite store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project.root / 'mlflow.db'}"


def environment(project: Project) -> dict[str, str]:
    """Return the variables that make MLflow in a kernel, or by hand, use the project's store."""
    return {name: os.environ.get(name, value) for name, value in _DEFAULTS.items()} | {
        "MLFLOW_TRACKING_URI": tracking_uri(project)
    }


def loaded_when_used(project: Project) -> tuple[str, ...]:
    """Return the modules that MLflow imports when a first run is opened in the project's store."""
    scheme = urlsplit(tracking_uri(project)).scheme.partition("+")[0]
    if scheme in ("http", "https"):
        return "mlflow.store.tracking.rest_store", "git"
    store = "mlflow.store.tracking.sqlalchemy_workspace_store"
    return store, f"sqlalchemy.dialects.{scheme}", "alembic.command", "git"


@dataclass(frozen=True)
class Model:
    """A model that a task's run logged: MLflow's URI for it, and where its files are."""

    uri: str
    location: str


@dataclass(frozen=True)
class Logged:
    """What a task's notebook logged to its run: the last value of each metric, and the names of parameters."""

    metrics: dict[str, float]
    params: frozenset[str]


def _guarded(method: Callable[P, T]) -> Callable[P, T]:
    """Make a method of Tracking raise TrackingError for whatever MLflow, its server or its disk refuses."""

    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return method(*args, **kwargs)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            uri = str(getattr(args[0], "uri", ""))
            first = (str(error).splitlines() or [type(error).__name__])[0].replace(uri, masked(uri))
            if uri.startswith("http") and _AWAY.search(str(error)):
                why = _SILENCE.search(str(error))
                raise TrackingAway(f"MLflow at {masked(uri)} does not answer{(why and f' ({why[0]})') or ''}") from None
            raise TrackingError(f"MLflow at {masked(uri)} can't be used: {first[:300]}", _hint(uri)) from None

    return guarded


def _hint(uri: str) -> str:
    """Return what to do about a store that can't be used."""
    if not uri.startswith("sqlite:///"):
        return "start the server, or unset MLFLOW_TRACKING_URI to use the project's own store"
    path = Path(uri.removeprefix("sqlite:///"))
    if path.parent.is_dir() and shutil.disk_usage(path.parent).free < _LITTLE:
        return "the disk is full: make room"
    return f"if the file is damaged, move {path.name} away: a new store is made"


@contextmanager
def _one_try() -> Iterator[None]:
    """A server that is away at the start is told at once; later calls are tried again, with back-off."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"  # MLflow reads it at each request
    before = os.environ[name]
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ[name] = before


class Tracking:
    """The MLflow store of a project, and the pipeline's experiment in it."""

    def __init__(self, project: Project, pipeline: str, folder: Path | None = None) -> None:
        """Open the store, creating it once under a lock. Raises TrackingError where it can't be reached.

        With `folder`, that is the project's store or server no more, but one of its own in this folder.
        """
        self._artifacts = (folder or project.root) / "mlartifacts"
        self.uri = f"sqlite:///{folder / 'mlflow.db'}" if folder else tracking_uri(project)
        self._shown = masked(self.uri).replace(f"{project.root}/", "")
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        import mlflow  # 2–3 CPU seconds: only where something runs

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)  # what goes wrong is raised, too
        with _one_try():
            if self.uri.startswith("sqlite:///"):
                self._create(project, mlflow.MlflowClient)
            self._open(mlflow.MlflowClient)
            self.experiment = self._experiment(pipeline)

    @_guarded
    def _create(self, project: Project, client: type[MlflowClient]) -> None:
        """Make a SQLite store that is not there, one process at a time, and put it into place when it is whole.

        Processes that meet a fresh one together break it, and one that is half made can't be used ever after.
        """
        path = Path(self.uri.removeprefix("sqlite:///"))
        project.state.mkdir(parents=True, exist_ok=True)
        with (project.state / "mlflow.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return
            made = path.with_name(f".{path.name}.new")
            for left in made.parent.glob(f"{made.name}*"):
                left.unlink()
            client(tracking_uri=f"sqlite:///{made}")
            with contextlib.closing(sqlite3.connect(made)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # readers while one writes; the file remembers it
            os.replace(made, path)

    @_guarded
    def guard(self, call: Callable[[], T]) -> T:
        """Return call(), which asks this store. Raises TrackingError as the other methods do."""
        return call()

    @_guarded
    def _open(self, client: type[MlflowClient]) -> None:
        self.client = client(tracking_uri=self.uri)  # this creates a store that is not there

    @_guarded
    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                hint = f"restore it: mlflow experiments restore --experiment-id {found.experiment_id}"
                raise TrackingError(f"MLflow's experiment {name!r} is deleted", hint)
            return str(found.experiment_id)
        location = (self._artifacts / name).as_uri() if self.uri.startswith("sqlite:") else None
        try:
            return str(self.client.create_experiment(name, artifact_location=location))
        except Exception:
            found = self.client.get_experiment_by_name(name)  # another engine was quicker
            if found is None:
                raise
            return str(found.experiment_id)

    def files(self) -> list[Path]:
        """Return where the store keeps files on this disk, if it does."""
        found = [self._artifacts]
        if self.uri.startswith("sqlite:///"):
            found.append(Path(self.uri.removeprefix("sqlite:///")))
        return found

    @_guarded
    def start(self, name: str, tags: Mapping[str, str], parent: TrackingRun | None = None) -> TrackingRun:
        """Open a run, the child of `parent` if one is given, and return it."""
        known = {"mlflow.source.type": "LOCAL", **tags}
        if parent:
            known["mlflow.parentRunId"] = parent.run_id
        return self.handle(self.client.create_run(self.experiment, tags=known, run_name=name).info.run_id)

    def handle(self, run_id: str) -> TrackingRun:
        """Return what a record says of a run of this experiment."""
        return TrackingRun(
            tracking_uri=self._shown,
            experiment_id=self.experiment,
            run_id=run_id,
            url=f"{self.uri.rstrip('/')}/#/experiments/{self.experiment}/runs/{run_id}"
            if self.uri.startswith("http")
            else None,
        )

    def kernel_environment(self, run: TrackingRun) -> dict[str, str]:
        """Return the variables by which plain MLflow in a kernel joins `run`."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_EXPERIMENT_ID": self.experiment,
            "MLFLOW_RUN_ID": run.run_id,
            TASK_RUN: run.run_id,
        }

    @_guarded
    def logged(self, run: TrackingRun) -> Logged:
        """Return what the notebook logged."""
        data = self.client.get_run(run.run_id).data
        return Logged(dict(data.metrics), frozenset(data.params))

    @_guarded
    def models(self, run: TrackingRun) -> dict[str, Model]:
        """Return the models that the notebook logged to `run`, by name; of equal names the last one."""
        found = self.client.search_logged_models(
            experiment_ids=[run.experiment_id],
            filter_string=f"source_run_id = '{run.run_id}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": True}],
        )
        return {model.name: Model(model.model_uri, model.artifact_location) for model in found}

    @_guarded
    def has_model(self, model: str) -> bool:
        """Whether a logged model of this id is in this store."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_logged_model(model)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return True

    @_guarded
    def registered(self) -> set[str]:
        """Return the ids of the runs that registered models came from."""
        runs, token = set(), None
        while True:
            page = self.client.search_model_versions(max_results=1000, page_token=token)
            for version in page:
                run = version.run_id
                if not run and version.model_id:
                    run = self.client.get_logged_model(version.model_id).source_run_id
                runs.add(str(run))
            token = page.token
            if not token:
                return runs

    @_guarded
    def fetch(self, model: Model, target: Path) -> None:
        """Put the model's files at `target`: as links where the artifact store is on this disk, else as copies."""
        from urllib.request import url2pathname  # brings http.client and ssl along

        parts = urlsplit(model.location)
        if parts.scheme in ("", "file"):
            source = Path(url2pathname(parts.path) if parts.scheme else model.location)
            shutil.copytree(source, target, copy_function=link_or_copy)
            return
        import mlflow

        mlflow.artifacts.download_artifacts(artifact_uri=model.uri, dst_path=str(target), tracking_uri=self.uri)

    @_guarded
    def log_task(self, run: TrackingRun, record: TaskRecord, logged: Logged, place: Path) -> None:
        """Log to a task's run what the engine knows of it; `place` is the directory of its result.

        Parameters that the notebook logged itself stand as they are: MLflow admits no second value. It may be done
        twice.
        """
        from mlflow.entities import Param, RunTag

        params = [Param(name, str(value)[:_LONGEST]) for name, value in record.params.items()]
        params = [one for one in params if one.key not in logged.params]
        tags = {f"caderno.output.{name}": output.digest for name, output in record.outputs.items()}
        every = [RunTag(*pair) for pair in {"caderno.fingerprint": record.fingerprint, **tags}.items()]
        for start in range(0, max(len(params), len(every)), _BATCH):
            cut = slice(start, start + _BATCH)
            self.client.log_batch(run.run_id, params=params[cut], tags=every[cut])
        with tempfile.TemporaryDirectory(prefix=LOGGING, dir=place.parent) as folder:  # one call: each asks a lot
            for file in (NOTEBOOK, PAGE, RECORD):
                link_or_copy(str(place / file), f"{folder}/{file}")
            self.client.log_artifacts(run.run_id, folder)

    @_guarded
    def log_run(self, run: TrackingRun, tags: Mapping[str, str], record: Path) -> None:
        """Log to the parent run how the whole went: the record as an artifact, and tags."""
        from mlflow.entities import RunTag

        every = [RunTag(name, value) for name, value in tags.items()]
        for start in range(0, len(every), _BATCH):
            self.client.log_batch(run.run_id, tags=every[start : start + _BATCH])
        self.client.log_artifact(run.run_id, str(record))

    @_guarded
    def log_figures(self, run: TrackingRun, metrics: Mapping[str, float], file: Path) -> None:
        """Log metrics, whose names may be any, and one file."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        every = [Metric(_ODD.sub("_", name), value, now, 0) for name, value in metrics.items()]
        for start in range(0, len(every), _METRICS):
            self.client.log_batch(run.run_id, metrics=every[start : start + _METRICS])
        self.client.log_artifact(run.run_id, str(file))

    @_guarded
    def tagged(self, tags: Mapping[str, str], name: str) -> dict[str, str]:
        """Return the runs of this experiment that have these tags, by their tag `name`; of equal ones the newest."""
        query = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
        found: dict[str, str] = {}
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], query, order_by=["attributes.start_time ASC"], max_results=_RUNS, page_token=token
            )
            found |= {run.data.tags[name]: run.info.run_id for run in page if name in run.data.tags}
            token = page.token
            if not token:
                return found

    @_guarded
    def tag(self, run_id: str, name: str, value: str) -> None:
        """Give a run a tag."""
        self.client.set_tag(run_id, name, value)

    @_guarded
    def artifacts(self, run_id: str, folder: str) -> dict[str, int]:
        """Return the files in a folder of a run's artifacts, with their sizes."""
        found = self.client.list_artifacts(run_id, folder)
        return {Path(one.path).name: one.file_size or 0 for one in found if not one.is_dir}

    @_guarded
    def upload(self, run_id: str, file: Path, folder: str) -> None:
        """Put a file into a folder of a run's artifacts."""
        self.client.log_artifact(run_id, str(file), folder)

    @_guarded
    def download(self, run_id: str, path: str, folder: Path) -> Path:
        """Bring one of a run's artifacts into `folder`, and return where it is there."""
        return Path(self.client.download_artifacts(run_id, path, str(folder)))

    @_guarded
    def finish(self, run_id: str, status: str, end: int | None = None) -> None:
        """End a run with FINISHED, FAILED or KILLED, and with it what a notebook left open beside it.

        `end` is when it ended, in ms since 1970; None is now.
        """
        self.client.set_terminated(run_id, status, end_time=end or int(time.time() * 1000))
        left_open = self.client.search_runs(
            [self.experiment], f"tags.`{TASK_RUN_TAG}` = '{run_id}' and attributes.status = 'RUNNING'"
        )
        for run in left_open:
            self.client.set_terminated(run.info.run_id, "KILLED")

    @_guarded
    def running(self, run: str) -> list[str]:
        """Return the ids of what a run of a pipeline, any pipeline, has open."""
        experiments = [one.experiment_id for one in self.client.search_experiments()]
        found = self.client.search_runs(experiments, f"tags.`{RUN_TAG}` = '{run}' and attributes.status = 'RUNNING'")
        return [one.info.run_id for one in found]

    @_guarded
    def is_running(self, run_id: str) -> bool:
        """Whether a run has not ended; one that is not in this store any more has."""
        from mlflow.exceptions import MlflowException

        try:
            return bool(self.client.get_run(run_id).info.status == "RUNNING")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise


def source_tags(git: Git | None, user: str) -> dict[str, str]:
    """Return MLflow's own tags for who runs which commit, and ours for whether it was dirty."""
    tags = {"mlflow.user": user}
    if git:
        tags |= {"mlflow.source.git.commit": git.commit, "caderno.git.dirty": str(git.dirty).lower()}
        if git.branch:
            tags["mlflow.source.git.branch"] = git.branch
    return tags


def link_or_copy(source: str, target: str) -> str:
    """Give the file `source` the second name `target`, by a copy where the disk can't link."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
