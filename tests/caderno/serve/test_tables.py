"""From bodies to tables: mistakes are told by field in each protocol's own form; what is right is taken as it is."""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caderno.serve.errors import BadRequest, TooLarge
from caderno.serve.signature import Column, Range, Signature, Tensor
from caderno.serve.tables import from_columns, from_rows, with_params

Serve = Callable[..., Any]
RANGES = {
    "weight": Range(0.0, 500.0, None, False),
    "number": Range(0, 90, None, False),
    "kind": Range(None, None, frozenset({"apple", "pear", "quince"}), False),
}
ROW: dict[str, Any] = {
    "weight": 101.5,
    "size": 5.25,
    "number": 31,
    "small": 4,
    "fresh": True,
    "kind": "pear",
    "picked": "2026-06-01T00:00:00",
    "stamp": {"b64": "eHg="},
}
DATATYPES = {"weight": "FP64", "wieght": "FP64", "size": "FP32", "number": "INT64", "small": "INT32", "fresh": "BOOL"}
HUGE = "9" * 400

# A change of one row -> what is told of it.
BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"wieght": 1.0}, "wieght: the model takes no such field"),
    ({"weight": "heavy"}, "weight: expected a number, got the text 'heavy'"),
    ({"weight": True}, "weight: expected a number, got true"),
    ({"weight": [1.0]}, "weight: expected a number, got a list of 1"),
    ({"weight": None}, "weight: must not be null"),
    ({"weight": -1}, "weight: -1 is less than 0.0"),
    ({"weight": 500.5}, "weight: 500.5 is more than 500.0"),
    ({"size": 1e39}, "size: 1e+39 is too large for a 32-bit number"),
    ({"number": 1.5}, "number: expected a whole number, got the number 1.5"),
    ({"number": None}, "number: must not be null"),
    ({"number": 91}, "number: 91 is more than 90"),
    ({"small": 2**31}, "small: 2147483648 is outside of"),
    ({"small": None}, "small: expected a whole number, got null"),
    ({"fresh": 1}, "fresh: expected true or false, got the number 1"),
    ({"fresh": None}, "fresh: expected true or false, got null"),
    ({"kind": "plum"}, "kind: the text 'plum' is none of the contract's values: apple, pear, quince"),
    ({"kind": 3}, "kind: expected a text, got the number 3"),
    ({"picked": "yesterday"}, "picked: expected a time such as"),
    ({"picked": "0001-01-01"}, "picked: 0001-01-01 is too far away"),
    ({"picked": 3}, "picked: expected a time such as"),
    ({"stamp": "ä"}, "stamp: is no base64"),
    ({"stamp": {"b64": 1}}, "stamp: expected base64"),
]
PROTOCOLS = ["rows", "columns", "inference", "records", "split"]


def body(protocol: str, rows: list[dict[str, Any]]) -> tuple[str, Any]:
    """Return where and how each protocol asks for rows."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    match protocol:
        case "rows":
            return "/v1/models/fruit:predict", {"instances": rows}
        case "columns":
            return "/v1/models/fruit:predict", {"inputs": columns}
        case "records":
            return "/invocations", {"dataframe_records": rows}
        case "split":
            data = [[row.get(name) for name in names] for row in rows]
            return "/invocations", {"dataframe_split": {"columns": names, "data": data}}
    inputs = [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": DATATYPES.get(name, "BYTES"),
            "data": [one["b64"] if isinstance(one, dict) else one for one in values],
        }
        for name, values in columns.items()
    ]
    return "/v2/models/fruit/infer", {"inputs": inputs}


def complaint(said: Any) -> str:
    """Return the message of a refusal in its protocol's form, whatever the status."""
    told = json.loads(said.data)
    return str(told["message"] if said.request.path == "/invocations" and told["error_code"] else told["error"])


def predictions(said: Any) -> Any:
    assert said.status_code == 200, said.json
    told = said.json
    if "model_name" in told:
        (output,) = told["outputs"]
        return np.reshape(output["data"], output["shape"]).tolist()
    return told.get("predictions", told.get("outputs"))


