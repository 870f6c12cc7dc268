"""`{{ ds }}` in a pipeline file: the day of a run, in the words of Airflow's templates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from caderno.errors import did_you_mean
from caderno.spec.matrix import UNKNOWN

if TYPE_CHECKING:
    from jinja2 import Environment

_DAY = ("ds", "ds_nodash")


class NeedsDay(Exception):  # no error where the notebook has a default
    """A template names the day of the run, and the run has none."""


class WrongTemplate(ValueError):
    """What stands between {{ and }} can't be worked out; the text says why."""


def fill(value: Any, day: date | None, axes: Mapping[str, Any]) -> Any:
    """Return a value of the file with each {{ … }} in its texts, however deep, worked out; UNKNOWN where an axis is.

    There are `ds` (2013-11-05), `ds_nodash` (20131105), `macros.ds_add(ds, -7)`, `macros.ds_format(ds, "%Y-%m-%d",
    "%Y-%m")`, as in Airflow, and the task's axes. Raises NeedsDay, WrongTemplate.
    """
    match value:
        case str() if "{{" in value:
            return _text(value, day, axes)
        case list():
            found = [fill(one, day, axes) for one in value]
            return UNKNOWN if UNKNOWN in found else found
        case dict():
            filled = {key: fill(one, day, axes) for key, one in value.items()}
            return UNKNOWN if UNKNOWN in filled.values() else filled
        case _:
            return value


def _text(text: str, day: date | None, axes: Mapping[str, Any]) -> Any:
    from jinja2 import TemplateError
    from jinja2.meta import find_undeclared_variables

    known = {**axes, "macros": _Macros}
    if day is not None:
        known |= {"ds": day.isoformat(), "ds_nodash": day.strftime("%Y%m%d")}
    try:
        names = find_undeclared_variables(_environment().parse(text))
    except TemplateError as error:
        raise WrongTemplate(f"{text!r}: {error}") from None
    if unknown := sorted(names - {*known, *_DAY}):
        hint = did_you_mean(unknown[0], {*known, *_DAY}, "name")
        raise WrongTemplate(f"{text!r}: there is no {unknown[0]!r}; {hint}")
    if any(known.get(name) is UNKNOWN for name in names):
        return UNKNOWN
    try:
        return _environment().from_string(text).render(known)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        if day is None and names.intersection(_DAY):
            raise NeedsDay(text) from None
        raise WrongTemplate(f"{text!r}: {error}") from None


@cache
def _environment() -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=StrictUndefined)


class _Macros:
    """Those of Airflow's macros that reckon with days."""

    @staticmethod
    def ds_add(ds: str, days: int) -> str:
        """Return the day so many days later, or with a negative number earlier."""
        return (date.fromisoformat(ds) + timedelta(days)).isoformat()

    @staticmethod
    def ds_format(ds: str, input_format: str, output_format: str) -> str:
        """Return a day written otherwise, in the formats of strptime(3)."""
        return datetime.strptime(ds, input_format).strftime(output_format)  # a day has no zone
