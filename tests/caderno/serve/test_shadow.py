"""The challenger in shadow: real models in processes, one of them behind, failing, or of another kind."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from workshop import until

from caderno.serve import shadow as shadows
from caderno.serve.answering import Service
from caderno.serve.app import create_app
from caderno.serve.batching import Answer, Settings
from caderno.serve.comparison import agreement
from caderno.serve.journal import Journal
from caderno.serve.shadow import Agreement, Shadow
from caderno.serve.shelf import Shelf
from caderno.serve.sources import Wanted
from caderno.serve.tables import Table

SAME, OTHER, NARROW, WIDE, CLASSES = "1", "2", "3", "4", "5"
MODELS = """
import sys
import mlflow
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
table = pd.DataFrame(np.random.default_rng(3).normal(size=(300, 3)), columns=["x", "y", "z"])
late, kinds = table["x"] + table["y"] > 0, pd.cut(table["x"], 3, labels=False)
for version, names, outcome, strength in [
    ("1", ["x", "y"], late, 1.0),
    ("2", ["x", "y"], late, 0.01),
    ("3", ["y"], late, 1.0),
    ("4", ["x", "y", "z"], late, 1.0),
    ("5", ["x", "y"], kinds, 1.0),
]:
    rows = table[names]
    model = LogisticRegression(C=strength).fit(rows, outcome)
    mlflow.sklearn.save_model(
        model,
        f"{sys.argv[1]}/{version}",
        pyfunc_predict_fn="predict_proba",
        pip_requirements=[],
        signature=mlflow.models.infer_signature(rows, model.predict_proba(rows)),
    )