@pytest.fixture
def fruit(service: Serve) -> Any:
    """A classifier with columns of all types, narrowed by a contract."""
    return service("fruit", ranges=RANGES)


class TestEachMistakeIsToldByItsField:
    @pytest.mark.parametrize("many", [1, 100], ids=["small", "large"])
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_in_each_protocols_own_form(self, fruit: Any, protocol: str, many: int) -> None:
        for change, what in BAD_ROWS:
            rows = [ROW] * (many - 1) + [{**ROW, **change}]
            if change.keys() - ROW.keys():
                rows = [{**ROW, **change}] * many
            if protocol == "inference" and change == {"weight": [1.0]}:
                continue  # nested data means the same as flat
            said = fruit.post(*body(protocol, rows))
            assert said.status_code == 400, (change, said.data)
            field, _, told = what.partition(": ")
            if protocol == "inference" and (field == "stamp" or " is no " in complaint(said)):
                assert field in complaint(said)  # the datatype is wrong already
                continue
            assert what in complaint(said), change
            if told.startswith("the model takes no"):
                assert "(did you mean 'weight'?)" not in complaint(said)  # which is there already
            else:
                assert f"row {many - 1}, {field}" in complaint(said)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_missing_field(self, fruit: Any, protocol: str) -> None:
        path, asked = body(protocol, [{name: value for name, value in ROW.items() if name != "small"}] * 2)
        said = fruit.post(path, asked)
        assert (said.status_code, "small: is missing" in complaint(said)) == (400, True)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_a_misspelt_field_is_told_with_the_nearest(self, fruit: Any, protocol: str) -> None:
        row = {("wieght" if name == "weight" else name): value for name, value in ROW.items()}
        said = fruit.post(*body(protocol, [row]))
        assert "weight: is missing" in complaint(said)
        assert "wieght: the model takes no such field (did you mean 'weight'?)" in complaint(said)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_too_many_rows_and_none(self, fruit: Any, protocol: str) -> None:
        said = fruit.post(*body(protocol, [ROW] * 1001))
        assert (said.status_code, "1,001 rows are more than 1,000" in complaint(said)) == (413, True)
        assert fruit.post(*body(protocol, [])).status_code == 400

    @pytest.mark.parametrize("protocol", ["columns", "inference", "split"])
    def test_ragged_columns(self, fruit: Any, protocol: str) -> None:
        path, asked = body(protocol, [ROW] * 2)
        if protocol == "columns":
            asked["inputs"]["weight"].append(1.0)
        elif protocol == "split":
            asked["dataframe_split"]["data"][1].append(1.0)
        else:
            asked["inputs"][0].update(shape=[3], data=[1.0, 2.0, 3.0])
        assert fruit.post(path, asked).status_code == 400


