"""MLflow's model registry: versions, and the two aliases that delivery moves. Who, when and why: see ledger.py."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from caderno.errors import CadernoError
from caderno.run.tracking import Model, Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")
Alias = Literal["champion", "challenger"]
ALIASES: tuple[Alias, ...] = ("champion", "challenger")
_FILES = "caderno.files"  # tag of a version: one digest of the model's files
_HEAD = "caderno.ledger"  # tag of a model: hash of the ledger's last row that the aliases follow


@dataclass(frozen=True)
class Source:
    """What a version is made of: MLflow's URI of the logged model, and the run that logged it."""

    uri: str
    run_id: str | None


class Registry:
    """One registered model. Each method raises TrackingError where MLflow does not answer or refuses."""

    def __init__(self, tracking: Tracking, model: str) -> None:
        self.model = model
        self._tracking = tracking

    def aliases(self) -> dict[Alias, str]:
        """Return the version that each alias names, of those that are set; none where nothing is registered."""
        found = self._registered()
        return {alias: str(found.aliases[alias]) for alias in ALIASES if found and alias in found.aliases}

    def head(self) -> str | None:
        """Return the hash of the ledger's row that the aliases follow, or None."""
        found = self._registered()
        return found.tags.get(_HEAD) if found else None

    def point(self, alias: Alias, version: str | None) -> None:
        """Make an alias name a version, or nothing."""
        if version is None:
            self._ask(lambda client: client.delete_registered_model_alias(self.model, alias))
        else:
            self._ask(lambda client: client.set_registered_model_alias(self.model, alias, version))

    def follow(self, head: str) -> None:
        """Note that the aliases are as the ledger's row of this hash says."""
        self._ask(lambda client: client.set_registered_model_tag(self.model, _HEAD, head))

    def register(self, source: Source, files: str, tags: Mapping[str, str]) -> str:
        """Return the version of the model with these files, which is made where there is none yet."""
        known = self._find(files)
        if known is not None:
            return known
        if self._registered() is None:
            self._ask(lambda client: client.create_registered_model(self.model))
        every = {**tags, _FILES: files}
        model_id = source.uri.removeprefix("models:/") if source.uri.startswith("models:/m-") else None
        if model_id and not self._tracking.has_model(model_id):
            raise CadernoError(
                f"the model {source.uri} is not in this MLflow: its result was fetched from a machine with another one",
                "let both use one server (MLFLOW_TRACKING_URI), or make it here: caderno run --force",
            )
        made = self._ask(
            lambda client: client.create_model_version(
                self.model, source.uri, run_id=source.run_id, tags=every, model_id=model_id
            )
        )
        return str(made.version)

    @contextmanager
    def files(self, version: str) -> Iterator[Path]:
        """Give the files of a version, from MLflow, for as long as inside."""
        known = self._ask(lambda client: client.get_model_version(self.model, version))
        logged = self._ask(lambda client: client.get_logged_model(str(known.source).removeprefix("models:/")))
        with tempfile.TemporaryDirectory(prefix="caderno-model-") as folder:
            self._tracking.fetch(Model(logged.model_uri, logged.artifact_location), Path(folder, "model"))
            yield Path(folder, "model")

    def _find(self, files: str) -> str | None:
        query = f"name = '{self.model}' and tags.`{_FILES}` = '{files}'"
        found = self._ask(lambda client: client.search_model_versions(query))
        return str(min(found, key=lambda one: int(one.version)).version) if found else None

    def _registered(self) -> Any:
        query = f"name = '{self.model}'"
        found = self._ask(lambda client: client.search_registered_models(query))
        # The search gives no aliases in some stores.
        return self._ask(lambda client: client.get_registered_model(self.model)) if found else None

    def _ask(self, question: Callable[[MlflowClient], T]) -> T:
        return self._tracking.guard(lambda: question(self._tracking.client))
