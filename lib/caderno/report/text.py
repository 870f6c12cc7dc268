"""Numbers, times, sizes and names as people read them."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import JsonValue

from caderno.plan.environment import masked
from caderno.plan.records import DONE, TaskRecord

# What a file name may hold on every system that a zipped report may be opened on.
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+|^[.-]+")
_LONGEST_NAME = 120


def file_name(text: str) -> str:
    """Return `text` as a safe file name; a digest is added where letters were lost, so that no two names meet."""
    name = re.sub(r"\]$", "", text)
    name = re.sub(r"\[|, ?", ".", name)
    safe = _UNSAFE.sub("_", name)[:_LONGEST_NAME]
    if safe == name:
        return safe
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def page_name(task: str) -> str:
    """Return the file name of a task's page: `train[model=forest]` -> `train.model=forest.html`."""
    return file_name(task) + ".html"


def result_name(task: str, fingerprint: str, state: str = "succeeded") -> str:
    """Return the file name of the page of one result of a task, as good as for ever; failed attempts have their own."""
    return f"{file_name(task)}.{_attempt(fingerprint, state)}.html"


def diff_name(old: TaskRecord, new: TaskRecord) -> str:
    """Return the file name of the page of what changed between two results of a task."""
    return f"{file_name(new.task)}.{'..'.join(_attempt(one.fingerprint, one.state) for one in (old, new))}.html"


def _attempt(fingerprint: str, state: str) -> str:
    return fingerprint[:16] + ("" if state in DONE else ".failed")


def run_name(run: str) -> str:
    """Return the file name of a run's page."""
    return file_name(run) + ".html"


def duration(seconds: float) -> str:
    """Return a time span with three figures at most: `0.42 s`, `12.3 s`, `1 min 12 s`, `2 h 5 min`."""
    if seconds < 0.005:
        return "0 s"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size(count: int | None) -> str:
    """Return a number of bytes in decimal units: `812 B`, `56 kB`, `1.2 MB`."""
    if count is None:
        return ""
    power = 0
    while power < 4 and count / 1000**power >= 999.5:
        power += 1
    value, unit = count / 1000**power, ("B", "kB", "MB", "GB", "TB")[power]
    return f"{value:.1f} {unit}" if power and value < 9.95 else f"{value:.0f} {unit}"


def moment(when: datetime) -> str:
    """Return a time in UTC to the minute: `2013-11-09 07:30 UTC`."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def short(digest: str | None) -> str:
    """Return the first twelve characters of a digest: enough to tell two apart by eye."""
    return (digest or "")[:12]


def numbers(values: Sequence[float | None]) -> list[str]:
    """Return the values of one column with the same number of decimals: four figures for the largest.

    A missing value is an empty string; thousands are grouped.
    """
    finite = [abs(value) for value in values if value is not None and math.isfinite(value)]
    largest = max(finite, default=0.0)
    whole = all(value == int(value) for value in finite)
    decimals = 0 if whole or largest == 0 else max(0, 3 - math.floor(math.log10(largest)))
    return [_number(value, decimals) for value in values]


def _number(value: float | None, decimals: int) -> str:
    if value is None:
        return ""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    if decimals > 7 or abs(value) >= 1e15:
        return f"{value:.3e}".replace("e-", "e−")
    return f"{value:,.{decimals}f}".replace("-", "−")


def number(value: float) -> str:
    """Return one number with four figures, thousands grouped."""
    return numbers([value])[0]


def small(value: float) -> str:
    """Return a number too small for its neighbours' decimals with two figures of its own."""
    decimals = 1 - math.floor(math.log10(float(f"{abs(value):.1e}")))
    return _number(value, decimals)


def count(n: int, noun: str) -> str:
    """Return a number with its noun: `1 task`, `12 tasks`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def value(parameter: JsonValue) -> str:
    """Return a parameter's value as JSON, over several lines where it is long; passwords of URLs are masked."""
    line = json.dumps(parameter, ensure_ascii=False)
    return masked(line if len(line) <= 72 else json.dumps(parameter, ensure_ascii=False, indent=2))