class TestBodies:
    PATHS = ("/v1/models/fruit:predict", "/v1/models/fruit:classify", "/v2/models/fruit/infer", "/invocations")

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize(
        ("text", "status", "what"),
        [
            (b"", 400, "empty"),
            (b"  \n", 400, "empty"),
            (b"{", 400, "JSON"),
            (b'{"instances": [NaN]}', 400, "NaN and Infinity are no JSON"),
            (b'{"instances": [{"weight": Infinity}]}', 400, "NaN and Infinity are no JSON"),
            (b"\xff\xfe{}", 400, "JSON"),
            (b"[" * 5000 + b"]" * 5000, 400, ""),
            (b'{"instances": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "nested more than 32 levels deep"),
            (b'{"instances": "' + b"x" * 1_000_000 + b'"}', 413, "more than 1,000,000 bytes"),
            (b"{}", 400, ""),
            (b"[]", 400, ""),
            (b"null", 400, ""),
            (b'"text"', 400, ""),
            (b"1e999", 400, ""),
        ],
        ids=str,
    )
    def test_what_is_no_request_is_refused(self, fruit: Any, path: str, text: bytes, status: int, what: str) -> None:
        said = fruit.post(path, text)
        assert said.status_code == status
        assert what in complaint(said)

    @pytest.mark.parametrize("number", ["1e999", "-1e999", HUGE, "-" + HUGE])
    @pytest.mark.parametrize("field", ["weight", "number", "small", "size"])
    def test_a_number_beyond_all_bounds_is_refused(self, fruit: Any, number: str, field: str) -> None:
        text = json.dumps({"instances": [{**ROW, field: "here"}]}).replace('"here"', number).encode()
        said = fruit.post("/v1/models/fruit:predict", text)
        assert said.status_code == 400

    @pytest.mark.parametrize("path", PATHS)
    def test_another_content_type_is_refused(self, fruit: Any, path: str) -> None:
        said = fruit.post(path, b"{}", "application/xml")
        assert (said.status_code, "not application/xml" in complaint(said)) == (415, True)

    @pytest.mark.parametrize("path", PATHS)
    def test_a_compressed_body_is_refused(self, fruit: Any, path: str) -> None:
        with fruit.app.test_client() as client:
            said = client.post(path, data=b"x", content_type="application/json", headers={"Content-Encoding": "gzip"})
        assert (said.status_code, "gzip" in complaint(said)) == (415, True)


# Arbitrary bodies.

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
KEYS = "x instances inputs examples context signature_name dataframe_split dataframe_records columns index data params"
TENSORS = "name shape datatype parameters outputs id b64"
WORDS = st.sampled_from([*ROW, *KEYS.split(), *TENSORS.split(), ""])
VALUES = LEAVES | st.sampled_from([*ROW.values(), "FP64", "BYTES", "INT64", [1], [2, 1], ROW])
JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5), max_leaves=12
)
TENSOR = st.fixed_dictionaries(
    {
        "name": WORDS,
        "shape": st.just([1]) | JSON,
        "datatype": st.sampled_from(["FP64", "BYTES", "INT64", "BOOL"]) | JSON,
    },
    optional={"data": st.lists(LEAVES, max_size=2) | JSON, "parameters": JSON},
)
ROWS = st.lists(st.fixed_dictionaries({name: st.just(value) | JSON for name, value in ROW.items()}), max_size=2)
SPLIT = st.fixed_dictionaries(
    {}, optional={"columns": st.just(["x"]) | JSON, "data": st.lists(st.lists(JSON, max_size=2)) | JSON, "index": JSON}
)
BODIES = JSON | st.one_of(
    *(
        st.fixed_dictionaries({name: ROWS | JSON}, optional={"signature_name": JSON})
        for name in ("instances", "inputs")
    ),
    st.fixed_dictionaries({"examples": ROWS | JSON}, optional={"context": JSON}),
    st.fixed_dictionaries(
        {"inputs": st.lists(TENSOR, max_size=3)}, optional={"outputs": JSON, "id": JSON, "parameters": JSON}
    ),
    st.fixed_dictionaries({"dataframe_split": SPLIT}, optional={"params": JSON}),
    st.fixed_dictionaries({"dataframe_records": ROWS | JSON}, optional={"params": JSON}),
)


@pytest.mark.parametrize("model", ["fruit", "several", "shapes", "half_plus_two", "deep", "scaled", "texts"])
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=BODIES)
def test_no_body_whatever_is_an_error_of_the_service(service: Serve, model: str, asked: Any) -> None:
    served = service(model)
    verbs = [f"/v1/models/{model}:{verb}" for verb in ("predict", "classify", "regress")]
    for path in [*verbs, f"/v2/models/{model}/infer", "/invocations"]:
        said = served.post(path, json.dumps(asked).encode())
        assert said.status_code < 500, (path, said.data)
        assert said.json is not None


@pytest.mark.parametrize("kind", ["application/json", "text/csv", ""])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_whatever_are_an_error_of_the_service(service: Serve, kind: str, text: bytes) -> None:
    served = service("several")
    for path in ("/v1/models/several:predict", "/v2/models/several/infer", "/invocations"):
        said = served.post(path, text, kind)
        assert said.status_code < 500, (path, said.data)
        assert said.json is not None


