"""Contracts: all breaches at once, in words, with counts and examples, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
import pytest

from flights import tables
from flights.errors import ContractError, FlightsError, SourceError
from flights.schemas import Contract, check
from flights.schemas import registry as registry_contracts
from flights.schemas.bureau import FLIGHTS, bureau
from flights.schemas.contract import between, missing_at_most, one_of, row_rule
from flights.schemas.weather import weather
from flights.sources.bureau import clean, read_bureau, up_to
from flights.sources.registry import clean_airports, read_registry
from flights.sources.weather import clean as clean_weather
from flights.sources.weather import read_weather
from flights.sources.weather import up_to as weather_up_to

Spoil = Callable[[pd.DataFrame], pd.DataFrame]


# The mechanism, on a small table.

TABLE = Contract(
    "a small table",
    pa.DataFrameSchema(
        {
            "origin": pa.Column("str", one_of(["EWR", "JFK"])),
            "number": pa.Column("Int64", between(1, 5, "km")),
            "gap": pa.Column("float64", missing_at_most(0.25), nullable=True),
        },
        checks=[row_rule(lambda t: t["number"] != 4, "four is not a number")],
        unique=["origin", "number"],
        strict=True,
        coerce=True,
    ),
)


def small(**columns: object) -> pd.DataFrame:
    good = {"origin": ["EWR", "EWR", "JFK", "JFK"], "number": ["1", "2", "1", "2"], "gap": [0.5, 1.5, 2.5, None]}
    return pd.DataFrame(good | columns, index=pd.Index([2, 3, 4, 5], name="line"))


def breaches(table: pd.DataFrame, contract: Contract = TABLE, previous: str | Path | None = None) -> list[str]:
    """The breaches of a table, as told."""
    with pytest.raises(ContractError) as caught:
        check(table, contract, source="the source", previous=previous)
    return [str(breach) for breach in caught.value.breaches]


def test_a_table_that_keeps_its_contract_comes_back_with_the_types_promised() -> None:
    checked = check(small(), TABLE, source="the source")
    assert checked["number"].dtype == "Int64"
    assert checked["number"].tolist() == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (
            {"origin": ["EWR", "LGA", "JFK", "SFO"]},
            "origin: none of EWR, JFK (2 values), e.g. line 3: 'LGA'; line 5: 'SFO'",
        ),
        ({"number": ["1", "7", "1", "2"]}, "number: outside 1 to 5 km (1 value), e.g. line 3: 7"),
        (
            {"number": ["1", "x", "1", "2.5"]},
            "number: cannot be read as Int64 (2 values), e.g. line 3: 'x'; line 5: '2.5'",
        ),
        ({"number": ["1", None, "1", "2"]}, "number: is missing (1 value), e.g. line 3: missing"),
        ({"gap": [1.0, None, None, 2.0]}, "gap: more than 25% missing: 50.0% (2 values)"),
        (
            {"number": ["1", "1", "1", "2"]},
            "table: rows share their key (origin, number) (2 rows), e.g. line 2: 'EWR', '1'; ",
        ),
        ({"number": ["1", "4", "1", "2"]}, "table: four is not a number (1 row), e.g. line 3: 'EWR', '4'"),
        ({"gate": ["A1", "A2", "A3", "A4"]}, "gate: is not in the contract"),
    ],
)
def test_a_breach_is_told_with_its_count_and_examples(columns: dict[str, object], told: str) -> None:
    assert [breach for breach in breaches(small(**columns)) if breach.startswith(told)]
    assert len(breaches(small(**columns))) == 1


def test_a_lacking_column_is_told() -> None:
    assert breaches(small().drop(columns="gap")) == ["gap: is lacking"]


def test_no_more_than_three_examples_are_shown() -> None:
    assert breaches(small(origin=["A", "B", "C", "D"])) == [
        "origin: none of EWR, JFK (4 values), e.g. line 2: 'A'; line 3: 'B'; line 4: 'C'"
    ]


def test_all_breaches_are_listed_at_once_and_the_source_is_named() -> None:
    table = small(
        origin=["EWR", "LGA", "JFK", "JFK"], number=["1", "7", "1", "2"], gap=[None, None, 1.0, 2.0], gate="A"
    )
    with pytest.raises(ContractError) as caught:
        check(table, TABLE, source="data/flights.csv")
    assert {breach.column for breach in caught.value.breaches} == {"origin", "number", "gap", "gate"}
    assert str(caught.value).startswith("data/flights.csv: breaks the contract “a small table” in 4 points\n  - ")
    assert "Nothing was written." in str(caught.value)
    assert isinstance(caught.value, FlightsError)


def test_a_wrong_type_is_told_where_nothing_is_converted() -> None:
    as_it_is = Contract("as it is", pa.DataFrameSchema({"number": pa.Column("int64", between(1, 5))}))
    told = breaches(pd.DataFrame({"number": ["1", "2"]}), as_it_is)
    assert told == ["number: is str, not int64"]


def test_a_table_without_rows_breaks_every_contract() -> None:
    assert breaches(small().iloc[:0]) == ["table: has no rows"]


def test_a_rule_that_cannot_be_computed_is_a_bug_and_no_breach() -> None:
    broken = Contract("broken", pa.DataFrameSchema(checks=[row_rule(lambda t: t["nowhere"] > 0, "never")]))
    with pytest.raises(pa.errors.SchemaErrors, match="nowhere"):
        check(small(), broken, source="the source")


@pytest.mark.parametrize(("before", "told"), [(9, "4 rows, less than 0.5 times the previous result's 9"), (8, None)])
def test_less_than_half_of_the_previous_rows_is_a_breach(before: int, told: str | None, tmp_path: Path) -> None:
    tables.write(pd.DataFrame({"x": range(before)}), tmp_path / "previous.parquet")
    compared(small(), tmp_path / "previous.parquet", told)


@pytest.mark.parametrize(("rows", "told"), [(21, "21 rows, more than 10 times the previous result's 2"), (20, None)])
def test_more_than_ten_times_the_previous_rows_is_a_breach(rows: int, told: str | None, tmp_path: Path) -> None:
    tables.write(pd.DataFrame({"x": range(2)}), tmp_path / "previous.parquet")
    free = Contract("free", pa.DataFrameSchema())
    compared(pd.DataFrame({"x": range(rows)}), tmp_path / "previous.parquet", told, free)


def compared(table: pd.DataFrame, previous: Path, told: str | None, contract: Contract = TABLE) -> None:
    if told:
        assert breaches(table, contract, previous) == [f"table: {told}"]
    else:
        assert len(check(table, contract, source="the source", previous=previous)) == len(table)


def test_a_previous_result_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.parquet: not readable as the previous result"):
        check(small(), TABLE, source="the source", previous=tmp_path / "nowhere.parquet")


# The real tables.


@pytest.fixture(scope="module")
def delivered(sources: Path) -> pd.DataFrame:
    """The bureau's January as text."""
    return read_bureau(sources / "bureau" / "flights-2013-01.csv")


