"""Features know nothing of the future; the board and the past are what a patient clerk would count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import flights.board
import flights.features.past
import flights.features.weather
from flights import features
from flights.board import NEVER, Departures
from flights.errors import ContractError
from flights.features import FEATURES, KEY, NUMBERS
from flights.schemas import check
from flights.schemas.bureau import bureau
from flights.schemas.dataset import DATASET, RULES, rule
from flights.sources.bureau import clean, read_bureau, up_to
from flights.sources.registry import clean_airports, read_registry
from flights.sources.weather import clean as clean_weather
from flights.sources.weather import read_weather

START = pd.Timestamp("2013-07-03 00:00", tz="America/New_York").tz_convert("UTC")  # before a holiday
SPAN = 3 * 24 * 60  # minutes of schedule that random tables cover
ORIGINS, CARRIERS, DESTS = ["EWR", "JFK"], ["UA", "B6"], ["LAX", "BQN"]  # the registry knows no place for BQN
TAILS = ["N1", "N2", "N3", None]

PLANES = pd.DataFrame({"tailnum": ["N1", "N2", "N3"], "year": [1998, 2010, None], "seats": [150, 189, 55]}).astype(
    {"year": "Int16", "seats": "Int16"}
)
AIRPORTS = pd.DataFrame({"faa": ["LAX"], "lat": [33.94], "lon": [-118.41]})


@dataclass(frozen=True)
class Flight:
    """A flight of a random table: times in minutes since START; `departed` is None where it was cancelled."""

    origin: str
    carrier: str
    dest: str
    scheduled: int
    departed: int | None
    tail: str | None = "N1"

    @property
    def day_end(self) -> int:
        return (self.scheduled // 1440 + 1) * 1440

    def known_at(self, now: int) -> bool:
        return (self.day_end if self.departed is None else self.departed) <= now


def table(some: list[Flight]) -> pd.DataFrame:
    """The cleaned flights table of a list; its place in the list is a flight's number, give or take."""
    rows = [
        {
            "origin": f.origin,
            "dest": f.dest,
            "carrier": f.carrier,
            "flight": i,
            "tailnum": f.tail,
            "scheduled_departure": START + pd.Timedelta(minutes=f.scheduled),
            "dep_delay": float("nan") if f.departed is None else float(f.departed - f.scheduled),
            "distance": 1000.0,
            "cancelled": f.departed is None,
        }
        for i, f in enumerate(some)
    ]
    frame = pd.DataFrame(rows).astype({"tailnum": "str"})
    return frame.assign(scheduled_departure=frame["scheduled_departure"].dt.as_unit("us"))


def observed(weather: dict[tuple[str, int], float]) -> pd.DataFrame:
    """A weather table: every measure of an observation (airport, hour since START) has the same value."""
    rows = [
        {"origin": origin, "observed": START + pd.Timedelta(hours=hour)}
        | dict.fromkeys(["wind_dir", *flights.features.weather.OBSERVED], value)
        for (origin, hour), value in weather.items()
    ]
    measures = ["wind_dir", *flights.features.weather.OBSERVED]
    frame = pd.DataFrame(rows, columns=["origin", "observed", *measures]).astype(dict.fromkeys(measures, "float64"))
    return frame.assign(observed=pd.to_datetime(frame["observed"], utc=True).dt.as_unit("us"))


def build(some: list[Flight], weather: dict[tuple[str, int], float]) -> pd.DataFrame:
    return features.build(table(some), observed(weather), PLANES, AIRPORTS)


delays = st.one_of(st.none(), st.integers(-20, 60), st.integers(10, 300), st.integers(0, 1500))


