"""A new project: from an installed wheel, under any name, never over something that is there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from workshop import LIMIT, Workshop

from caderno import spec
from caderno.errors import CadernoError
from caderno.project import Project
from caderno.start import naming
from caderno.start.new import new

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "lib/caderno/start/template"


@pytest.mark.parametrize(
    "name", ["shop", "Análise de preços-2", "2026 sales", "class", "pandas", "calendar", "数据", "."]
)
def test_a_project_under_any_name_loads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = new(Path(name))
    assert made.root == (tmp_path / name).resolve()
    assert made.name.isidentifier()
    pipeline = spec.load(Project(made.root), made.name)
    assert list(pipeline.tasks) == ["prepare", "train"]
    text = "".join(path.read_text() for path in made.root.rglob("*") if path.is_file())
    assert "caderno_project" not in text
    assert "caderno_title" not in text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("shop", "shop"),
        ("Análise de preços-2", "analise_de_precos_2"),
        ("2026", "project_2026"),
        ("class", "class_project"),
        ("pandas", "pandas_project"),
        ("calendar", "calendar_project"),
        ("数据", "project"),
    ],
)
def test_a_packages_name_hides_nothing(text: str, name: str) -> None:
    assert naming.package(text) == name


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CadernoError, match="not empty: nothing was written"):
        new(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("")
    with pytest.raises(CadernoError, match="can't be made"):
        new(tmp_path / "shop")


@pytest.mark.parametrize("path", sorted(TEMPLATE.glob("notebooks/*.ipynb")), ids=lambda path: path.name)
def test_its_notebooks_keep_the_rules_of_notebooks(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert sources[0].startswith("# ")
    codes = [(cell, source) for cell, source in zip(cells, sources, strict=True) if cell["cell_type"] == "code"]
    first, literals = codes[0]
    assert first["metadata"]["tags"] == ["parameters"]
    for node in ast.parse(literals).body:
        assert isinstance(node, ast.AnnAssign)
        assert node.value
        ast.literal_eval(node.value)
    assert literals.count("#") == len(literals.splitlines())
    assert cells[-1]["metadata"]["tags"] == ["summary"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    for cell, source in codes:
        assert not cell["outputs"]
        assert source.count("\n") < 15


@pytest.mark.kernel
@pytest.mark.slow
def test_from_the_installed_wheel_it_runs_and_its_test_passes(tmp_path: Path, shop: Workshop) -> None:
    def ran(*command: str, cwd: Path, path: Path | None = None) -> str:
        environment = {name: value for name, value in shop.environment().items() if name != "PYTHONPATH"}
        if path:
            environment["PYTHONPATH"] = str(path)
        done = subprocess.run(
            [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    ran("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist"), cwd=ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"caderno"}
    installed = tmp_path / "site"
    ran(*("-m", "pip", "install", "--no-deps", "--no-index", "--target", str(installed), str(wheel)), cwd=tmp_path)
    said = ran("-m", "caderno.cli", "new", "my shop", cwd=tmp_path, path=installed)
    assert "cd 'my shop'" in said
    root = tmp_path / "my shop"
    where = ran("-c", "import caderno; print(caderno.__file__)", cwd=root, path=installed)
    assert Path(where.strip()).is_relative_to(installed)
    out = ran("-m", "caderno.cli", "run", cwd=root, path=installed)
    assert "2 succeeded" in out
    summary = (root / "reports/my_shop/train.html").read_text()
    assert re.search(r"A prediction is off by \d+\.\d points .* better than guessing the mean by", summary)
    assert "6 passed" in ran("-m", "pytest", "-q", cwd=root)
    assert (root / "mlflow.db").exists()