# The same rows, asked in each way.


def row(**known: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "weight": st.floats(0, 500),
            "size": st.floats(-100, 100, width=32),
            "number": st.integers(0, 90),
            "small": st.integers(-(2**31), 2**31 - 1),
            "fresh": st.booleans(),
            "kind": st.sampled_from(["apple", "pear", "quince"]),
            "picked": st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(datetime.isoformat),
            "stamp": st.binary(max_size=5).map(lambda one: {"b64": base64.b64encode(one).decode()}),
        },
        optional={"bonus": st.floats(-1, 1), "remark": st.text(max_size=3)},
    )


@pytest.fixture(scope="module")
def loaded(models: Path) -> Any:
    """The classifier, loaded by MLflow itself."""
    with warnings.catch_warnings(action="ignore"):  # MLflow warns of its own type hints
        import mlflow

        return mlflow.pyfunc.load_model(str(models / "fruit"))


def frame(rows: list[dict[str, Any]]) -> Any:
    """Return rows as MLflow wants them."""
    import pandas as pd

    made = pd.DataFrame(rows).astype({"weight": float, "size": "float32", "number": "int64", "small": "int32"})
    made["picked"] = pd.to_datetime(made["picked"], format="ISO8601").astype("datetime64[ns]")
    made["stamp"] = [base64.b64decode(one["b64"]) for one in made["stamp"]]
    return made


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(some=st.lists(row(), min_size=1, max_size=3), times=st.sampled_from([1, 15]), data=st.data())
def test_predictions_are_mlflows_however_rows_are_sent(
    fruit: Any, loaded: Any, some: list[dict[str, Any]], times: int, data: st.DataObject
) -> None:
    rows = some * times
    wanted = loaded.predict(frame(rows))
    names = data.draw(st.permutations(list(dict.fromkeys(name for one in rows for name in one))))
    mixed = [{name: one[name] for name in names if name in one} for one in rows]
    for protocol in PROTOCOLS:
        if protocol == "inference" and any("bonus" in one or "remark" in one for one in rows):
            mixed = [{name: one[name] for name in names if name not in ("bonus", "remark")} for one in rows]
            wanted = loaded.predict(frame(mixed))
        found = predictions(fruit.post(*body(protocol, mixed)))
        assert np.allclose(found, wanted, rtol=1e-6, atol=1e-9), protocol


COLUMNS = Signature(
    (
        Column("double", "double", True, Range(-10, 10, None, True)),
        Column("strict", "double", True, Range(-10, 10, None, False)),
        Column("open", "double", False),
        Column("float", "float"),
        Column("long", "long", True, Range(0, None, None, True)),
        Column("integer", "integer", True, Range(None, None, frozenset({1, 2, 3}))),
        Column("boolean", "boolean"),
        Column("string", "string", True, Range(None, None, frozenset({"a", "b"}))),
        Column("text", "string", False),
    )
)
MIXED = (
    st.none() | st.booleans() | st.integers(-3, 12) | st.floats() | st.sampled_from(["a", "b", "c"]) | st.just(2**63)
)


@settings(max_examples=300, deadline=None)
@given(row=st.fixed_dictionaries({one.name: MIXED for one in COLUMNS.columns}), name=st.sampled_from(COLUMNS.columns))
def test_the_judgement_of_large_tables_is_that_of_small_ones(row: dict[str, Any], name: Column) -> None:
    good = {"double": 1.5, "strict": 1, "open": None, "float": 1.5, "long": 7, "integer": 2, "boolean": True}
    good |= {"string": "a", "text": None}
    whole = {**good, name.name: row[name.name]}
    small, large = (judged([whole] * many) for many in (1, 40))
    assert small[:3] == large[:3]


