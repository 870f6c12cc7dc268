"""Bearer tokens of an OpenID Connect issuer (https://openid.net/specs/openid-connect-discovery-1_0.html).

The issuer's discovery document names its keys. They are asked for when a token comes that bears a key's name not seen
yet, and looked at again in the background, so that no request waits for an issuer that is slow. While it is away, the
keys that are known go on for a day.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt

from caderno.errors import CadernoError
from caderno.serve.errors import Unauthenticated, Unavailable
from caderno.serve.hosts import loopback

_ALGORITHMS = ["RS256", "ES256"]
_FRESH = 300.0  # seconds until keys are looked at again
_AGAIN = 10.0  # seconds between attempts
_LONGEST = 86_400.0  # seconds that keys hold while the issuer is away
_PATIENCE = 5.0  # seconds for one answer of the issuer
_MOST = 1 << 20  # bytes of it
_LEEWAY = 30  # seconds that two clocks may differ
_WRONG = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token does not hold yet",
    jwt.InvalidAudienceError: "the token is meant for another audience",
    jwt.InvalidIssuerError: "the token comes from another issuer",
    jwt.MissingRequiredClaimError: "the token lacks exp, iss, aud or sub",
}


class Tokens:
    """The tokens of one issuer for one audience. `say` is told when its keys can't be had."""

    def __init__(self, issuer: str, audience: str, say: Callable[[str], None] = lambda what: None) -> None:
        """Raises CadernoError where the issuer's address is not safe to ask."""
        _safe(issuer)
        self._issuer, self._audience, self._say = issuer, audience, say
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._had = self._tried = float("-inf")
        self._turn = threading.Lock()

    def name(self, token: str) -> str:
        """Return the subject of a token. Raises Unauthenticated; Unavailable where no key of the issuer is known."""
        try:
            head = jwt.get_unverified_header(token)
            if head.get("alg") not in _ALGORITHMS:
                raise Unauthenticated(f"the token must be signed by {' or '.join(_ALGORITHMS)}")
            claims = jwt.decode(
                token,
                self._key(str(head.get("kid"))),
                algorithms=_ALGORITHMS,
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(_WRONG.get(type(error), "the token is not valid")) from None
        return str(claims["sub"])

    def fetch(self) -> None:
        """Ask the issuer for its keys, unless it was asked a moment ago. What goes wrong is said."""
        with self._turn:
            if time.monotonic() - self._tried < _AGAIN:
                return
            try:
                self._keys = _keys(self._issuer)
                self._had = time.monotonic()
            except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
                self._say(f"the keys of {self._issuer} can't be had: {error or type(error).__name__}")
            finally:
                self._tried = time.monotonic()

    def _key(self, kid: str) -> jwt.PyJWK:
        """Return the issuer's key of this name. Raises Unauthenticated, Unavailable."""
        if kid not in self._keys:
            self.fetch()
        elif time.monotonic() - max(self._had + _FRESH, self._tried + _AGAIN) > 0 and not self._turn.locked():
            threading.Thread(target=self.fetch, daemon=True, name="caderno-issuer").start()
        if time.monotonic() - self._had > _LONGEST:
            raise Unavailable("the keys of the tokens' issuer can't be had at the moment")
        found = self._keys.get(kid)
        if found is None:
            raise Unauthenticated("the token is signed by a key that its issuer does not name")
        return found


def _keys(issuer: str) -> dict[str, jwt.PyJWK]:
    """Return the issuer's keys for signatures, by name."""
    told = _asked(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if told["issuer"] != issuer:
        raise ValueError("its discovery document is of another issuer")
    return {
        str(one.key_id): one
        for one in jwt.PyJWKSet.from_dict(_asked(told["jwks_uri"])).keys
        if one.key_id and one.public_key_use in ("sig", None)
    }


def _asked(address: str) -> dict[str, Any]:
    """Return the JSON object at an address."""
    _safe(address)
    with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:  # noqa: S310 - only what _safe lets through
        found = json.loads(answer.read(_MOST))
    if not isinstance(found, dict):
        raise TypeError(f"{address} is no JSON object")
    return found


def _safe(address: str) -> None:
    """Raise CadernoError unless nobody between can change what an address says."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback(parts.hostname or "")):
        raise CadernoError(f"{address} is no https:// address", "keys that come unencrypted can be anybody's")
