"""The example's own pages in the service: will my flight leave late?

`GET /flights/2013-11-05/UA/15` answers in JSON, or as a page to a browser; `GET /flights` finds one. The blueprint is
given the service, and asks it for predictions and for the newest results; of the engine nothing is imported.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from flights.board import AHEAD, LATE, ZONE
from flights.web.timetable import PAST, Departure, Latest, Result, Timetable

MEANING = f"late: left {LATE} or more minutes after the schedule, or not at all"
STYLE = (Path(__file__).parent / "style.css").read_text("utf-8")
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Prediction(Protocol):
    """What a model says of each row; `about` may have `metrics`, by which it was judged before its release."""

    @property
    def values(self) -> Sequence[Any]:
        """The probabilities of each row: on time, late."""

    @property
    def version(self) -> str:
        """The version that was asked."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What is known of that version."""


class Service(Protocol):
    """What the pages ask of who mounts them."""

    model: str

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Prediction:
        """Return what the model in use says. Raises HTTPException."""

    def latest(self, task: str) -> Result:
        """Return the newest result of a task. Raises HTTPException."""


def blueprint(service: Service) -> Blueprint:
    """Return the pages below /flights."""
    pages = Blueprint("flights", __name__, url_prefix="/flights", template_folder="templates")
    latest = Latest(service.latest)

    @pages.get("")
    def find() -> Any:
        """The form, and where it leads."""
        table = latest()
        asked = {name: request.args.get(name, "").strip() for name in ("date", "carrier", "flight")}
        if all(asked.values()):
            day, carrier, number = asked["date"], asked["carrier"].upper(), asked["flight"]
            return redirect(url_for(".flight", day=day, carrier=carrier, number=number), 303)
        if any(asked.values()):
            return _form(table, 400, "It takes all three: date, airline and number.", asked)
        return _form(table)

    @pages.get("/<day>")
    @pages.get("/<day>/<carrier>")
    def begun(day: str, carrier: str = "") -> Any:
        """The form with what is known already."""
        table, when = latest(), _day(day)
        asked = {"date": day, "carrier": carrier.upper()}
        if when is None:
            return _form(table, 404, f"{day} is no date such as {table.last:%Y-%m-%d}.", asked)
        if not table.first <= when <= table.last:
            told = f"There are flights from {table.first:%Y-%m-%d} to {table.last:%Y-%m-%d} only."
            return _form(table, 404, told, asked)
        return _form(table, asked=asked)

    @pages.get("/<day>/<carrier>/<number>")
    def flight(day: str, carrier: str, number: str) -> Any:
        """One flight number on one day: each of its departures with its probability."""
        table, carrier = latest(), carrier.upper()
        asked = {"date": day, "carrier": carrier, "flight": number}
        when = _day(day)
        if when is None or not table.first <= when <= table.last:
            return begun(day, carrier)
        if not (number.isascii() and number.isdigit() and len(number) <= 4):
            return _form(table, 404, f"{number} is no flight number such as 15.", asked)
        found = table.departures(when, carrier, int(number))
        if not found:
            return _missing(table, when, carrier, int(number))
        said = service.predict([table.features(one) for one in found])
        told = {
            "date": day,
            "carrier": carrier,
            "airline": table.airlines.get(carrier),
            "flight": int(number),
            "model": service.model,
            "version": said.version,
            "meaning": MEANING,
            "departures": [_told(table, one, float(value[-1])) for one, value in zip(found, said.values, strict=True)],
        }
        return _answer("flight", told, day=when, metrics=said.about.get("metrics", {}), ahead=AHEAD // 60, past=PAST)

    @pages.errorhandler(HTTPException)
    def failed(error: HTTPException) -> Any:
        """What the service could not answer."""
        return _answer("failed", {"error": error.description or error.name}, error.code or 500)

    @pages.after_request
    def guarded(response: Response) -> Response:
        """Let a page load and run nothing but its own style."""
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-cache"
        response.vary.add("Accept")
        return response

    return pages


def _day(text: str) -> pd.Timestamp | None:
    try:
        return pd.Timestamp(date.fromisoformat(text)) if len(text) == 10 else None
    except ValueError:
        return None


def _told(table: Timetable, one: Departure, probability: float) -> dict[str, Any]:
    decided = one.scheduled.floor("h") - pd.Timedelta(minutes=AHEAD)
    return {
        "origin": one.origin,
        "origin_name": table.airports.get(one.origin),
        "destination": one.destination,
        "destination_name": table.airports.get(one.destination or ""),
        "scheduled": one.scheduled.strftime("%Y-%m-%dT%H:%MZ"),
        "scheduled_local": one.scheduled.tz_convert(ZONE).isoformat(timespec="minutes"),
        "decided": decided.strftime("%Y-%m-%dT%H:%MZ"),
        "decided_local": decided.tz_convert(ZONE).isoformat(timespec="minutes"),
        "probability_late": probability,
        "late": one.late,
        "learned_from": one.learned,
        "past_flights": one.past,
        "past_late": one.past_late,
    }


def _missing(table: Timetable, when: pd.Timestamp, carrier: str, number: int) -> Any:
    """Say that there is no such flight, and which are next to it."""
    near, day = table.near(when, carrier, number), f"{when:%Y-%m-%d}"
    told = f"{carrier} {number} did not leave New York on {day}"
    if not near:
        told = f"{carrier} had no flight from New York on {day}; these had: {', '.join(table.carriers(when))}"
    links = [(f"{carrier} {one}", url_for(".flight", day=day, carrier=carrier, number=one)) for one in near]
    return _form(table, 404, f"{told}.", {"date": day, "carrier": carrier, "flight": str(number)}, links)


def _form(
    table: Timetable,
    status: int = 200,
    error: str | None = None,
    asked: Mapping[str, str] | None = None,
    near: Sequence[tuple[str, str]] = (),
) -> Response:
    carriers = {one: table.airlines.get(one, one) for one in table.carriers()}
    told: dict[str, Any] = {"error": error, "near": dict(near)} if error else {}
    told |= {"first": f"{table.first:%Y-%m-%d}", "last": f"{table.last:%Y-%m-%d}", "carriers": carriers}
    return _answer("find", {**told, "address": "/flights/<date>/<carrier>/<number>"}, status, asked=asked or {})


def _answer(page: str, told: Mapping[str, Any], status: int = 200, **shown: Any) -> Response:
    """Return what is told as JSON, or to a browser as a page, which is shown more."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return Response(render_template(f"flights/{page}.html", **told, **shown, style=STYLE), status)
    response = jsonify(told)
    response.status_code = status
    return response
