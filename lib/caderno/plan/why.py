"""Why a task runs: what differs between an earlier result and the task as it is now, as data and in words."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from caderno.plan.code import Seen
from caderno.plan.environment import masked
from caderno.plan.records import Input, TaskRecord
from caderno.spec import FromPrevious, Task

Kind = Literal[
    "new",
    "failed",
    "forced",
    "upstream",
    "remote",
    "damage",
    "cell",
    "parameter",
    "input",
    "code",
    "environment",
    "package",
    "python",
    "task",
]
_DIFF_LINES = 6  # of a changed cell, as many are told
_LONGEST = 40  # characters of a value


@dataclass(frozen=True)
class Reason:
    """One reason why a task runs. `name` is what changed, `text` says it whole; `detail` are further lines."""

    kind: Kind
    text: str
    name: str = ""
    old: Any = None
    new: Any = None
    detail: tuple[str, ...] = ()


def in_words(reasons: Sequence[Reason], most: int = 3) -> str:
    """Return the first reasons on one line."""
    text = "; ".join(reason.text for reason in reasons[:most])
    return text + (f"; and {len(reasons) - most} more" if len(reasons) > most else "")


def differences(
    old: TaskRecord,
    task: Task,
    seen: Seen,
    params: Mapping[str, Any],
    inputs: Mapping[str, list[Input]],
    env: Mapping[str, str | None],
    place: Path | None = None,
) -> list[Reason]:
    """Return what of a fingerprint differs between the record `old` and `task` as it is now.

    `params` are the task's as a record would show them, without secrets.
    With the `place` of the old result, changed cells come with the first lines of their difference.
    """
    found = [
        *_cells(old, task, seen, place),
        *_parameters(old.params, params),
        *_inputs(old.inputs, task, inputs),
        *_variables(old.env, env),
        *_units(old.code.units, seen),
        *_packages(old.code.packages, seen.code.packages),
    ]
    if old.code.python != seen.code.python:
        text = f"Python {old.code.python} → {seen.code.python}"
        found.append(Reason("python", text, "python", old.code.python, seen.code.python))
    if found:
        return found
    if task.params != params:
        return [Reason("parameter", "a parameter that holds a secret changed")]
    return [Reason("task", "declared outputs or kernel changed")]


def _cells(old: TaskRecord, task: Task, seen: Seen, place: Path | None) -> Iterator[Reason]:
    new = seen.code.cells
    if old.code.cells == new:
        return
    cells = [cell for cell in task.notebook.cells if cell.source.strip()]
    sources = _sources(place) if place else []
    matcher = difflib.SequenceMatcher(None, old.code.cells, new, autojunk=False)
    for kind, start, end, first, last in matcher.get_opcodes():
        if kind == "equal":
            continue
        for before, after in zip_longest(range(start, end), range(first, last)):
            was = sources[before] if before is not None and before < len(sources) else None
            if after is None:
                yield Reason("cell", "a code cell was removed", detail=_diff(was, ""))
                continue
            number = cells[after].index + 1
            verb = "is new" if before is None else "changed"
            detail = _diff("" if before is None else was, cells[after].source)
            yield Reason("cell", f"code cell {number} {verb}", str(number), detail=detail)


def _sources(place: Path) -> list[str]:
    """Return the sources of an executed notebook's code cells as they were written, or nothing if it can't be read."""
    try:
        cells = json.loads((place / "notebook.ipynb").read_bytes())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        code = [cell for cell in code if "injected-parameters" not in cell["metadata"].get("tags", [])]
        sources = ["".join(cell["source"]) for cell in code]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [source for source in sources if source.strip()]


def _diff(old: str | None, new: str) -> tuple[str, ...]:
    """Return the first changed lines, each after its - or +; nothing where the old text is not known."""
    if old is None:
        return ()
    lines = [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[:2] in ("- ", "+ ")]
    more = (f"… and {len(lines) - _DIFF_LINES} more lines",) if len(lines) > _DIFF_LINES else ()
    return (*lines[:_DIFF_LINES], *more)


def _parameters(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Reason]:
    for name, text, before, after in _changes(old, new):
        yield Reason("parameter", f"parameter {text}", name, before, after)


def _variables(old: Mapping[str, str | None], new: Mapping[str, str | None]) -> Iterator[Reason]:
    for name, text, before, after in _changes(old, new):
        yield Reason("environment", f"environment variable {text}", name, before, after)


def _packages(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Reason]:
    for name, text, before, after in _changes(old, new):
        yield Reason("package", text, name, before, after)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if name not in old or name not in new or before != after:
            yield name, f"{name} {_short(before)} → {_short(after)}", before, after


def _short(value: Any) -> str:
    text = "(none)" if value is None else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "…"


def _inputs(old: Mapping[str, list[Input]], task: Task, new: Mapping[str, list[Input]]) -> Iterator[Reason]:
    for name, spec in task.inputs.items():
        if any(isinstance(source, FromPrevious) for source in spec.sources):
            continue
        before, after = ([(masked(item.source), item.digest) for item in side.get(name, [])] for side in (old, new))
        if before == after:
            continue
        changed = [item for item in new.get(name, []) if (masked(item.source), item.digest) not in before]
        detail = tuple(
            f"{masked(item.source)}: {_digest(dict(before).get(masked(item.source)))} → {_digest(item.digest)}"
            + (f", made by {item.task} {item.fingerprint[:12]}" if item.task and item.fingerprint else "")
            for item in changed[:_DIFF_LINES]
        )
        made = sorted({item.task for item in changed if item.task})
        by = f" ({made[0]} made another{f', and {len(made) - 1} more' if len(made) > 1 else ''})" if made else ""
        yield Reason("input", f"input {name} changed{by}", name, detail=detail)
    for name in sorted(old.keys() - task.inputs.keys()):
        yield Reason("input", f"input {name} is not declared any more", name)


def _digest(digest: str | None) -> str:
    return digest[:12] if digest else "(none)"


def _units(old: Mapping[str, str], seen: Seen) -> Iterator[Reason]:
    new = seen.code.units
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    # A module's import-time part or an import says less than a function: it comes last.
    for name in sorted(names, key=lambda name: (":" not in name, name)):
        used = "used" if ":" in name or "/" in name else "imported"
        verb = f"is {used} now" if name not in old else f"is not {used} any more" if name not in new else "changed"
        detail: tuple[str, ...] = (f"reached by {' → '.join(seen.picture.way_to(name))}",) if name in new else ()
        module = name.partition(":")[0]
        if name.endswith(":*") and module in seen.picture.whole:
            detail += (f"{module} counts whole: it is {seen.picture.whole[module]}",)
        yield Reason("code", f"{_in_words(name, verb)} {verb}", name, old.get(name), new.get(name), detail)


def _in_words(name: str, verb: str) -> str:
    module, colon, what = name.partition(":")
    if not colon:
        return name if "/" in name or verb != "changed" else f"what {module} runs at import"
    return module if what in ("*", "text") else name