@pytest.fixture(scope="module")
def flights(delivered: pd.DataFrame) -> pd.DataFrame:
    """The flights table of January."""
    return clean(check(delivered, bureau("2013-01"), source="January"))


@pytest.fixture(scope="module")
def observations(sources: Path) -> pd.DataFrame:
    """The weather table of February."""
    return clean_weather(read_weather(sources / "weather" / "2013-02", "2013-02"))


def put(row: int, column: str, value: object) -> Spoil:
    """A change of one value, by the row's place."""

    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        changed = table.copy()
        changed.loc[table.index[row], column] = value
        return changed

    return spoil


def assert_among(told: str, breaches: list[str]) -> None:
    assert any(breach.startswith(told) for breach in breaches), breaches


DELIVERY: dict[str, tuple[Spoil, str]] = {
    "letters for a number": (
        put(0, "dep_delay", "abc"),
        "dep_delay: cannot be read as Int64 (1 value), e.g. line 2: 'abc'",
    ),
    "another year": (put(0, "year", "2012"), "year: outside 2013 to 2013 (1 value), e.g. line 2: 2012"),
    "an airport elsewhere": (put(0, "origin", "SFO"), "origin: none of EWR, JFK, LGA (1 value), e.g. line 2: 'SFO'"),
    "an hour that is not local": (
        put(0, "time_hour", "2013-01-01T05:00:00Z"),
        "table: time_hour is not the local date",
    ),
    "half an hour": (put(0, "time_hour", "2013-01-01T10:30:00Z"), "time_hour: not an hour in UTC"),
    "month 13": (
        put(0, "time_hour", "2013-13-01T10:00:00Z"),
        "table: time_hour is not the local date and hour (1 row)",
    ),
    "the 31st of nothing": (put(0, "day", "32"), "day: outside 1 to 31 (1 value), e.g. line 2: 32"),
    "no time": (put(0, "time_hour", "soon"), "time_hour: not an hour in UTC such as 2013-01-01T10:00:00Z (1 value)"),
    "minutes that differ": (put(0, "minute", "16"), "table: sched_dep_time is not hour and minute (1 row)"),
    "a departure without delay": (
        put(0, "dep_delay", None),
        "table: of dep_time and dep_delay, one is missing (1 row)",
    ),
    "a missing carrier": (put(0, "carrier", None), "carrier: is missing (1 value)"),
    "a tail number of another kind": (put(0, "tailnum", "n/a"), "tailnum: not a tail number (1 value)"),
    "a flight of three days": (put(0, "dep_delay", "4000"), "dep_delay: outside -120 to 2880 min (1 value)"),
    "half of the days": (lambda t: t.head(12_000), "table: there are days without any flight"),
    "no arrivals": (lambda t: t.assign(arr_delay=None), "arr_delay: more than 20% missing"),
}


