"""Where served models come from: a pipeline's ledger, which says who is champion, or a folder that is named."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from caderno.deliver.delivery import Delivery
from caderno.deliver.files import digest_of, manifest_of
from caderno.errors import CadernoError
from caderno.project import Project
from caderno.serve import contract
from caderno.serve.signature import Range

_PATIENCE = 120  # seconds for reading a contract


@dataclass(frozen=True)
class Wanted:
    """What should be served: versions, and which of them each label names; `default` is asked where none is named."""

    versions: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None


class Source(Protocol):
    """A model by its name."""

    name: str

    def wanted(self) -> Wanted:
        """Return what should be served now. Raises CadernoError where that can't be known."""

    def files(self, version: str) -> AbstractContextManager[Path]:
        """Give a version's files, checked, for as long as inside. Raises CadernoError."""

    def expected(self, version: str) -> Sequence[float] | None:
        """Return the scores that the model gave to its own input example when it was decided on."""

    def ranges(self) -> Mapping[str, Range]:
        """Return what the contract says of columns."""

    def about(self, version: str) -> Mapping[str, Any]:
        """Return what a person would like to know of a version."""


class Delivered:
    """A pipeline's model: champion and challenger as the ledger says, and further versions that are named."""

    def __init__(self, delivery: Delivery, also: Sequence[str] = ()) -> None:
        self.name = delivery.model
        self.delivery = delivery
        self._also = tuple(also)

    def wanted(self) -> Wanted:
        """Return champion, challenger, the champion before, so that going back takes no loading, and those named."""
        now = self.delivery.standing()
        labels = {"champion": now.champion, "challenger": now.challenger}
        named = {label: version for label, version in labels.items() if version is not None}
        also = [one for one in (*now.line[-2:-1], *self._also) if one in now.versions]
        return Wanted(tuple(dict.fromkeys([*named.values(), *also])), named, now.champion)

    def files(self, version: str) -> AbstractContextManager[Path]:
        """Give a version's files, compared with the ledger's digests."""
        return self.delivery.files(self.delivery.standing().versions[version])

    def expected(self, version: str) -> Sequence[float] | None:
        """Return the scores that stand in the ledger."""
        decided = self.delivery.standing().versions[version].decided
        return decided.entry.facts.get("example") if decided else None

    def ranges(self) -> Mapping[str, Range]:
        """Return what the gate's contract says of columns, read in a process of its own."""
        named = self.delivery.gate.contract
        return _ranges(self.delivery.project, named) if named else {}

    def about(self, version: str) -> Mapping[str, Any]:
        """Return where a version came from and what the gate measured."""
        found = self.delivery.standing().versions[version]
        facts = found.released.entry.facts
        decided = found.decided.entry.facts if found.decided else {}
        return {
            "task": facts["task"],
            "fingerprint": facts["fingerprint"],
            "commit": facts.get("commit"),
            "released": found.released.entry.time,
            "metrics": decided.get("metrics", {}),
            "gate": found.outcome,
            "digest": found.released.entry.digests["files"],
        }


class Folder:
    """A model that MLflow saved to a folder, served as version 1: whoever starts the service trusts it."""

    def __init__(self, name: str, folder: Path) -> None:
        """Raises CadernoError where the folder holds no model."""
        if not (folder / "MLmodel").is_file():
            raise CadernoError(f"{folder} holds no MLflow model: there is no MLmodel in it")
        self.name = name
        self._folder = folder

    def wanted(self) -> Wanted:
        """Return version 1."""
        return Wanted(("1",), {}, "1")

    def files(self, version: str) -> AbstractContextManager[Path]:
        """Give the folder."""
        del version
        return nullcontext(self._folder)

    def expected(self, version: str) -> None:
        """Nothing is known."""
        del version

    def ranges(self) -> Mapping[str, Range]:
        """There is no contract."""
        return {}

    def about(self, version: str) -> Mapping[str, Any]:
        """Return the folder's digest."""
        del version
        return {"folder": str(self._folder), "digest": digest_of(manifest_of(self._folder))}


def _ranges(project: Project, named: str) -> dict[str, Range]:
    """Return the ranges of a contract (`module:object` under lib/). Raises CadernoError where it can't be loaded."""
    environment = {**os.environ, "PYTHONPATH": project.python_path}
    try:
        done = subprocess.run(
            [sys.executable, "-P", contract.__file__, named],
            env=environment,
            cwd=project.root,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        found = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise CadernoError(f"the contract {named} was not loaded within {_PATIENCE} s") from None
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise CadernoError(f"the contract {named} can't be loaded: {last}") from None
    return {name: _range(**one) for name, one in found.items()}


def _range(low: float | None, high: float | None, allowed: list[Any] | None, nullable: bool) -> Range:
    return Range(low, high, None if allowed is None else frozenset(allowed), nullable)


def same(found: Sequence[float], wanted: Sequence[float]) -> bool:
    """Whether two models' scores are the same, but for the last digits that another processor computes otherwise."""
    return len(found) == len(wanted) and all(
        math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
        for one, other in zip(found, wanted, strict=True)
    )
