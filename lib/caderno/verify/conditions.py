"""Under which conditions a result was made, as its record says, and which of them are others now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from caderno.plan.environment import is_secret, recorded
from caderno.plan.records import Code, TaskRecord
from caderno.run import provenance
from caderno.spec import Notebook

_SHOWN = 5


def versions(record: TaskRecord, now: Code) -> list[str]:
    """Return the versions that are others now: "pandas 2.2 → 3.1"."""
    before = {"Python": record.code.python, **record.code.packages}
    after = {"Python": now.python, **now.packages}
    return [
        f"{name} {before.get(name, '(none)')} → {after.get(name, '(none)')}"
        for name in sorted(before.keys() | after.keys(), key=lambda name: (name != "Python", name.lower()))
        if before.get(name) != after.get(name)
    ]


def code(record: TaskRecord, notebook: Notebook, cells: Sequence[str], units: Mapping[str, str]) -> list[str]:
    """Return the code that is not what ran: "cell 2" of the notebook, whose digests are `cells`, "tools.a:f"."""
    numbers = [cell.index + 1 for cell in notebook.cells if cell.source.strip()]
    found = [f"cell {numbers[i]}" for i, digest in enumerate(cells) if record.code.cells[i : i + 1] != [digest]]
    gone = len(record.code.cells) - len(cells)
    if gone > 0:
        found.append(f"{gone} cells less")
    return found + [name for name, digest in record.code.units.items() if units.get(name) != digest]


def surroundings(record: TaskRecord) -> Iterator[str]:
    """Say what else is not as it was, and what of it no record can hold."""
    now = recorded(record.env)
    other = [name for name in record.env if is_secret(name) and record.env[name] != now[name]]
    if other:
        yield f"secret environment variables are others than then: {', '.join(other)}"
    if record.machine and record.machine != provenance.machine():
        yield f"it was made on another machine: {record.machine}; this is {provenance.machine()}"
    urls = [item.path for items in record.inputs.values() for item in items if "://" in item.path]
    if urls:
        yield f"what is behind a URL may have changed: {listed(urls)}"


def listed(names: Sequence[str]) -> str:
    """Return the first of many names."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
