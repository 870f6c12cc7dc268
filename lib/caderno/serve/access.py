"""Who may ask, and how often.

Callers show an API key (keys.py) or a token of an issuer (tokens.py); a browser asks its user for a key, as a password.
Where neither is set up, only this machine may ask. No page that a browser shows from elsewhere may ask: not by its own
name for 127.0.0.1, nor by a form.
"""

from __future__ import annotations

import math
import time

import limits
from flask import Flask, Response, after_this_request, g, request
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from caderno.errors import CadernoError
from caderno.serve.errors import Forbidden, TooMany, Unauthenticated
from caderno.serve.hosts import loopback, names_loopback
from caderno.serve.keys import Keys
from caderno.serve.tokens import Tokens

_OPEN = frozenset({"/ping", "/health", "/v2/health/live", "/v2/health/ready"})  # for who watches that it runs
_LONGEST = 128  # characters of a caller's name
_HOW = "send a key: `Authorization: Bearer KEY`, or `X-API-Key: KEY`"


class Access:
    """The guard before all routes. It leaves who asks in `flask.g.caller`."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        keys: Keys | None = None,
        tokens: Tokens | None = None,
        rate: str | None = None,
    ) -> None:
        """`rate` is such as 100/second. Raises CadernoError where anybody could ask from elsewhere."""
        self._keys, self._tokens = keys, tokens
        self._free = keys is None and tokens is None
        if self._free and not loopback(host):
            raise CadernoError(
                f"on {host} anybody could ask",
                "caderno serve-key NAME FILE makes a key; then: --keys FILE (or --oidc-issuer, --oidc-audience)",
            )
        self._rate = _Rate(rate) if rate else None

    def guard(self, app: Flask) -> None:
        """Stand before each request of an application."""
        app.before_request(self._admit)

    def _admit(self) -> None:
        """Raise Forbidden, Unauthenticated, Unavailable or TooMany, or return."""
        if self._free:
            _refuse_pages()
        if request.path in _OPEN:
            return
        address = f"address {request.remote_addr}"
        try:
            g.caller = self._caller()
        except Unauthenticated as error:
            self._count(address)
            _challenge(error, password=self._keys is not None)
            raise
        self._count(f"caller {g.caller}" if g.caller else address)

    def _caller(self) -> str | None:
        """Return who asks; None where nobody has to say. Raises Unauthenticated, Unavailable."""
        if self._free:
            return None
        kind, _, shown = request.headers.get("Authorization", "").partition(" ")
        bearer = shown.strip() if kind.lower() == "bearer" else ""
        key = request.headers.get("X-API-Key", "") or bearer
        if not key and request.authorization and request.authorization.type == "basic":
            _refuse_origins()  # a browser sends it by itself, whoever's page asks
            key = request.authorization.password or ""
        if not key:
            raise Unauthenticated(f"who asks? {_HOW}")
        if self._tokens and key == bearer and key.count(".") == 2:
            name: str | None = self._tokens.name(key)
        else:
            name = self._keys.name(key) if self._keys else None
        if name is None:
            raise Unauthenticated("the key is not known" if self._keys else "the token is not valid")
        return name[:_LONGEST].encode("utf-8", "replace").decode()

    def _count(self, who: str) -> None:
        """Raise TooMany where somebody has asked too often."""
        again = self._rate.again(who) if self._rate else None
        if again is not None:
            _answered_with("Retry-After", str(again))
            raise TooMany(f"more than {self._rate}: try again in {again} s")


class _Rate:
    """How often each may ask. Windows are fixed, so that whoever asks no more is forgotten."""

    def __init__(self, text: str) -> None:
        try:
            self._most = limits.parse(text)
        except ValueError:
            raise CadernoError(f"{text!r} is no rate", "such as 100/second, or 5000/minute") from None
        self._counts = FixedWindowRateLimiter(MemoryStorage())

    def __str__(self) -> str:
        return str(self._most)

    def again(self, who: str) -> int | None:
        """Count a request; return in how many seconds it may come again, None if it may come now."""
        if self._counts.hit(self._most, who):
            return None
        return max(1, math.ceil(self._counts.get_window_stats(self._most, who).reset_time - time.time()))


def _refuse_pages() -> None:
    """Raise Forbidden for a page in a browser that is not this service's own."""
    authority = request.environ.get("HTTP_HOST")
    if authority is not None and not names_loopback(authority):
        raise Forbidden("without keys only 127.0.0.1 and localhost may be asked, by these names")
    _refuse_origins()


def _refuse_origins() -> None:
    """Raise Forbidden where a browser asks for a page of another site."""
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"{request.scheme}://{request.environ.get('HTTP_HOST')}":
        raise Forbidden("a page of another site may not ask")


def _challenge(error: Unauthenticated, password: bool) -> None:
    """Say how to ask (RFC 6750, 3); a browser that wants a page is told to ask for a password (RFC 7617)."""
    shown = "Authorization" in request.headers or "X-API-Key" in request.headers
    wrong = f', error="invalid_token", error_description="{error.message}"' if shown else ""
    page = password and "text/html" in request.headers.get("Accept", "")
    _answered_with("WWW-Authenticate", 'Basic realm="caderno"' if page else f'Bearer realm="caderno"{wrong}')


def _answered_with(name: str, value: str) -> None:
    """Give the answer a header, whatever form its protocol gives to errors."""

    @after_this_request
    def add(response: Response) -> Response:
        response.headers[name] = value
        return response
