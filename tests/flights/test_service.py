"""The weather service over real HTTP, and what its client does when it is busy, slow, or hangs up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep

import pandas as pd
import pytest
import requests
from flask import Flask, Response, request

from flights.errors import SourceError, UnavailableError
from flights.service import create_app
from flights.sources.http import Patience
from flights.sources.weather import read_weather

Serve = Callable[[Flask], str]
Trouble = Callable[[], Response | None]

HASTY = Patience(attempts=4, first_pause=0.01, longest_pause=2.0, timeout=0.5)


@pytest.fixture
def app(sources: Path) -> Flask:
    return create_app(sources / "weather")


def in_trouble(app: Flask, trouble: Callable[[int], Response | None], page: str = "EWR/2013-01-03.json") -> list[float]:
    """Let the n-th request (from 1) for a page be answered by `trouble(n)`. The times of these requests."""
    times: list[float] = []

    @app.before_request
    def answer() -> Response | None:
        if not request.path.endswith(page):
            return None
        times.append(monotonic())
        return trouble(len(times))

    return times


def busy(seconds: str | None = None, status: int = 503) -> Response:
    return Response("later", status, headers={"Retry-After": seconds} if seconds else None)


def test_over_http_a_month_is_the_same_as_from_files(app: Flask, serve: Serve, sources: Path) -> None:
    url = f"{serve(app)}/weather/2013-01"
    pd.testing.assert_frame_equal(read_weather(url, "2013-01"), read_weather(sources / "weather/2013-01", "2013-01"))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_service_is_asked_again_with_growing_pauses(status: int, app: Flask, serve: Serve) -> None:
    times = in_trouble(app, lambda n: busy(status=status) if n < 4 else None)
    patience = Patience(attempts=4, first_pause=0.05)
    assert len(read_weather(f"{serve(app)}/weather/2013-01", "2013-01", patience)) == 2_226
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(pauses) == 3
    assert all(pause >= least for pause, least in zip(pauses, [0.05, 0.1, 0.2], strict=True))


def test_a_service_that_stays_busy_is_given_up_with_its_url(app: Flask, serve: Serve) -> None:
    times = in_trouble(app, lambda n: busy())
    url = f"{serve(app)}/weather/2013-01"
    with pytest.raises(UnavailableError, match=r"after 4 attempts \(status 503") as caught:
        read_weather(url, "2013-01", HASTY)
    assert caught.value.source == f"{url}/EWR/2013-01-03.json"
    assert len(times) == 4


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_pause_is_the_one_that_the_service_asks_for(form: str, app: Flask, serve: Serve) -> None:
    def trouble(n: int) -> Response | None:
        # A date has whole seconds: two from now is one to two seconds away.
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return busy("1" if form == "seconds" else date) if n == 1 else None

    times = in_trouble(app, trouble)
    read_weather(f"{serve(app)}/weather/2013-01", "2013-01", HASTY)
    assert 0.9 <= times[1] - times[0] < 2.5


def test_a_service_that_asks_for_more_than_our_patience_is_given_up_at_once(app: Flask, serve: Serve) -> None:
    times = in_trouble(app, lambda n: busy("3600"))
    with pytest.raises(UnavailableError, match="come back in 3600 s"):
        read_weather(f"{serve(app)}/weather/2013-01", "2013-01", HASTY)
    assert len(times) == 1


def cut_off() -> Response:
    """A body that ends before its Content-Length, as when a server is stopped."""
    response = Response('{"station": "EWR"')
    response.content_length = 5000
    return response


def test_a_body_cut_off_once_is_fetched_again(app: Flask, serve: Serve) -> None:
    times = in_trouble(app, lambda n: cut_off() if n == 1 else None)
    assert len(read_weather(f"{serve(app)}/weather/2013-01", "2013-01", HASTY)) == 2_226
    assert len(times) == 2


def test_a_body_that_is_always_cut_off_is_refused(app: Flask, serve: Serve) -> None:
    in_trouble(app, lambda n: cut_off())
    with pytest.raises(SourceError, match=r"EWR/2013-01-03\.json: no whole answer .*the body was cut off"):
        read_weather(f"{serve(app)}/weather/2013-01", "2013-01", HASTY)


def test_a_body_cut_off_behind_a_proxy_that_hides_it_is_refused(app: Flask, serve: Serve, sources: Path) -> None:
    half = (sources / "weather/2013-01/EWR/2013-01-03.json").read_bytes()[:900]
    in_trouble(app, lambda n: Response(half))
    with pytest.raises(SourceError, match=r"EWR/2013-01-03\.json: not whole JSON, so perhaps cut off"):
        read_weather(f"{serve(app)}/weather/2013-01", "2013-01", HASTY)


def test_a_service_that_hangs_is_asked_again(app: Flask, serve: Serve) -> None:
    def hang(n: int) -> Response | None:
        if n == 1:
            sleep(1.0)
        return None

    times = in_trouble(app, hang)
    assert len(read_weather(f"{serve(app)}/weather/2013-01", "2013-01", HASTY)) == 2_226
    assert len(times) == 2


def test_a_service_that_is_not_there_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:1/weather/2013-01/index\.json: no whole answer"):
        read_weather("http://127.0.0.1:1/weather/2013-01", "2013-01", HASTY)


def test_a_month_that_the_service_does_not_have_is_not_asked_for_again(app: Flask, serve: Serve) -> None:
    times = in_trouble(app, lambda n: None, page="index.json")
    with pytest.raises(SourceError, match="the service answers 404"):
        read_weather(f"{serve(app)}/weather/2014-01", "2014-01", HASTY)
    assert len(times) == 1


PATHS_OUT = [
    "../registry.db",
    "..%2fregistry.db",
    "2013-01/../../registry.db",
    "%2fetc%2fpasswd",
    "2013-01/%00",
    "2013-01",
]


@pytest.mark.parametrize("path", PATHS_OUT)
def test_nothing_but_pages_is_served(path: str, app: Flask, serve: Serve) -> None:
    # Prepared by hand: requests would resolve the dots before it asks.
    prepared = requests.Request("GET", serve(app)).prepare()
    prepared.url = f"{prepared.url}weather/{path}"
    with requests.Session() as session:
        response = session.send(prepared, timeout=5)
    assert response.status_code == 404
    assert b"SQLite" not in response.content


def test_a_symbolic_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "weather/2013-01").mkdir(parents=True)
    (tmp_path / "weather/2013-01/index.json").symlink_to(tmp_path / "secret.json")
    assert create_app(tmp_path / "weather").test_client().get("/weather/2013-01/index.json").status_code == 404


def test_the_command_serves_and_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flights.service", "--data", str(tmp_path / "nowhere")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert "nowhere is not a folder: run `make sources`" in ended.stderr