@pytest.mark.parametrize("what", DELIVERY)
def test_a_delivery_with_wrong_content_is_refused(what: str, delivered: pd.DataFrame) -> None:
    spoil, told = DELIVERY[what]
    assert_among(told, breaches(spoil(delivered), bureau("2013-01")))


def test_a_file_of_another_month_is_refused(delivered: pd.DataFrame) -> None:
    assert_among("month: outside 2 to 2 (27,004 values)", breaches(delivered, bureau("2013-02")))


@pytest.mark.parametrize("month", [f"2013-{month:02d}" for month in range(1, 13)])
def test_every_month_of_flights_and_weather_keeps_its_contracts(month: str, sources: Path) -> None:
    path = sources / "bureau" / f"flights-{month}.csv"
    flights = check(clean(check(read_bureau(path), bureau(month), source=path)), FLIGHTS, source=path)
    folder = sources / "weather" / month
    observed = check(clean_weather(read_weather(folder, month)), weather(month), source=folder)
    assert len(flights) > 24_000
    assert len(observed) > 2_000


@pytest.mark.parametrize("days", [1, 5, 28])
@pytest.mark.parametrize("month", ["2013-02", "2013-11", "2013-12"])
def test_a_month_keeps_its_contracts_from_its_first_day_on(month: str, days: int, sources: Path) -> None:
    delivered = up_to(read_bureau(sources / "bureau" / f"flights-{month}.csv"), days)
    assert set(check(delivered, bureau(month, days), source=month)["day"]) == set(range(1, days + 1))
    observed = weather_up_to(read_weather(sources / "weather" / month, month), month, days)
    check(clean_weather(observed), weather(month, days), source=month)
    local = observed["observed"].dt.tz_convert("America/New_York")
    assert (local.min().day, local.max().day, local.max().month) == (1, days, int(month[5:]))


def test_a_day_that_is_lacking_so_far_is_refused(delivered: pd.DataFrame) -> None:
    assert_among("table: there are days without any flight", breaches(up_to(delivered, 4), bureau("2013-01", 5)))


def test_what_is_no_day_is_not_left_out_with_the_days_to_come(delivered: pd.DataFrame) -> None:
    spoilt = delivered.copy()
    spoilt.iloc[-1, spoilt.columns.get_loc("day")] = "x"
    assert_among("day: cannot be read as Int64", breaches(up_to(spoilt, 5), bureau("2013-01", 5)))


