"""What a caller may be told: each error bears the HTTP status that says whose fault it was.

A protocol gives the message its own form (tfserving, inference, scoring); nothing else reaches a caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SHOWN = 5  # complaints in one message


class ServiceError(Exception):
    """A request that gets no prediction. `status` is the HTTP status, `code` its name in gRPC and MLflow."""

    status = 500
    code = "INTERNAL"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(ServiceError):
    """The body is not what the protocol or the model's signature wants.

    `complaints` say what is wrong with which field, where that is known.
    """

    status, code = 400, "INVALID_ARGUMENT"

    def __init__(self, message: str, complaints: Sequence[Complaint] = ()) -> None:
        super().__init__(message)
        self.complaints = complaints


class Unauthenticated(ServiceError):
    """Who asks did not say who they are, or is not known."""

    status, code = 401, "UNAUTHENTICATED"


class Forbidden(ServiceError):
    """Who asks may not, whoever they are."""

    status, code = 403, "PERMISSION_DENIED"


class NotFound(ServiceError):
    """There is no such model, version, label or page."""

    status, code = 404, "NOT_FOUND"


class TooLarge(ServiceError):
    """The body has too many bytes or rows."""

    status, code = 413, "INVALID_ARGUMENT"


class WrongType(ServiceError):
    """The body's content type is none that the protocol takes."""

    status, code = 415, "INVALID_ARGUMENT"


class TooMany(ServiceError):
    """Who asks has asked too often."""

    status, code = 429, "RESOURCE_EXHAUSTED"


class ModelFailed(ServiceError):
    """The model raised, died, or gave something that is no answer: not the caller's fault."""


class Unavailable(ServiceError):
    """Nothing is loaded yet, the queue is full, or the service is about to stop."""

    status, code = 503, "UNAVAILABLE"


class TimedOut(ServiceError):
    """The model took too long."""

    status, code = 504, "DEADLINE_EXCEEDED"


_CODES = {one.status: one.code for one in ServiceError.__subclasses__()}


def code_of(status: int) -> str:
    """Return the name of an HTTP status in gRPC and MLflow."""
    return _CODES.get(status, ServiceError.code if status >= 500 else BadRequest.code)


@dataclass(frozen=True)
class Complaint:
    """What is wrong with one field of one row; row None: with the whole of it."""

    field: str
    what: str
    row: int | None = None

    def __str__(self) -> str:
        where = f"row {self.row}, " if self.row is not None else ""
        return f"{where}{self.field}: {self.what}" if self.field else f"{where}{self.what}"


def refuse(complaints: Sequence[Complaint]) -> None:
    """Raise BadRequest with the first complaints; return if there is none."""
    if complaints:
        more = len(complaints) - _SHOWN
        told = "; ".join(str(one) for one in complaints[:_SHOWN])
        raise BadRequest(told + (f"; and {more} more" if more > 0 else ""), complaints)
