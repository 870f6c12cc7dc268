"""An OpenID Connect issuer of our own, which tests stop, start again, and let change its keys."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "caderno"
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public(key: Key) -> bytes:
    """Return the public key as PEM, which a confused verifier would take for a shared secret."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        issuer = self.server.issuer
        issuer.asked.append(self.path)
        time.sleep(issuer.delay)
        pages = {
            "/.well-known/openid-configuration": {
                "issuer": issuer.named or issuer.url,
                "jwks_uri": f"{issuer.url}/keys",
            },
            "/keys": {"keys": [_jwk(kid, key) for kid, key in issuer.keys.items()]},
        }
        self.send_response(200 if self.path in pages else 404)
        self.end_headers()
        self.wfile.write(json.dumps(pages.get(self.path)).encode())

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    issuer: Issuer


class Issuer:
    """Starts with one RSA key, named "first"."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {"first": rsa_key()}
        self.named: str | None = None  # what the discovery document says that the issuer is
        self.delay = 0.0
        self.asked: list[str] = []
        self._port = 0
        self._server: _Server | None = None
        self.start()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.issuer = self
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def token(self, kid: str = "first", algorithm: str = "RS256", key: Any = None, **claims: Any) -> str:
        """Return a token that is valid but for what is said otherwise; a claim that is None is left out."""
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "batch job", "exp": time.time() + 60}
        said: Mapping[str, Any] = {name: value for name, value in {**good, **claims}.items() if value is not None}
        signing = self.keys.get(kid) if key is None else key
        return jwt.encode(dict(said), signing, algorithm, headers={"kid": kid})


def _jwk(kid: str, key: Key) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}