@st.composite
def some_flights(draw: Any, now: int = SPAN // 2) -> list[Flight]:
    """Up to 16 flights, most of them around a moment: those are where mistakes would show."""
    distances = st.one_of(st.integers(-20, 0), st.integers(-200, 179), st.integers(-SPAN // 2, SPAN // 2 - 1))

    def one() -> Flight:
        when, delay = min(max(now + draw(distances), 0), SPAN - 1), draw(delays)
        departed = None if delay is None else when + delay
        names = (draw(st.sampled_from(names)) for names in (ORIGINS, CARRIERS, DESTS))
        return Flight(*names, when, departed, draw(st.sampled_from(TAILS)))

    return [one() for _ in range(draw(st.integers(2, 16)))]


@st.composite
def another_future(draw: Any, some: list[Flight], now: int) -> list[Flight]:
    """The same flights; what was not known `now` turns out differently."""
    return [flight if flight.known_at(now) else draw(_other_outcome(flight, now)) for flight in some]


@st.composite
def _other_outcome(draw: Any, flight: Flight, now: int) -> Flight:
    may_be_cancelled = flight.day_end > now  # otherwise the cancellation would be known
    earliest = max(now + 1, flight.scheduled - 20)
    leaves = st.integers(earliest, earliest + 1500)
    departed = draw(st.one_of(st.none(), leaves) if may_be_cancelled else leaves)
    return replace(flight, departed=departed, tail=draw(st.sampled_from(TAILS)))


hours = st.integers(0, SPAN // 60)
values = st.integers(0, 40).map(float)


@st.composite
def some_weather(draw: Any, now: int) -> dict[tuple[str, int], float]:
    near = st.integers(now // 60 - 6, now // 60 + 3)
    return draw(st.dictionaries(st.tuples(st.sampled_from(ORIGINS), near), values, max_size=12))


@st.composite
def two_futures(draw: Any) -> tuple[int, tuple[Any, Any], tuple[Any, Any]]:
    """A moment, and two worlds (flights, weather) that nobody could tell apart at that moment."""
    now = draw(hours) * 60
    some, weather = draw(some_flights(now)), draw(some_weather(now))
    past = {(origin, hour): value for (origin, hour), value in weather.items() if known(hour) <= now}
    later = {(origin, hour): value for (origin, hour), value in draw(some_weather(now)).items() if known(hour) > now}
    return now, (some, weather), (draw(another_future(some, now)), past | later)


def known(hour: int) -> int:
    """When an observation is known, in minutes: stamped with the hour it was made in, it may be of that hour's end."""
    return (hour + 1) * 60


def decided_by(now: int, frame: pd.DataFrame) -> pd.DataFrame:
    decided = frame["scheduled_departure"].dt.floor("h") - pd.Timedelta(hours=2)
    return frame.loc[decided <= START + pd.Timedelta(minutes=now), FEATURES].reset_index(drop=True)


def check_no_leak(worlds: tuple[int, tuple[Any, Any], tuple[Any, Any]]) -> None:
    now, one, other = worlds
    rows, same = (decided_by(now, build(*world)) for world in (one, other))
    different = [name for name in FEATURES if not _identical(rows[name], same[name])]
    assert not different, f"known too early: {different}"


def _identical(one: pd.Series, other: pd.Series) -> bool:
    if one.dtype == np.float64:
        return one.to_numpy().tobytes() == other.to_numpy().tobytes()
    return one.equals(other)


# Not shrunk: that can take longer than a test may, and what fails names its features.
QUICK = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@settings(QUICK, max_examples=100)
@given(two_futures())
def test_nothing_that_becomes_known_after_the_decision_changes_a_feature_by_a_single_bit(worlds):
    check_no_leak(worlds)


def later_delay(self: Departures, now: Any) -> Any:
    return np.where(self.departed == NEVER, now, self.departed) - self.scheduled


LEAKS: dict[str, tuple[object, str, Any]] = {
    "the whole delay of a flight that has not left": (Departures, "lateness", later_delay),
    "outcomes at the scheduled time": (Departures, "known", property(lambda self: self.scheduled)),
    "cancellations at once": (
        Departures,
        "known",
        property(lambda self: np.where(self.departed == NEVER, self.scheduled, self.departed)),
    ),
    "observations at their stamp": (flights.features.weather, "KNOWN_AFTER", 0),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_the_property_notices_a_leak_of(leak, monkeypatch):
    owner, name, leaking = LEAKS[leak]
    monkeypatch.setattr(owner, name, leaking)
    search = settings(QUICK, max_examples=300, derandomize=True, database=None, phases=[Phase.generate])
    with pytest.raises(AssertionError, match="known too early"):
        search(given(two_futures())(check_no_leak))()


def board_of(some: list[Flight], one: Flight, group: str, span: str) -> list[int]:
    """Minutes of lateness, at the flight's decision time, of each flight on the board: counted one by one."""
    now = one.scheduled // 60 * 60 - 120
    begin = now // 1440 * 1440 if span == "today" else now - int(span.removesuffix("h")) * 60
    attributes = flights.features.lately.GROUPS[group]
    alike = [f for f in some if all(getattr(f, a) == getattr(one, a) for a in attributes)]
    shown = [f for f in alike if begin <= f.scheduled < now]
    return [(f.departed if f.departed is not None and f.departed <= now else now) - f.scheduled for f in shown]


@settings(QUICK, max_examples=40)
@given(some_flights())
def test_the_board_shows_what_counting_one_by_one_shows(some):
    frame = build(some, {}).set_index("flight")
    for i, one in enumerate(some):
        for group, span in _boards():
            late = board_of(some, one, group, span)
            row = frame.loc[i]
            expected = [np.clip(late, -15, 180).mean(), np.mean([m >= 15 for m in late])] if late else [np.nan] * 2
            found = [row[f"{group}_lateness_{span}"], row[f"{group}_late_{span}"]]
            np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=f"{group} {span} of flight {i}")
            if span == "today":
                assert row[f"{group}_flights_today"] == len(late)


def _boards() -> Iterator[tuple[str, str]]:
    for group in flights.features.lately.GROUPS:
        for span in ("1h", "3h", "today"):
            yield group, span


@settings(QUICK, max_examples=40)
@given(some_flights())
def test_rates_of_past_days_count_each_outcome_from_when_it_was_known(some):
    frame = build(some, {}).set_index("flight")
    for i, one in enumerate(some):
        now = one.scheduled // 60 * 60 - 120
        known = [f for f in some if f.known_at(now) and (f.day_end if f.departed is None else f.departed) > now - 1440]
        late = [f for f in known if f.departed is None or f.departed - f.scheduled >= 15]
        everywhere = (len(late) + 1) / (len(known) + 5)  # five more events, of which a fifth late
        here = [sum(f.origin == one.origin for f in chosen) for chosen in (late, known)]
        assert frame.loc[i, "all_late_1d"] == pytest.approx(everywhere, rel=1e-12)
        assert frame.loc[i, "origin_late_1d"] == pytest.approx((here[0] + 5 * everywhere) / (here[1] + 5), rel=1e-12)


MORNING = [
    Flight("EWR", "UA", "LAX", 600, 640, "N1"),  # 40 late, gone by 12:00
    Flight("EWR", "UA", "LAX", 690, 760, "N2"),  # not gone by 12:00: 30 minutes so far
    Flight("EWR", "B6", "BQN", 700, None, "N2"),  # never gone: 20 minutes so far
    Flight("EWR", "UA", "LAX", 845, 845, "N3"),  # scheduled 14:05, decided at 12:00
]


def test_a_flight_that_has_not_left_counts_with_its_lateness_so_far():
    row = build(MORNING, {}).iloc[-1]
    assert row["origin_lateness_3h"] == pytest.approx((40 + 30 + 20) / 3)
    assert row["origin_late_3h"] == 1
    assert row["origin_waiting_3h"] == pytest.approx(2 / 3)
    assert row["carrier_origin_lateness_1h"] == 30
    assert row["dest_lateness_3h"] == pytest.approx((40 + 30) / 2)
    assert row["all_left_1h"] == 0  # the only one that left did so at 10:40


def test_aircraft_of_the_route_are_known_when_they_left_not_from_the_flight_itself():
    row = build(MORNING, {}).iloc[-1]
    assert row["seats"] == 150  # only N1 had left; N2 and the flight's own N3 had not
    assert row["age"] == 2013 - 1998


def test_the_weather_is_the_last_observed_and_an_old_observation_is_none():
    weather = {("EWR", 11): 7.0, ("EWR", 12): 9.0, ("JFK", 11): 3.0}
    row = build(MORNING, weather).iloc[-1]
    assert row["temp"] == 7.0  # stamped 11:00; that stamped 12:00 was made after the decision at 12:00
    assert row["visib_worst"] == 3.0  # at JFK, where no flight is decided on at that time
    early = build(MORNING, {("EWR", 7): 7.0}).iloc[-1]
    assert np.isnan(early["temp"])  # known since 8:00


def test_the_plan_counts_the_hour_and_the_day():
    row = build([*MORNING, Flight("JFK", "B6", "LAX", 850, None)], {}).iloc[-2]
    assert (row["planned_all"], row["planned_origin"], row["planned_dest"]) == (2, 1, 2)
    assert (row["planned_origin_day"], row["rank_carrier"]) == (4, 3)
    assert (row["hour"], row["minute"], row["weekday"]) == (14, 5, 2)
    assert (row["to_holiday"], row["since_holiday"]) == (1, 4)  # the third of July


def test_a_flight_is_late_from_fifteen_minutes_on_or_when_it_never_left():
    some = [Flight("EWR", "UA", "LAX", 600, 600 + delay) for delay in (-5, 14, 15)]
    late = build([*some, Flight("EWR", "UA", "LAX", 600, None)], {})["late"]
    assert list(late) == [False, False, True, True]


def test_days_are_local_days_also_when_the_clocks_change():
    start = pd.Timestamp("2013-11-03 00:30", tz="America/New_York")
    times = pd.Series([start + pd.Timedelta(hours=h) for h in (-1, 0, 24)]).dt.tz_convert("UTC").dt.as_unit("us")
    frame = pd.DataFrame({"scheduled_departure": times, "dep_delay": np.nan, "cancelled": True})
    departures = Departures.of(frame)
    assert list(np.diff(departures.day)) == [1, 0]  # the third of November has 25 hours
    assert list(np.diff(departures.day_end)) == [25 * 60, 0]


def test_the_rows_of_recent_flights_are_those_that_all_flights_give(sources: Path) -> None:
    months = [f"2013-{month:02d}" for month in (8, 9, 10, 11)]
    delivered = {month: read_bureau(sources / "bureau" / f"flights-{month}.csv") for month in months}
    flights = {
        month: clean(check(table, bureau(month, days=9 if month == "2013-11" else None), source=month))
        for month, table in {**delivered, "2013-11": up_to(delivered["2013-11"], 9)}.items()
    }
    weather = pd.concat([clean_weather(read_weather(sources / "weather" / month, month)) for month in months])
    registry = read_registry(sources / "registry.db")
    fixed = weather, registry["planes"], clean_airports(registry["airports"])
    whole = features.build(pd.concat(flights.values()), *fixed)
    before = pd.concat([flights[month] for month in months[:-1]])
    recent = features.build_recent(flights["2013-11"], before, *fixed)
    assert len(recent) == len(flights["2013-11"])
    pd.testing.assert_frame_equal(recent, whole.tail(len(recent)).reset_index(drop=True), check_exact=True)
    forgetful = features.build_recent(flights["2013-11"], before.tail(3000), *fixed)
    assert not forgetful.equals(recent)


def whole_day() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    some = [
        Flight(
            str(rng.choice(ORIGINS)),
            str(rng.choice(CARRIERS)),
            "LAX",
            300 + i // 2,
            300 + i // 2 + int(rng.integers(0, 40)),
        )
        for i in range(1500)
    ]
    weather = {(origin, hour): 10.0 for origin in ORIGINS for hour in range(24)}
    return build(some, weather).assign(pressure=1000.0)


def test_every_feature_has_a_rule_and_every_rule_a_feature():
    assert {rule(name).name for name in NUMBERS} == {known.name for known in RULES}


def test_what_is_built_has_the_columns_that_are_promised():
    frame = whole_day()
    assert list(frame.columns) == [*KEY, "day", "late", *NUMBERS]
    assert frame[NUMBERS].dtypes.eq("float64").all()


def test_the_contract_lists_every_breach_of_a_dataset():
    frame = whole_day()
    frame.loc[3, "hour"] = 24
    frame.loc[5, "minute"] = np.nan
    frame["temp"] = np.nan
    frame = pd.concat([frame, frame.iloc[[7]]], ignore_index=True)
    frame.loc[9, "day"] += pd.Timedelta(days=1)
    with pytest.raises(ContractError) as error:
        check(frame, DATASET, source="dataset")
    rules = {(breach.column, breach.rule.split(" (")[0]) for breach in error.value.breaches}
    assert {
        ("hour", "outside 0 to 23"),
        ("minute", "is missing"),
        ("temp", "more than 20% missing: 100.0%"),
        (None, "rows share their key"),
        (None, "day is not the local day of scheduled_departure"),
    } <= rules


def test_the_contract_refuses_a_label_that_is_missing():
    frame = whole_day()
    frame["late"] = frame["late"].astype("object")
    frame.loc[0, "late"] = None
    with pytest.raises(ContractError, match="late"):
        check(frame, DATASET, source="dataset")