"""


class Several:
    """A model whose versions are folders; its challenger is what a test says."""

    name = "tiny"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.challenger: str | None = OTHER

    def wanted(self) -> Wanted:
        labels = {"champion": SAME} | ({"challenger": self.challenger} if self.challenger else {})
        return Wanted((SAME, OTHER, NARROW, WIDE, CLASSES), labels, SAME)

    def files(self, version: str) -> AbstractContextManager[Path]:
        return nullcontext(self.folder / version)

    def expected(self, version: str) -> Sequence[float] | None:
        return None

    def ranges(self) -> dict[str, Any]:
        return {}

    def about(self, version: str) -> dict[str, Any]:
        return {}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Several:
    folder = tmp_path_factory.mktemp("several")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-P", "-c", MODELS, folder], env=environment, check=True)
    return Several(folder)


@pytest.fixture(scope="module")
def shelf(several: Several) -> Iterator[Shelf]:
    made = Shelf([several], Settings())
    made.refresh()
    assert not made.troubles
    yield made
    made.end()


class Watched:
    """A service with a shadow, and all that came of it."""

    def __init__(self, shelf: Shelf, folder: Path, share: float) -> None:
        self.said: list[str] = []
        self.folder = folder
        self.journal = Journal(folder, 100_000_000, frozenset(), self.said.append)
        self.service = Service(shelf, 1000)
        self.shadow = Shadow(shelf, self.journal, share, self.said.append)
        self.service.listeners.append(self.shadow.listen)
        self.client = create_app(self.service, 1_000_000).test_client()

    def ask(self, *rows: tuple[float, float], at: str = "") -> list[Any]:
        body = {"instances": [{"x": x, "y": y} for x, y in rows]}
        done = self.client.post(f"/v1/models/tiny{at}:predict", json=body)
        assert done.status_code == 200, done.text
        return list(done.get_json()["predictions"])

    def end(self) -> None:
        until(lambda: self.shadow._rows == 0)
        self.shadow.close()
        self.journal.close()

    def rows(self, kind: str = "shadow") -> pd.DataFrame:
        with closing(sqlite3.connect(self.folder / "tiny.db")) as database:
            return pd.read_sql(f"SELECT * FROM {kind}", database)


@pytest.fixture
def watched(several: Several, shelf: Shelf, tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    every = []

    def make(share: float = 1.0, challenger: str | None = OTHER) -> Watched:
        several.challenger = challenger
        shelf.refresh()
        every.append(Watched(shelf, tmp_path, share))
        return every[-1]

    yield make
    for one in every:
        one.end()


def test_the_challenger_answers_what_the_champion_was_asked(watched: Callable[..., Watched]) -> None:
    one = watched()
    ours = one.ask((1, 2), (-1, 0.5))
    until(lambda: one.journal.written["tiny", "shadow"] == 2)
    theirs = one.ask((1, 2), (-1, 0.5), at="/versions/2")
    one.end()
    found = one.rows()
    assert list(found["champion_score"]) == [row[1] for row in ours]
    assert list(found["challenger_score"]) == [row[1] for row in theirs]
    assert set(found["champion"] + found["challenger"]) == {"12"}
    assert list(found["features"]) == ['{"x":1.0,"y":2.0}', '{"x":-1.0,"y":0.5}']
    assert (found["champion_seconds"] > 0).all()
    assert (found["challenger_seconds"] > 0).all()
    apart = np.abs(found["champion_score"] - found["challenger_score"])
    assert one.shadow.agreements["tiny"] == Agreement("1", "2", 2, pytest.approx(apart.sum()))
    assert one.shadow.agreements["tiny"].mean == pytest.approx(apart.mean())


def test_only_who_means_the_champion_is_shadowed(watched: Callable[..., Watched]) -> None:
    one = watched()
    for at in ("/versions/1", "/versions/2", "/labels/challenger"):
        one.ask((1, 2), at=at)
    for at in ("", "/labels/champion"):
        one.ask((3, 4), at=at)
    one.end()
    assert list(one.rows()["features"]) == ['{"x":3.0,"y":4.0}'] * 2


def test_a_share_of_the_requests_is_answered_twice(watched: Callable[..., Watched]) -> None:
    one = watched(share=0.3)
    for _ in range(200):
        one.ask((1, 2))
    one.end()
    assert 30 < len(one.rows()) < 95


def test_without_a_challenger_nothing_happens(watched: Callable[..., Watched]) -> None:
    one = watched(challenger=None)
    one.ask((1, 2))
    one.end()
    assert not one.shadow.agreements
    assert not one.journal.lost
    assert not (one.folder / "tiny.db").exists()


def test_a_challenger_that_takes_fewer_columns_gets_those(watched: Callable[..., Watched]) -> None:
    one = watched(challenger=NARROW)
    one.ask((1, 2))
    one.end()
    assert one.rows()["challenger"][0] == NARROW
    assert one.rows()["features"][0] == '{"x":1.0,"y":2.0}'


@pytest.mark.parametrize(
    ("challenger", "why"),
    [
        (WIDE, "the challenger takes other columns than the champion"),
        (CLASSES, "the models give no single number a row"),
    ],
)
def test_what_cannot_be_compared_is_lost_with_its_reason(
    watched: Callable[..., Watched], challenger: str, why: str
) -> None:
    one = watched(challenger=challenger)
    one.ask((1, 2), (3, 4))
    one.end()
    assert one.journal.lost == {("tiny", "shadow", why): 2}
    assert one.rows("lost")[["kind", "rows", "why"]].values.tolist() == [["shadow", 2, why]]


def test_a_challenger_that_fails_is_said_once_and_counted(
    watched: Callable[..., Watched], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(table: Table) -> Answer:
        raise ZeroDivisionError

    one = watched()
    monkeypatch.setattr(shelf.model("tiny").versions[OTHER], "predict", fails)
    for _ in range(3):
        one.ask((1, 2))
    one.end()
    assert one.journal.lost == {("tiny", "shadow", "the challenger failed"): 3}
    assert one.said == ["tiny: the challenger fails in shadow: ZeroDivisionError()"]


def test_a_challenger_that_cannot_follow_delays_nobody(
    watched: Callable[..., Watched], shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, go = watched(), threading.Event()
    challenger = shelf.model("tiny").versions[OTHER]
    answers = challenger.predict

    def waits(table: Table) -> Answer:
        go.wait()
        return answers(table)

    monkeypatch.setattr(shadows, "_WAITING", 20)
    monkeypatch.setattr(challenger, "predict", waits)
    began = time.perf_counter()
    for _ in range(30):
        one.ask((1, 2))
    assert time.perf_counter() - began < 2
    go.set()
    one.end()
    assert len(one.rows()) == 20
    assert one.rows("lost")["rows"].sum() == one.journal.lost["tiny", "shadow", "the challenger can't follow"] == 10


def test_figures_begin_anew_with_another_challenger(watched: Callable[..., Watched], several: Several) -> None:
    one = watched()
    one.ask((1, 2), (3, 4))
    until(lambda: "tiny" in one.shadow.agreements)
    several.challenger = NARROW
    one.service.shelf.refresh()
    one.ask((1, 2))
    one.end()
    assert (one.shadow.agreements["tiny"].challenger, one.shadow.agreements["tiny"].rows) == (NARROW, 1)


def test_agreement_is_told_in_known_figures() -> None:
    found = agreement([0.1, 0.4, 0.6, 0.9], [0.2, 0.6, 0.6, 0.8])
    assert found.rows == 4
    assert found.mean == pytest.approx(0.1)
    assert (found.median, found.most) == (pytest.approx(0.1), pytest.approx(0.2))
    assert found.same_side == 0.75
    assert found.correlation == pytest.approx(np.corrcoef([0.1, 0.4, 0.6, 0.9], [0.2, 0.6, 0.6, 0.8])[0, 1])


def test_agreement_leaves_out_what_has_no_meaning() -> None:
    assert agreement([1.0, 3.0], [2.0, 2.0]).same_side is None
    assert agreement([0.1, 0.2], [0.5, 0.5]).correlation is None
    assert agreement([0.5], [0.5]).correlation is None