def judged(rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Return whether rows are taken, and the first row's values or complaint."""
    try:
        table = from_rows(COLUMNS, rows, 100)
    except BadRequest as error:
        return False, error.message.split("; ")[0], None
    first = {
        name: np.asarray(values[0], table.kinds[name] if table.kinds[name] != "str" else object)
        for name, values in table.frame.items()
    }
    return True, {name: repr(one) for name, one in first.items()}, None


class TestSmallThings:
    def test_an_optional_column_that_no_row_names_is_not_there(self) -> None:
        signature = Signature((Column("x", "double"), Column("more", "long", False)))
        assert list(from_rows(signature, [{"x": 1}], 10).frame) == ["x"]
        assert list(from_columns(signature, {"x": [1]}, 10).kinds) == ["x"]
        assert from_rows(signature, [{"x": 1, "more": 2}], 10).key != from_rows(signature, [{"x": 1}], 10).key
        with pytest.raises(BadRequest, match="row 1, more: expected a whole number, got null"):
            from_rows(signature, [{"x": 1, "more": 2}, {"x": 1}], 10)

    def test_at_most_some_complaints_are_told_and_the_rest_is_counted(self) -> None:
        with pytest.raises(BadRequest) as caught:
            from_rows(Signature((Column("x", "double"),)), [{"x": "a"}] * 9, 10)
        assert caught.value.message.count("expected a number") == 5
        assert caught.value.message.endswith("; and 4 more")

    def test_a_nested_column_may_be_null_and_is_checked_inside(self) -> None:
        kind = {
            "type": "object",
            "properties": {"city": {"type": "string"}, "floor": {"type": "long", "required": False}},
        }
        signature = Signature((Column("place", kind), Column("many", {"type": "map", "values": {"type": "double"}})))
        rows = [{"place": {"city": "Porto", "floor": None}, "many": {"a": 1}}, {"place": None, "many": None}]
        assert from_rows(signature, rows, 10).frame["place"] == [{"city": "Porto", "floor": None}, None]
        for place, what in [
            ({}, "lacks the field 'city'"),
            ({"city": "", "flor": 1}, "did you mean 'floor'"),
            (1, "an object"),
        ]:
            with pytest.raises(BadRequest, match=what):
                from_rows(signature, [{"place": place, "many": {}}], 10)

    @pytest.mark.parametrize(
        ("value", "what"),
        [
            ([1, "2"], "expected whole numbers"),
            ([1, True], "got true"),
            ([1, None], "got null"),
            ([[1], [1, 2]], "lists of the same lengths"),
            ([1, [2]], "lists of the same lengths"),
            ([2**31], "outside of int32"),
            ([[1, 2]], r"expected the shape \[-1\]"),
            (1, "must be a list"),
            ([], "no rows"),
        ],
    )
    def test_a_tensor_is_judged_by_kind_range_and_shape(self, value: Any, what: str) -> None:
        signature = Signature(tensors=(Tensor("t", "int32", (-1,)),))
        with pytest.raises(BadRequest, match=what):
            from_columns(signature, {"t": value}, 10)

    def test_a_tensor_of_small_floats_has_no_infinite_ones(self) -> None:
        signature = Signature(tensors=(Tensor("", "float32", (-1,)),))
        with pytest.raises(BadRequest, match="outside of float32"):
            from_columns(signature, [1e300], 10)
        assert from_columns(signature, [0.5], 10).frame.dtype == np.float32

    def test_only_the_models_parameters_are_taken(self) -> None:
        known = {"factor": {"type": "double", "shape": None}, "offsets": {"type": "long", "shape": [-1]}}
        signature = Signature((Column("x", "double"),), params=known)
        table = from_rows(signature, [{"x": 1}], 10)
        assert with_params(signature, table, {"factor": 2}).params == {"factor": 2}
        assert with_params(signature, table, {"offsets": [1]}).alone
        for params in ({"faktor": 1}, {"factor": "x"}, {"offsets": 1}, {"offsets": [1.5]}, []):
            with pytest.raises(BadRequest, match="params"):
                with_params(signature, table, params)

    def test_rows_are_counted_before_they_are_read(self) -> None:
        with pytest.raises(TooLarge):
            from_rows(Signature((Column("x", "double"),)), [None] * 11, 10)
