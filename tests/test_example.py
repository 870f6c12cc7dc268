"""Ring three: the worked example, from raw sources to compared models, on its smoke profile."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import numpy as np
import orjson
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from checkout import caderno, environment

from flights.features import FEATURES

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
NOTEBOOKS = [path for path in (ROOT / "notebooks").rglob("[!.]*.ipynb") if path.parent.name != "daily"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout copied into a folder whose name has a space, with its sources made."""
    root = tmp_path_factory.mktemp("work") / "late flights"
    for name in ("notebooks", "params", "lib"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    made = [sys.executable, "-m", "flights.sources", "--to", "data/sources"]
    subprocess.run(made, cwd=root, env=environment(root), check=True, capture_output=True)
    return root


@pytest.fixture(scope="module")
def first(project: Path) -> subprocess.CompletedProcess[str]:
    return caderno(project, "run", "--profile", "smoke")


@pytest.fixture
def tracked(project: Path, first: object) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(project / "mlflow.db")
    yield connection
    connection.close()


def test_the_run_succeeds_and_says_where_the_report_is(first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 0, first.stdout + first.stderr
    assert "reports/index.html" in first.stdout


def test_a_second_run_does_nothing(project: Path, first: object) -> None:
    second = caderno(project, "run", "--profile", "smoke")
    assert second.returncode == 0
    assert "nothing to run" in second.stdout


def test_mlflow_holds_a_finished_run_for_each_task(project: Path, tracked: sqlite3.Connection) -> None:
    states = {state for (state,) in tracked.execute("select status from runs")}
    assert states == {"FINISHED"}
    tasks = {value for (value,) in tracked.execute("select value from tags where key = 'caderno.task'")}
    assert {"compare", "explore", "dataset", "train[model=boosting]", "flights[month=2013-09]"} <= tasks


def test_every_learned_model_beats_the_base_rate(project: Path, first: object) -> None:
    metrics = json.loads(caderno(project, "show", "compare", "--json").stdout)["metrics"]
    base = metrics["base_rate.roc_auc"]
    for model in ("logistic", "forest", "boosting"):
        assert metrics[f"{model}.roc_auc"] > base + 0.02


def test_the_test_months_are_read_by_compare_alone(project: Path, first: object) -> None:
    for task in ("train[model=boosting]", "train[model=logistic]"):
        inputs = json.loads(caderno(project, "show", task, "--profile", "smoke", "--json").stdout)["inputs"]
        assert "test" not in inputs


def test_the_report_shows_the_conclusion_and_links_every_task(project: Path, first: object) -> None:
    index = BeautifulSoup((project / "reports" / "index.html").read_text(), "html.parser")
    place = project / "reports" / index.select_one(".runs tbody th a")["href"]
    page = BeautifulSoup(place.read_text(), "html.parser")
    links = {link["href"] for link in page.find_all("a", href=True) if link["href"].startswith("../")}
    assert len(links) >= 14
    for link in links:
        assert (place.parent / link.partition("#")[0].replace("%3D", "=")).is_file(), link
    assert "boosting" in index.find(id="newest").get_text()
    assert "boosting" in page.find(id="conclusion").get_text()


@pytest.fixture(scope="module")
def served(project: Path, first: object) -> Iterator[str]:
    """The address of a service that answers by the boosting that the run made."""
    folder = project / "data" / "flights" / "train" / "model=boosting" / "latest" / "model"
    command = [sys.executable, "-m", "caderno.cli", "serve", "--port", "0", "--model", f"flights={folder}"]
    with (project / "served.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=project, env=environment(project), stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout
    yield next(line.strip() for line in process.stdout if line.startswith("http"))
    process.terminate()
    process.communicate()


BATCH = """
import sys, mlflow.pyfunc, numpy, pandas
model, rows, answer = sys.argv[1:]
model = mlflow.pyfunc.load_model(model)
numpy.save(answer, model.predict(pandas.read_parquet(rows)[model.metadata.get_input_schema().input_names()]))
"""


def test_the_service_says_of_each_test_row_what_the_batch_says(project: Path, served: str, tmp_path: Path) -> None:
    results = project / "data" / "flights"
    table, model = results / "dataset/latest/test.parquet", results / "train/model=boosting/latest/model"
    command = [sys.executable, "-c", BATCH, model, table, tmp_path / "batch.npy"]
    subprocess.run(command, env=environment(project), check=True, capture_output=True)
    rows = pd.read_parquet(table)[FEATURES]
    said: list[list[float]] = []
    for start in range(0, len(rows), 4000):
        chunk = rows[start : start + 4000]
        by_row = start % 8000 == 0
        asked = {"instances": chunk.to_dict("records")} if by_row else {"inputs": chunk.to_dict("list")}
        body = orjson.dumps(asked)  # NaN becomes null
        request = Request(f"{served}v1/models/flights:predict", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=120) as answer:
            said += json.load(answer)["predictions" if by_row else "outputs"]
    assert len(said) > 20_000
    np.testing.assert_array_equal(np.array(said), np.load(tmp_path / "batch.npy"))


QUICK = ("etl/registry.ipynb", "etl/weather.ipynb")


def _by_hand() -> list[Any]:
    names = sorted(path.relative_to(ROOT / "notebooks").as_posix() for path in NOTEBOOKS)
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", _by_hand())
def test_a_notebook_also_runs_by_hand_on_the_latest_results(project: Path, first: object, name: str) -> None:
    notebook = project / "notebooks" / name
    few = ["-p", "trials", "1"] if notebook.stem == "tune" else []
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db", "MLFLOW_EXPERIMENT_NAME": "flights"}
    done = subprocess.run(
        [sys.executable, "-m", "papermill", str(notebook), os.devnull, "--cwd", str(notebook.parent), *few],
        env=environment(project) | store,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.browser
@pytest.mark.parametrize(
    "page", ["index", "flights/runs/*", "flights/explore", "flights/train*boosting", "flights/compare"]
)
def test_a_page_shows_with_the_network_off(project: Path, first: object, page: str, browser: Browser) -> None:
    context = browser.new_context(offline=True)
    asked: list[str] = []
    said: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda message: said.append(message.text))
    tab = context.new_page()
    tab.goto(next((project / "reports").glob(f"{page}.html")).as_uri())
    tab.wait_for_load_state()
    broken = "() => [...document.images].filter(image => !image.naturalWidth).length"
    assert tab.evaluate(broken) == 0
    assert tab.locator("h1").count() == 1
    context.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []


def test_a_notebook_that_changed_in_its_prose_alone_causes_no_run(project: Path, first: object) -> None:
    path = project / "notebooks" / "compare.ipynb"
    before = path.read_text()
    content = json.loads(before)
    content["cells"][0]["source"] = "# Another title"
    path.write_text(json.dumps(content))
    planned = caderno(project, "plan", "--profile", "smoke").stdout
    path.write_text(before)
    assert "0 to run" in planned


def test_only_what_uses_a_changed_part_of_a_helper_runs_again(project: Path, first: object) -> None:
    path = project / "lib" / "flights" / "models.py"
    before = path.read_text()
    path.write_text(f"# why\n{before}\n\ndef unused():\n    return 1\n")
    unused = caderno(project, "plan", "--profile", "smoke").stdout
    path.write_text(before.replace("TRUSTED_TYPES = [", "TRUSTED_TYPES = [\n    'numpy.ndarray',", 1))
    planned = caderno(project, "plan", "--profile", "smoke").stdout
    path.write_text(before)
    assert "0 to run" in unused
    lines = {line.split()[1]: line for line in planned.splitlines() if line.startswith(("cached", "run", "wait"))}
    assert lines["train[model=forest]"].startswith("run")
    assert "flights.models:TRUSTED_TYPES changed" in lines["train[model=forest]"]
    assert lines["dataset"].startswith("cached")
    assert lines["compare"].startswith(("run", "wait"))
