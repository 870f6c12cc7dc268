"""The example's pages in the service: on small tables, with a fitted model behind them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from flask import Flask, abort
from flask.testing import FlaskClient

from flights import models
from flights.board import ZONE, Departures
from flights.features import DAY, FEATURES, KEY, LABEL, NUMBERS
from flights.web import blueprint

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FLIGHTS = [  # part, origin, carrier, number, New York time, late, destination
    *(("train", "EWR", "UA", 15, f"2013-08-{day:02} 09:30", day % 4 == 0, "HNL") for day in range(1, 21)),
    ("train", "JFK", "B6", 7, "2013-08-20 23:55", True, "HNL"),
    ("validation", "EWR", "UA", 15, "2013-09-02 09:30", True, "HNL"),
    ("test", "LGA", "WN", 99, "2013-11-05 16:10", False, "STL"),
    ("test", "EWR", "WN", 99, "2013-11-05 06:59", True, "HNL"),
    ("test", "EWR", "UA", 15, "2013-11-05 09:30", False, "HNL"),
    ("test", "EWR", "UA", 1500, "2013-11-05 10:30", False, "nowhere"),
    *(("test", "LGA", "UA", number, "2013-11-05 12:00", False, "STL") for number in (20, 30, 40, 50, 60, 70)),
]
PLACES = {"HNL": (21.3, -157.9), "STL": (38.7, -90.4), "nowhere": (None, None)}


def dataset(folder: Path, seed: int = 0) -> pd.DataFrame:
    """Write train, validation and test; return all their rows."""
    folder.mkdir(parents=True)
    columns = ["part", "origin", "carrier", "flight", "local", LABEL, "to"]
    table = pd.DataFrame(FLIGHTS, columns=columns)
    local = pd.to_datetime(table["local"])
    table["scheduled_departure"] = local.dt.tz_localize(ZONE).dt.tz_convert("UTC")
    table[DAY] = local.dt.normalize()
    random = np.random.default_rng(seed)
    numbers = pd.DataFrame(random.normal(size=(len(table), len(NUMBERS))), columns=NUMBERS)
    numbers["temp"] = np.nan
    numbers["hour"] = local.dt.hour.astype(float)
    for place, name in enumerate(("dest_latitude", "dest_longitude")):
        numbers[name] = [np.nan if PLACES[to][place] is None else PLACES[to][place] for to in table["to"]]
    table = pd.concat([table, numbers], axis=1)
    for part in ("train", "validation", "test"):
        table.loc[table["part"] == part, [*KEY, DAY, LABEL, *NUMBERS]].to_parquet(folder / f"{part}.parquet")
    return table


@dataclass(frozen=True)
class Result:
    fingerprint: str
    outputs: Mapping[str, Path]


@dataclass(frozen=True)
class Prediction:
    values: Sequence[Any]
    version: str
    about: Mapping[str, Any]


@dataclass
class Service:
    """A fitted model, and results in a folder."""

    folder: Path
    fitted: Any
    model: str = "flights"
    newest: str = "one"
    away: bool = False
    asked: list[Mapping[str, Any]] = field(default_factory=list)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Prediction:
        if self.away:
            abort(503, "flights has no champion yet")
        self.asked += rows
        table = pd.DataFrame(list(rows))[FEATURES].astype(dict.fromkeys(NUMBERS, "float64"))
        metrics = {"roc_auc": 0.77, "calibration_in_the_large": -0.009}
        return Prediction(self.fitted.predict_proba(table).tolist(), "3", {"metrics": metrics})

    def latest(self, task: str) -> Result:
        folder = self.folder / (self.newest if task == "dataset" else task)
        return Result(folder.name, {path.stem: path for path in folder.iterdir()})


@dataclass(frozen=True)
class Site:
    service: Service
    client: FlaskClient
    table: pd.DataFrame

    def said(self, address: str, status: int = 200) -> dict[str, Any]:
        answer = self.client.get(address)
        assert answer.status_code == status
        return answer.get_json()

    def page(self, address: str, status: int = 200) -> BeautifulSoup:
        answer = self.client.get(address, headers=PAGE)
        assert answer.status_code == status
        assert answer.mimetype == "text/html"
        return BeautifulSoup(answer.text, "html.parser")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    table = dataset(tmp_path / "one")
    (tmp_path / "registry").mkdir()
    airports = [
        ("EWR", "Newark Liberty Intl", 40.7, -74.2),
        ("HNL", "Honolulu Intl", *PLACES["HNL"]),
        ("STL", "<b>Lambert</b> St Louis", *PLACES["STL"]),
    ]
    pd.DataFrame(airports, columns=["faa", "name", "lat", "lon"]).to_parquet(tmp_path / "registry" / "airports.parquet")
    airlines = pd.DataFrame({"carrier": ["UA", "WN"], "name": ["United", "South<script>west"]})
    airlines.to_parquet(tmp_path / "registry" / "airlines.parquet")
    fitted = models.pipeline("base_rate", {"min_samples_leaf": 2}).fit(table[FEATURES], table[LABEL])
    service = Service(tmp_path, fitted)
    app = Flask("test")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.register_blueprint(blueprint(service))
    return Site(service, app.test_client(), table)


def test_a_flight_is_told_with_its_schedule_its_probability_and_the_version_that_said_it(site: Site) -> None:
    said = site.said("/flights/2013-11-05/UA/15")
    row = site.table[(site.table["flight"] == 15) & (site.table[DAY] == "2013-11-05")]
    assert (said["airline"], said["flight"], said["version"]) == ("United", 15, "3")
    assert said["departures"] == [
        {
            "origin": "EWR",
            "origin_name": "Newark Liberty Intl",
            "destination": "HNL",
            "destination_name": "Honolulu Intl",
            "scheduled": "2013-11-05T14:30Z",
            "scheduled_local": "2013-11-05T09:30-05:00",
            "decided": "2013-11-05T12:00Z",
            "decided_local": "2013-11-05T07:00-05:00",
            "probability_late": site.service.fitted.predict_proba(row[FEATURES])[0, 1],
            "late": False,
            "learned_from": False,
            "past_flights": 0,
            "past_late": 0,
        }
    ]


def test_the_model_is_asked_with_the_datasets_row_and_none_where_nothing_is_known(site: Site) -> None:
    site.said("/flights/2013-11-05/UA/15")
    row = site.table[(site.table["flight"] == 15) & (site.table[DAY] == "2013-11-05")].iloc[0]
    (asked,) = site.service.asked
    assert list(asked) == FEATURES
    assert asked["temp"] is None
    assert {name: asked[name] for name in FEATURES if name != "temp"} == row[FEATURES].drop("temp").to_dict()


def test_the_decision_time_is_that_of_the_features(site: Site) -> None:
    outcomes = site.table.assign(dep_delay=0.0, cancelled=False)
    decided = pd.to_datetime(Departures.of(outcomes).decided, unit="m", utc=True)
    for place in (20, 22, 23):
        row = site.table.iloc[place]
        said = site.said(f"/flights/{row[DAY]:%Y-%m-%d}/{row['carrier']}/{row['flight']}")["departures"]
        assert decided[place] in [pd.Timestamp(one["decided"]) for one in said]


def test_a_number_that_leaves_from_two_airports_is_told_twice_by_time(site: Site) -> None:
    said = site.said("/flights/2013-11-05/wn/99")
    assert [one["origin"] for one in said["departures"]] == ["EWR", "LGA"]
    assert [one["late"] for one in said["departures"]] == [True, False]
    assert len(site.page("/flights/2013-11-05/WN/99").select(".route")) == 2


def test_a_day_is_new_yorks(site: Site) -> None:
    (said,) = site.said("/flights/2013-08-20/B6/7")["departures"]
    assert (said["scheduled_local"], said["scheduled"]) == ("2013-08-20T23:55-04:00", "2013-08-21T03:55Z")


def test_the_past_of_a_number_is_counted_without_the_day_itself(site: Site) -> None:
    (said,) = site.said("/flights/2013-09-02/UA/15")["departures"]
    assert (said["past_flights"], said["past_late"]) == (16, 4)  # 5 to 20 August


def test_a_flight_that_models_learn_from_is_marked(site: Site) -> None:
    assert site.said("/flights/2013-09-02/UA/15")["departures"][0]["learned_from"]
    assert site.page("/flights/2013-09-02/UA/15").select_one(".warn")
    assert not site.page("/flights/2013-11-05/UA/15").select_one(".warn")


def test_a_destination_that_the_registry_does_not_know_is_left_out(site: Site) -> None:
    assert site.said("/flights/2013-11-05/UA/1500")["departures"][0]["destination"] is None
    assert "None" not in site.page("/flights/2013-11-05/UA/1500").get_text()


def test_an_unknown_number_is_answered_with_the_carriers_nearest(site: Site) -> None:
    said = site.said("/flights/2013-11-05/UA/33", 404)
    assert said["error"] == "UA 33 did not leave New York on 2013-11-05."
    assert list(said["near"]) == ["UA 15", "UA 20", "UA 30", "UA 40", "UA 50", "UA 60"]
    links = site.page("/flights/2013-11-05/UA/33", 404).select(".near a")
    assert [one["href"] for one in links] == list(said["near"].values())
    assert site.client.get(links[0]["href"]).status_code == 200


def test_an_unknown_carrier_is_answered_with_those_of_the_day(site: Site) -> None:
    assert "these had: UA, WN" in site.said("/flights/2013-11-05/ZZ/1", 404)["error"]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("/flights/2013-13-05/UA/15", "2013-13-05 is no date"),
        ("/flights/20131105/UA/15", "20131105 is no date"),
        ("/flights/yesterday", "yesterday is no date"),
        ("/flights/1913-11-05/UA/15", "from 2013-08-01 to 2013-11-05 only"),
        ("/flights/9999-12-31/UA", "from 2013-08-01 to 2013-11-05 only"),
        ("/flights/2013-11-05/UA/-1", "-1 is no flight number"),
        ("/flights/2013-11-05/UA/١٥", "is no flight number"),
        ("/flights/2013-11-05/UA/99999999999999999999", "is no flight number"),
    ],
)
def test_what_is_no_date_or_number_is_answered_with_the_form(site: Site, address: str, told: str) -> None:
    assert told in site.said(address, 404)["error"]
    assert site.page(address, 404).select_one("form [name=flight]")


def test_the_form_leads_to_the_flight(site: Site) -> None:
    form = site.page("/flights").form
    assert [one["value"] for one in form.select("option")] == ["B6", "UA", "WN"]
    answer = site.client.get(form["action"], query_string={"date": "2013-11-05", "carrier": "ua", "flight": "15"})
    assert (answer.status_code, answer.location) == (303, "/flights/2013-11-05/UA/15")
    assert site.page("/flights?date=2013-11-05", 400).select_one("[name=date]")["value"] == "2013-11-05"
    assert site.page("/flights/2013-09-02/UA").select_one("option[selected]")["value"] == "UA"


def test_a_page_says_what_the_probability_means_and_what_happened(site: Site) -> None:
    page = site.page("/flights/2013-11-05/UA/15")
    percent = round(100 * site.said("/flights/2013-11-05/UA/15")["departures"][0]["probability_late"])
    assert len(page.select("circle")) == 100
    assert len(page.select("circle.late")) == percent
    told = " ".join(page.get_text().split())
    assert f"about {percent} leave 15 or more minutes late" in told or "fewer than 1 leave" in told
    assert "0.9 percentage points too low" in told
    assert "What happened: it left on time" in told


@pytest.mark.parametrize("address", ["/flights", "/flights/2013-11-05/WN/99", "/flights/2013-11-05/UA/33"])
def test_a_page_loads_and_runs_nothing_but_its_own_style(site: Site, address: str) -> None:
    answer = site.client.get(address, headers=PAGE)
    page = BeautifulSoup(answer.text, "html.parser")
    digest = base64.b64encode(hashlib.sha256(page.style.string.encode()).digest()).decode()
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")
    assert "unsafe" not in policy
    assert not page.select("script, img, iframe, [style], [onclick]")
    assert {link["href"] for link in page.select("link")} == {"data:,"}


@pytest.mark.parametrize(
    "address",
    [
        "/flights/2013-11-05/WN/99",  # names of airline and airport
        "/flights/<img src=x onerror=alert(1)>/UA/15",
        "/flights/2013-11-05/<img src=x>/15",
        "/flights/2013-11-05/UA/<img src=x>",
        '/flights?date="><img src=x>&carrier=<img src=x>',
    ],
)
def test_whatever_comes_from_outside_is_escaped(site: Site, address: str) -> None:
    page = BeautifulSoup(site.client.get(address, headers=PAGE).text, "html.parser")
    assert not page.select("img, script, .ends b")


def test_a_service_without_an_answer_is_told_as_a_page_or_as_json(site: Site) -> None:
    site.service.away = True
    assert site.said("/flights/2013-11-05/UA/15", 503) == {"error": "flights has no champion yet"}
    assert "no champion yet" in site.page("/flights/2013-11-05/UA/15", 503).get_text()


def test_a_result_is_read_once_and_a_newer_one_is_taken_up(site: Site, tmp_path: Path) -> None:
    before = site.said("/flights/2013-11-05/UA/15")
    for path in (tmp_path / "one").iterdir():
        path.write_bytes(b"")  # nobody looks at it again
    assert site.said("/flights/2013-11-05/UA/15") == before
    dataset(tmp_path / "two", seed=1)
    site.service.newest = "two"
    site.said("/flights/2013-11-05/UA/15")
    assert site.service.asked[-1]["distance"] != site.service.asked[0]["distance"]


def test_browsers_get_pages_and_programs_json(site: Site) -> None:
    kinds: dict[str | None, str] = {None: "application/json", "*/*": "application/json", PAGE["Accept"]: "text/html"}
    for accept, kind in kinds.items():
        answer = site.client.get("/flights", headers={"Accept": accept} if accept else {})
        assert answer.mimetype == kind
        assert "Accept" in answer.headers["Vary"]
