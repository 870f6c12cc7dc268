"""Everything that Caderno itself raises for a person to read.

    CadernoError                exit code 2: wrong usage or input
    ├── ProjectNotFound         no params/ folder here or above
    ├── UnknownName             a pipeline, task, parameter … that does not exist
    ├── InvalidPipeline         one or more problems in a pipeline file or a notebook
    ├── MissingInput            a declared input is not there
    ├── Stopped                 a signal came before the work was done
    ├── StoreError              the store of results can't be read or written
    ├── RemoteError             what keeps results for other machines refuses, or gives something else
    │   ├── RemoteAway          it does not answer: what it would be told can wait
    │   └── RemoteGone          it did not answer for as long as it was to be waited for
    └── TrackingError           MLflow can't be reached or refuses
        └── TrackingAway        MLflow's server does not answer: what it would be told can wait

A message says what is wrong and where; `hint` says what to do next. The command line catches
`CadernoError` in one place; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class CadernoError(Exception):
    """A problem that the user can mend."""

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class ProjectNotFound(CadernoError):
    """No project's root was found."""


class UnknownName(CadernoError):
    """A name that is not among the known ones; the nearest right one is in the hint."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no {kind} {name!r}", did_you_mean(name, known, kind))


class MissingInput(CadernoError):
    """A file that a task declares as input is not there."""


class Stopped(CadernoError):
    """The work was given up because the run was stopped."""


class StoreError(CadernoError):
    """The store of results can't be read or written."""


class RemoteError(CadernoError):
    """What keeps results for other machines refuses, or what it gave is not what was asked for."""


class RemoteAway(RemoteError):
    """What keeps results for other machines does not answer: it can wait, or is computed here."""


class RemoteGone(RemoteError):
    """What keeps results for other machines did not answer for as long as it was to be waited for."""

    exit_code = 1  # a later try may well succeed


class TrackingError(CadernoError):
    """The tracking server can't be reached or refuses."""


class TrackingAway(TrackingError):
    """The tracking server does not answer: what it would be told can wait."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in an input file: `where` is "file:line" or "file, cell 3, line 2"."""

    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}"
        return f"{text}\n  {self.hint}" if self.hint else text


class InvalidPipeline(CadernoError):
    """All that is wrong in a pipeline file and its notebooks, told at once."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`, or None where none is near."""
    candidates = list(known)
    folded = {candidate.lower(): candidate for candidate in candidates}
    if name.lower() in folded:
        return folded[name.lower()]
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(name: str, known: Iterable[str], kind: str = "name") -> str:
    """Return a hint: the nearest right name, else the known ones."""
    candidates = sorted(known)
    close = nearest(name, candidates)
    if close:
        return f"did you mean {close!r}?"
    if not candidates:
        return f"no {kind} is known here"
    shown = ", ".join(candidates[:8]) + (", …" if len(candidates) > 8 else "")
    return f"known: {shown}"
