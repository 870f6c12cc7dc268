"""Fetch pages from a service that may be busy, slow, or hang up.

Asked again, with growing pauses: a refused or lost connection, a timeout, a body shorter than its Content-Length,
and the statuses 429, 502, 503, 504. A `Retry-After` header (seconds or a date, RFC 9110 §10.2.3) is honoured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import tenacity

from flights.errors import SourceError, UnavailableError

BUSY = {429, 502, 503, 504}


@dataclass(frozen=True)
class Patience:
    """How long to bear with a service: number of attempts, pauses and timeout of one attempt in seconds."""

    attempts: int = 5
    first_pause: float = 0.5  # doubled each time, and a little by chance, so that tasks do not march in step
    longest_pause: float = 30.0  # a service that asks for more is given up at once
    timeout: float = 10.0


class _AgainError(Exception):
    """Worth another attempt, `after` so many seconds if the service said so."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def getter(base: str, patience: Patience) -> Callable[[str], bytes]:
    """A function from a page's name to its body, whole, over one kept-alive connection.

    It raises `SourceError` for a page that the service does not have, `UnavailableError` when patience is at its end.
    """
    session = requests.Session()

    def get(name: str) -> bytes:
        url = f"{base.rstrip('/')}/{name}"
        retry = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(patience.attempts),
            wait=_pause(patience),
            retry=tenacity.retry_if_exception(lambda error: _worthwhile(error, patience)),
            reraise=True,
        )
        try:
            return retry(_once, session, url, patience.timeout)
        except _AgainError as error:
            spent = retry.statistics["attempt_number"]
            asked = f"; it asks to come back in {error.after:.0f} s" if error.after else ""
            problem = f"no whole answer after {spent} attempts ({error}{asked})."
            raise UnavailableError(url, problem, "see that the service runs, and try later.") from error

    return get


def _once(session: requests.Session, url: str, timeout: float) -> bytes:
    try:
        response = session.get(url, timeout=timeout)
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _AgainError(f"{type(error).__name__}: no connection or no answer within {timeout:g} s") from error
    except requests.exceptions.ChunkedEncodingError as error:  # also a body shorter than its Content-Length
        raise _AgainError("the body was cut off") from error
    except requests.RequestException as error:
        raise SourceError(url, f"cannot be fetched: {error}", "correct the URL of the source.") from error
    if response.status_code in BUSY:
        after = _retry_after(response.headers.get("Retry-After"))
        raise _AgainError(f"status {response.status_code} {response.reason}", after)
    if response.status_code != requests.codes.ok:
        problem = f"the service answers {response.status_code} {response.reason}."
        raise SourceError(url, problem, "correct the URL of the source, or ask for the page.")
    return response.content


def _retry_after(header: str | None) -> float | None:
    """Seconds that the service asks to wait, from either form of the header; None if it says nothing usable."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _worthwhile(error: BaseException, patience: Patience) -> bool:
    return isinstance(error, _AgainError) and (error.after or 0.0) <= patience.longest_pause


def _pause(patience: Patience) -> Callable[[tenacity.RetryCallState], float]:
    grow = tenacity.wait_exponential(multiplier=patience.first_pause, max=patience.longest_pause / 2)
    chance = tenacity.wait_random(0, patience.first_pause)

    def pause(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.after if isinstance(error, _AgainError) else None
        return asked if asked is not None else grow(state) + chance(state)

    return pause
