"""The habits of this house, held by tests."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from caderno.cli import cli

sys.path.insert(0, str(Path(__file__).parent / "tools"))
from environment import environment, locked

ROOT = Path(__file__).parents[1]
TOP = {
    *("notebooks", "params", "reports", "lib", "tests", "environment.yml", "README.md"),
    *("pyproject.toml", "requirements.lock", "Makefile", "MLproject", "LICENSE"),
}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


def notebooks() -> list[Path]:
    return sorted(path for path in (ROOT / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


def modules() -> list[Path]:
    return sorted((ROOT / "lib").rglob("*.py"))


def code_cells(path: Path) -> list[dict[str, object]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, object]) -> str:
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)  # type: ignore[arg-type]


def tags(cell: dict[str, object]) -> list[str]:
    return cell["metadata"].get("tags", [])  # type: ignore[attr-defined]


def test_the_top_level_holds_the_fixed_names_and_what_tools_force() -> None:
    names = {name.partition("/")[0] for name in tracked()}
    assert {name for name in names if not name.startswith(".")} <= TOP


def test_git_does_not_ignore_lib() -> None:
    done = subprocess.run(["git", "check-ignore", "lib", "lib/caderno", "lib/flights"], cwd=ROOT, capture_output=True)
    assert done.stdout == b""


def test_git_ignores_what_runs_leave_behind() -> None:
    left = ["data/x", "mlflow.db", "mlartifacts/x", "reports/index.html", "reports/flights/x.html", ".venv/x"]
    done = subprocess.run(["git", "check-ignore", *left], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == left


def test_notebooks_are_compared_by_cells() -> None:
    assert "*.ipynb diff=jupyternotebook merge=jupyternotebook" in (ROOT / ".gitattributes").read_text()


@pytest.mark.parametrize("folder", ["notebooks", "params", "reports", "lib", "tests"])
def test_each_top_level_folder_explains_itself(folder: str) -> None:
    assert len((ROOT / folder / "README.md").read_text()) > 200


def test_environment_yml_has_the_packages_and_versions_of_the_lock() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert len(locked(lock)) == len(re.findall(r"^[A-Za-z0-9]", lock, re.M)) > 100
    assert (ROOT / "environment.yml").read_text() == environment(lock)


@pytest.mark.parametrize("name", ["requirements.lock", "lib/dags/requirements.lock"])
def test_a_lock_hashes_every_package_and_names_no_host(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    for entry in re.split(r"\n(?=[A-Za-z0-9])", lock)[1:]:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_the_lock_covers_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    pinned = {
        re.split(r"[=\[ ]", line)[0].lower().replace("_", "-")
        for line in locked((ROOT / "requirements.lock").read_text())
    }
    assert {re.split(r"[<>=\[ ]", line)[0].lower().replace("_", "-") for line in declared} <= pinned


def test_the_lock_of_airflow_covers_what_it_is_made_of() -> None:
    wanted = re.findall(r"^[a-z0-9-]+", (ROOT / "lib/dags/requirements.in").read_text(), re.M)
    pinned = re.findall(r"^([a-z0-9-]+)==", (ROOT / "lib/dags/requirements.lock").read_text(), re.M)
    assert len(wanted) > 3
    assert set(wanted) <= set(pinned)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT / "lib")))
def test_a_module_says_what_it_is_for_and_stays_small(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= 480, "two modules, perhaps"


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: str(path.relative_to(ROOT / "notebooks")))
class TestNotebooks:
    def test_it_is_committed_without_outputs(self, path: Path) -> None:
        for cell in code_cells(path):
            assert not cell["outputs"]
            assert cell["execution_count"] is None

    def test_it_asks_its_question_first(self, path: Path) -> None:
        first = json.loads(path.read_text())["cells"][0]
        assert first["cell_type"] == "markdown"
        assert source(first).startswith("# ")

    def test_its_first_code_cell_holds_annotated_and_explained_literals(self, path: Path) -> None:
        cell = code_cells(path)[0]
        assert tags(cell) == ["parameters"]
        for node in ast.parse(source(cell)).body:
            assert isinstance(node, ast.AnnAssign), ast.unparse(node)
            assert node.value is not None
            ast.literal_eval(node.value)
        assert len(re.findall(r"#", source(cell))) >= len(ast.parse(source(cell)).body)

    def test_its_last_cell_is_the_summary(self, path: Path) -> None:
        cells = json.loads(path.read_text())["cells"]
        assert "summary" in cells[-1]["metadata"].get("tags", [])

    def test_its_cells_are_small(self, path: Path) -> None:
        for cell in code_cells(path):
            assert source(cell).count("\n") < 15, source(cell)

    def test_it_reaches_for_nothing_by_hand(self, path: Path) -> None:
        for cell in code_cells(path):
            assert not re.search(r"sys\.path|^\s*%run|^\s*!|os\.chdir|[\"']/(home|root|tmp|work)", source(cell), re.M)

    def test_it_runs_in_the_environments_kernel(self, path: Path) -> None:
        metadata = json.loads(path.read_text())["metadata"]
        assert metadata["kernelspec"]["name"] == "python3"
        assert "version" not in metadata.get("language_info", {}), "the version of whoever saved it last"


def test_every_command_has_help_and_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, command in cli.commands.items():
        assert command.help, name
        assert f"caderno {name}" in readme, name
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.name}"


def test_every_make_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", text, re.M)
    assert targets
    for target in targets[1].split():
        assert re.search(rf"^{target}:.*## ", text, re.M), target
