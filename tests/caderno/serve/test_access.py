"""Who may ask, and how often: keys, tokens of a real issuer, rates, and pages in browsers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from serve.issuer import AUDIENCE, Issuer, public, rsa_key
from werkzeug.test import TestResponse

from caderno.cli import main
from caderno.errors import CadernoError
from caderno.serve import keys, tokens
from caderno.serve.access import Access
from caderno.serve.answering import Service
from caderno.serve.app import create_app
from caderno.serve.batching import Settings
from caderno.serve.keys import Keys
from caderno.serve.shelf import Shelf
from caderno.serve.tokens import Tokens

ELSEWHERE = "0.0.0.0"
MODEL = "/v1/models/none"  # 404 for whoever may ask: nothing is served here


def guarded(access: Access) -> Flask:
    return create_app(Service(Shelf([], Settings()), 10), 1000, access)


def get(app: Flask, path: str = MODEL, **headers: str) -> TestResponse:
    return app.test_client().get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def bearer(app: Flask, token: str) -> TestResponse:
    return get(app, Authorization=f"Bearer {token}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    monkeypatch.setattr(tokens, "_AGAIN", 0.0)
    found = Issuer()
    yield found
    found.stop()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def tokened(issuer: Issuer, said: list[str]) -> Flask:
    return guarded(Access(ELSEWHERE, tokens=Tokens(issuer.url, AUDIENCE, said.append)))


def test_without_keys_only_this_machine_may_listen() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "::1"):
        Access(host)
    for host in ("0.0.0.0", "::", "", "192.168.1.7", "example.org", "127.0.0.1.example.org"):
        with pytest.raises(CadernoError, match=r"anybody could ask\n.*serve-key"):
            Access(host)


def test_the_command_refuses_to_listen_elsewhere_without_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {
        ("--host", "0.0.0.0"): "on 0.0.0.0 anybody could ask",
        ("--oidc-issuer", "https://issuer.example"): "--oidc-issuer and --oidc-audience belong together",
        ("--oidc-issuer", "http://issuer.example", "--oidc-audience", "x"): "is no https:// address",
        ("--keys", str(tmp_path / "none")): "keys can't be read from",
        ("--rate", "often"): "'often' is no rate",
    }
    for arguments, told in cases.items():
        monkeypatch.setattr("sys.argv", ["caderno", "serve", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        assert told in capsys.readouterr().err


def test_serve_key_prints_a_key_once_and_keeps_only_its_digest(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("# who may ask\nold " + "0" * 64)
    monkeypatch.setattr("sys.argv", ["caderno", "serve-key", "nightly", str(file)])
    main()
    out, err = capsys.readouterr()
    key = out.strip()
    assert len(key) > 40
    assert err == ""
    assert key not in file.read_text()
    assert file.read_text().splitlines()[2] == f"nightly {hashlib.sha256(key.encode()).hexdigest()}"
    assert Keys(file).name(key) == "nightly"


def test_a_new_file_of_keys_is_its_owners_alone(file: Path) -> None:
    keys.add("ci", file)
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["", "two words", "#ci", "a\nb", "x" * 65])
def test_a_name_that_would_spoil_the_file_is_refused(name: str, file: Path) -> None:
    with pytest.raises(CadernoError, match="can't name a caller"):
        keys.add(name, file)
    assert not file.exists()


def test_a_line_that_is_no_digest_is_named_but_not_shown(file: Path) -> None:
    file.write_text("\nci a-key-that-somebody-pasted\n")
    with pytest.raises(CadernoError, match="line 2") as error:
        Keys(file)
    assert "pasted" not in str(error.value)


def test_a_key_is_taken_by_either_header_and_no_other_is(file: Path) -> None:
    key, other = keys.add("ci", file), keys.add("other", file)
    app = guarded(Access(ELSEWHERE, Keys(file)))
    for headers in ({"X_API_Key": key}, {"Authorization": f"Bearer {other}"}, {"Authorization": f"bearer  {key}"}):
        assert get(app, **headers).status_code == 404
    digest = hashlib.sha256(key.encode()).hexdigest()
    for wrong in (key[:-1], f"{key}x", key.upper(), digest, "ci", "é", "x" * 20_000):
        answer = get(app, X_API_Key=wrong)
        assert answer.status_code == 401
        assert answer.json == {"error": "the key is not known"}
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    for without in ({}, {"Authorization": f"Basic {key}"}, {"Authorization": key}, {"Authorization": "Bearer "}):
        assert get(app, **without).status_code == 401


def test_a_refusal_says_how_to_ask(file: Path) -> None:
    keys.add("ci", file)
    answer = get(guarded(Access(ELSEWHERE, Keys(file))))
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="caderno"'
    assert "Authorization: Bearer KEY" in answer.json["error"]


def test_a_browser_asks_its_user_for_a_key_and_may_ask_for_no_other_sites_page(file: Path) -> None:
    key = keys.add("reviewer", file)
    app = guarded(Access(ELSEWHERE, Keys(file)))
    page = {"Accept": "text/html,*/*"}
    assert get(app, "/", **page).headers["WWW-Authenticate"] == 'Basic realm="caderno"'
    given = {**page, "Authorization": "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()}
    assert get(app, "/", **given).status_code == 200
    assert get(app, "/", **given, Origin="http://localhost").status_code == 200
    assert get(app, "/", **given, Origin="http://evil.example").status_code == 403
    wrong = "Basic " + base64.b64encode(f"{key}:x".encode()).decode()
    assert get(app, "/", **page, Authorization=wrong).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "names"),
    [
        ("POST", "/v1/models/flights:predict", {"error"}),
        ("GET", "/v2/models/flights", {"error"}),
        ("POST", "/invocations", {"error_code", "message"}),
        ("GET", "/metrics", {"error"}),
        ("GET", "/no/such/page", {"error"}),
    ],
)
def test_a_refusal_has_its_protocols_form_and_tells_nothing_of_what_is_there(
    method: str, path: str, names: set[str], file: Path
) -> None:
    keys.add("ci", file)
    answer = guarded(Access(ELSEWHERE, Keys(file))).test_client().open(path, method=method, json={})
    assert answer.status_code == 401
    assert answer.json.keys() == names
    assert answer.json.get("error_code", "UNAUTHENTICATED") == "UNAUTHENTICATED"


@pytest.mark.parametrize("path", ["/ping", "/health", "/v2/health/live", "/v2/health/ready"])
def test_whoever_watches_that_it_runs_needs_no_key(path: str, file: Path) -> None:
    keys.add("ci", file)
    app = guarded(Access(ELSEWHERE, Keys(file), rate="2/hour"))
    assert {get(app, path).status_code for _ in range(3)} <= {200, 404, 503}
    assert get(app, f"{path}/../metrics").status_code == 401
    assert get(app, f"{path};x").status_code == 401


def test_figures_need_a_key_only_where_there_are_keys(file: Path) -> None:
    key = keys.add("prometheus", file)
    assert get(guarded(Access()), "/metrics").status_code == 200
    assert get(guarded(Access(ELSEWHERE, Keys(file))), "/metrics").status_code == 401
    assert get(guarded(Access(ELSEWHERE, Keys(file))), "/metrics", X_API_Key=key).status_code == 200


def test_a_key_counts_as_soon_as_its_line_is_there_and_no_longer(file: Path) -> None:
    first = keys.add("first", file)
    app = guarded(Access(ELSEWHERE, Keys(file)))
    second = keys.add("second", file)
    assert bearer(app, second).status_code == 404
    file.write_text(file.read_text().splitlines()[1])
    assert bearer(app, first).status_code == 401
    assert bearer(app, second).status_code == 404
    file.write_text("")
    assert bearer(app, second).status_code == 401


def test_a_file_that_breaks_meanwhile_locks_nobody_out_and_is_told_once(file: Path, said: list[str]) -> None:
    key = keys.add("ci", file)
    app = guarded(Access(ELSEWHERE, Keys(file, said.append)))
    file.write_text("half a li")
    for _ in range(2):
        assert bearer(app, key).status_code == 404
    assert len(said) == 1
    file.unlink()
    assert bearer(app, key).status_code == 404
    assert "No such file" in said[1]
    fresh = keys.add("fresh", file)
    assert bearer(app, key).status_code == 401
    assert bearer(app, fresh).status_code == 404


def test_a_token_of_the_issuer_is_taken(tokened: Flask, issuer: Issuer) -> None:
    assert bearer(tokened, issuer.token()).status_code == 404
    issuer.keys["curve"] = ec.generate_private_key(ec.SECP256R1())
    assert bearer(tokened, issuer.token("curve", "ES256")).status_code == 404
    assert bearer(tokened, issuer.token(aud=["other", AUDIENCE])).status_code == 404


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": time.time() - 3600}, "has expired"),
        ({"nbf": time.time() + 3600}, "does not hold yet"),
        ({"aud": "other"}, "another audience"),
        ({"iss": "https://issuer.example"}, "another issuer"),
        ({"exp": None}, "lacks"),
        ({"iss": None}, "lacks"),
        ({"aud": None}, "lacks"),
        ({"sub": None}, "lacks"),
    ],
)
def test_a_token_for_others_or_another_time_is_refused(
    claims: dict[str, Any], why: str, tokened: Flask, issuer: Issuer
) -> None:
    answer = bearer(tokened, issuer.token(**claims))
    assert answer.status_code == 401
    assert why in answer.json["error"]
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_a_forged_token_is_refused(tokened: Flask, issuer: Issuer) -> None:
    good = issuer.token()
    head, claims, signature = good.split(".")
    evil = encoded({**json.loads(decoded(claims)), "sub": "root"})
    own = {"alg": "RS256", "kid": "first", "jwk": {"kty": "RSA"}, "jku": "http://127.0.0.1:1/keys"}
    tried = {
        "no signature": forged(issuer, {"alg": "none", "kid": "first"}),
        "none, in other letters": forged(issuer, {"alg": "nOnE", "kid": "first"}),
        "the public key as a secret": forged(
            issuer, {"alg": "HS256", "kid": "first"}, secret=public(issuer.keys["first"])
        ),
        "another's key under this name": issuer.token(key=rsa_key()),
        "a key that it brings itself": forged(issuer, own),
        "an unknown key": issuer.token("unknown", key=rsa_key()),
        "another curve than the name's": forged(issuer, {"alg": "ES256", "kid": "first"}),
        "changed claims": f"{head}.{evil}.{signature}",
        "without signature": f"{head}.{claims}.",
        "a deep head": f"{base64.urlsafe_b64encode(b'[' * 15_000).decode()}.{claims}.{signature}",
        "no JSON": "a.b.c",
        "no letters": "é.é.é",
        "dots": "..",
        "no token": "x",
    }
    for what, token in tried.items():
        answer = bearer(tokened, token)
        assert answer.status_code == 401, what
        assert token[:20] not in answer.get_data(as_text=True) or len(token) < 20, what
    assert bearer(tokened, good).status_code == 404


def test_a_key_that_the_issuer_made_anew_is_found_and_the_old_one_forgotten(tokened: Flask, issuer: Issuer) -> None:
    old = issuer.token()
    assert bearer(tokened, old).status_code == 404
    issuer.keys = {"second": rsa_key()}
    assert bearer(tokened, issuer.token("second")).status_code == 404
    assert bearer(tokened, old).status_code == 401


def test_keys_are_looked_at_again_in_the_background(
    tokened: Flask, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = issuer.token()
    assert bearer(tokened, old).status_code == 404
    monkeypatch.setattr(tokens, "_FRESH", 0.0)
    issuer.keys, issuer.delay = {"second": rsa_key()}, 0.3
    began = time.monotonic()
    assert bearer(tokened, old).status_code == 404
    assert time.monotonic() - began < 0.2
    until = time.monotonic() + 10
    while bearer(tokened, old).status_code != 401:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_issuer_is_not_asked_for_each_token(
    tokened: Flask, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_AGAIN", 60.0)
    for _ in range(5):
        assert bearer(tokened, issuer.token()).status_code == 404
        assert bearer(tokened, issuer.token("unknown", key=rsa_key())).status_code == 401
    assert len(issuer.asked) == 2


def test_an_issuer_that_is_away_at_first_is_the_services_fault_and_found_later(
    tokened: Flask, issuer: Issuer, said: list[str]
) -> None:
    token = issuer.token()
    issuer.stop()
    answer = bearer(tokened, token)
    assert answer.status_code == 503
    assert "can't be had" in answer.json["error"]
    assert "refused" in said[0]
    issuer.start()
    assert bearer(tokened, token).status_code == 404


def test_while_the_issuer_is_away_its_known_keys_go_on_for_a_day(
    tokened: Flask, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token()
    assert bearer(tokened, token).status_code == 404
    issuer.stop()
    monkeypatch.setattr(tokens, "_FRESH", 0.0)
    for _ in range(3):
        assert bearer(tokened, token).status_code == 404
        time.sleep(0.05)
    monkeypatch.setattr(tokens, "_LONGEST", 0.0)
    assert bearer(tokened, token).status_code == 503


def test_a_discovery_document_of_another_issuer_is_not_believed(
    tokened: Flask, issuer: Issuer, said: list[str]
) -> None:
    issuer.named = "https://issuer.example"
    assert bearer(tokened, issuer.token()).status_code == 503
    assert "of another issuer" in said[0]


def test_keys_and_tokens_are_taken_side_by_side(issuer: Issuer, file: Path) -> None:
    key = keys.add("ci", file)
    app = guarded(Access(ELSEWHERE, Keys(file), Tokens(issuer.url, AUDIENCE)))
    assert bearer(app, key).status_code == 404
    assert bearer(app, issuer.token()).status_code == 404
    assert get(app, X_API_Key=issuer.token()).status_code == 401


def test_who_asks_too_often_is_told_when_to_come_again(file: Path) -> None:
    first, second = keys.add("first", file), keys.add("second", file)
    app = guarded(Access(ELSEWHERE, Keys(file), rate="3/2 second"))
    assert [bearer(app, first).status_code for _ in range(5)] == [404, 404, 404, 429, 429]
    answer = bearer(app, first)
    again = answer.headers["Retry-After"]
    assert again in ("1", "2")
    assert answer.json == {"error": f"more than 3 per 2 second: try again in {again} s"}
    assert bearer(app, second).status_code == 404
    time.sleep(2.05)
    assert bearer(app, first).status_code == 404


def test_without_keys_each_address_has_its_own_rate() -> None:
    app = guarded(Access(rate="2/minute"))
    client = app.test_client()

    def ask(address: str) -> int:
        return client.get(MODEL, environ_base={"REMOTE_ADDR": address}).status_code

    assert [ask("127.0.0.1") for _ in range(3)] == [404, 404, 429]
    assert ask("127.0.0.2") == 404


def test_guessing_keys_counts_for_the_address_and_not_for_who_is_known(file: Path) -> None:
    key = keys.add("ci", file)
    app = guarded(Access(ELSEWHERE, Keys(file), rate="2/minute"))
    assert [bearer(app, "guess").status_code for _ in range(4)] == [401, 401, 429, 429]
    assert bearer(app, key).status_code == 404


@pytest.mark.parametrize("host", ["127.0.0.1:8501", "localhost", "LOCALHOST:80", "[::1]:8501", "model.localhost"])
def test_this_machine_may_be_asked_by_its_own_names(host: str) -> None:
    assert get(guarded(Access()), "/metrics", Host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "[", "127.0.0.1@evil.example"],
)
def test_a_name_that_was_bound_to_this_machine_is_refused(host: str) -> None:
    for path in ("/metrics", "/ping", MODEL):
        answer = get(guarded(Access()), path, Host=host)
        assert answer.status_code == 403
        assert host not in answer.get_data(as_text=True)


def test_a_page_of_another_site_may_not_ask() -> None:
    app = guarded(Access())
    for origin in ("https://evil.example", "null", "http://127.0.0.1:8000"):
        assert get(app, "/metrics", Host="127.0.0.1:8501", Origin=origin).status_code == 403
    assert get(app, "/metrics", Host="127.0.0.1:8501", Origin="http://127.0.0.1:8501").status_code == 200


def test_no_other_site_is_given_leave_to_read(file: Path) -> None:
    key = keys.add("ci", file)
    app = guarded(Access(ELSEWHERE, Keys(file)))
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST", "X-API-Key": key}
    for method in ("OPTIONS", "GET"):
        answer = app.test_client().open("/metrics", method=method, headers=asked)
        assert not [name for name in dict(answer.headers) if name.startswith("Access-Control")]


def test_each_answer_has_the_headers_that_bind_browsers(file: Path) -> None:
    keys.add("ci", file)
    app = guarded(Access())

    @app.get("/page")
    def page() -> Any:
        return "<p>", {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "max-age=60"}

    for answer in (get(app), get(app, "/metrics"), get(guarded(Access(ELSEWHERE, Keys(file))))):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "Server" not in answer.headers
    assert get(app, "/page").headers["Content-Security-Policy"] == "default-src 'self'"
    assert get(app, "/page").headers["Cache-Control"] == "max-age=60"
    assert get(app, "/page").headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/MLmodel",
        "/static/MLmodel",
        "/v1/models/../../../../etc/passwd",
        "/v1/models/..%2f..%2fetc%2fpasswd/metadata",
        "/v1/models/%2e%2e/versions/1",
        "/v1/models/x/labels/..%00",
        "/metrics/../../etc/passwd",
    ],
)
def test_no_file_is_reached_by_an_address(path: str) -> None:
    answer = get(guarded(Access()), path)
    assert answer.status_code == 404
    assert "root:" not in answer.get_data(as_text=True)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def forged(issuer: Issuer, head: dict[str, Any], secret: bytes = b"") -> str:
    """Return a token made by hand, which a library would refuse to make; without a secret it has no signature."""
    text = f"{encoded(head)}.{issuer.token().split('.')[1]}"
    signature = hmac.digest(secret, text.encode(), "sha256") if secret else b""
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