def test_a_storm_on_the_first_day_is_no_fault_of_the_file(delivered: pd.DataFrame) -> None:
    day = up_to(delivered, 1).copy()
    times = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
    day.loc[day.index[:600], times] = None  # of 842 flights most never left
    check(day, bureau("2013-01", 1), source="a day")
    assert_among("dep_delay: more than 20% missing", breaches(day, bureau("2013-01")))


TABLE_OF_FLIGHTS: dict[str, tuple[Spoil, str]] = {
    "a flight twice": (
        lambda t: t.assign(flight=7),
        "table: rows share their key (origin, carrier, flight, scheduled_departure)",
    ),
    "cancelled but left": (put(0, "cancelled", True), "table: cancelled but left, or neither (1 row)"),
    "a distance of zero": (put(0, "distance", 0.0), "distance: outside 10 to 6000 miles (1 value), e.g. row 0: 0.0"),
    "local time": (
        lambda t: t.assign(scheduled_departure=t["scheduled_departure"].dt.tz_convert("America/New_York")),
        "scheduled_departure: is datetime64[us, America/New_York], not datetime64[us, UTC]",
    ),
}


@pytest.mark.parametrize("what", TABLE_OF_FLIGHTS)
def test_a_table_of_flights_that_breaks_its_promise_is_refused(what: str, flights: pd.DataFrame) -> None:
    spoil, told = TABLE_OF_FLIGHTS[what]
    assert_among(told, breaches(spoil(flights), FLIGHTS))


WEATHER: dict[str, tuple[Spoil, str]] = {
    "a wind of 1,048 mph": (
        put(0, "wind_speed", 1048.0),
        "wind_speed: outside 0 to 253 mph (1 value), e.g. row 0: 1048.0",
    ),
    "a humidity over 100": (put(0, "humid", 101.0), "humid: outside 0 to 100 % (1 value)"),
    "another month": (
        put(0, "observed", pd.Timestamp("2013-03-05", tz="UTC")),
        "table: observed outside 2013-02 (New York)",
    ),
    "an hour twice": (put(0, "observed", pd.Timestamp("2013-02-01 06:00", tz="UTC")), "table: rows share their key"),
    "a silent station": (put(0, "origin", None), "origin: is missing (1 value)"),
    "ten silent days": (lambda t: t.iloc[250:], "table: a station has less than 90 % of the month's 672 hours"),
    "no temperatures": (lambda t: t.assign(temp=float("nan")), "temp: more than 5% missing: 100.0% (2,010 values)"),
}


@pytest.mark.parametrize("what", WEATHER)
def test_weather_with_wrong_content_is_refused(what: str, observations: pd.DataFrame) -> None:
    spoil, told = WEATHER[what]
    assert_among(told, breaches(spoil(observations), weather("2013-02")))


REGISTRY: dict[str, tuple[str, Spoil, str]] = {
    "a plane twice": ("planes", put(0, "tailnum", "N102UW"), "table: rows share their key (tailnum) (2 rows)"),
    "a plane from the future": ("planes", put(0, "year", 2113), "year: outside 1920 to 2100 (1 value)"),
    "a plane without seats": ("planes", put(0, "seats", 0), "seats: outside 1 to 900 (1 value)"),
    "an airport in China": ("airports", put(0, "tzone", "Asia/Chongqing"), "tzone: not a time zone (1 value)"),
    "an airport at the pole": ("airports", put(0, "lat", 90.0), "lat: outside 13 to 72 ° (1 value)"),
    "an airline without a name": ("airlines", put(0, "name", ""), "name: not a name of 1 to 80 characters (1 value)"),
}


@pytest.mark.parametrize("what", REGISTRY)
def test_a_registry_with_wrong_content_is_refused(what: str, sources: Path) -> None:
    name, spoil, told = REGISTRY[what]
    table = spoil(registry(sources)[name])
    assert_among(told, breaches(table, getattr(registry_contracts, name.upper())))


def test_the_registry_keeps_its_contracts(sources: Path) -> None:
    for name, table in registry(sources).items():
        check(table, getattr(registry_contracts, name.upper()), source=name)


def registry(sources: Path) -> dict[str, pd.DataFrame]:
    found = read_registry(sources / "registry.db")
    return found | {"airports": clean_airports(found["airports"])}
