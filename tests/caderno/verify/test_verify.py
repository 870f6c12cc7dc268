"""Past results, built once more from their records: by the whole engine, in worktrees of real repositories."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from workshop import NewShop, Workshop, ended, until

from caderno.errors import CadernoError
from caderno.plan.records import TaskRecord
from caderno.verify.rebuild import rebuild
from caderno.verify.verdict import Verdict

pytestmark = pytest.mark.kernel

IGNORED = "/data/\n/mlflow*\n/mlartifacts/\n/reports/\n__pycache__/\n/noise.txt\n"
WRITE = "with open(out, 'w') as file:\n    file.write({})"
# What a machine of another make would do to the last digits: a file that is no input, so that nothing counts it.
NOISE = "from pathlib import Path\nnoise = float(Path('../noise.txt').read_text())"
MODEL = """
with mlflow.start_run():
    mlflow.log_metric("score", model.score(data[["x"]], data["y"]))
    mlflow.sklearn.log_model(model, name="model", input_example=data[["x"]].head(3), pip_requirements=["scikit-learn"],
                             skops_trusted_types=["numpy.dtype"])
"""
TASKS = """
    make: {notebook: make.ipynb, inputs: {raw: "file:raw.csv"}, outputs: {out: made.parquet}, params: {rows: 40}}
    chance: {notebook: chance.ipynb, outputs: {out: out.txt}}
    noisy: {notebook: noisy.ipynb, inputs: {made: make.out}, outputs: {out: noisy.parquet, said: said.json}}
    helped: {notebook: helped.ipynb, outputs: {out: out.txt}, env: [FLAVOUR]}
    fit: {notebook: fit.ipynb, inputs: {made: make.out}, outputs: {model: mlflow-model}}
    use: {notebook: use.ipynb, inputs: {model: fit.model, made: make.out}, outputs: {out: out.json}}
    prints: {notebook: prints.ipynb}
    slow: {notebook: slow.ipynb, outputs: {out: out.txt}}
"""


def git(shop: Workshop, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments]
    done = subprocess.run(command, cwd=shop.root, env=shop.environment(), capture_output=True, text=True, check=True)
    return done.stdout


def fill(shop: Workshop) -> None:
    shop.write(".gitignore", IGNORED)
    shop.write("raw.csv", "a\n1\n2\n")
    shop.write("noise.txt", "0")
    shop.write("lib/tools.py", "def word():\n    return 'one'\n")
    shop.notebook(
        "make.ipynb",
        "raw: str = ''\nrows: int = 2\nout: str = ''",
        "import pandas as pd",
        "pd.DataFrame({'x': [i / 7 for i in range(rows)], 'y': [i % 2 for i in range(rows)]}).to_parquet(out)",
    )
    shop.notebook("chance.ipynb", "out: str = ''", "import random", "# a draw\nx = random.random()\nprint(x)",
                  WRITE.format("str(x)"))  # fmt: skip
    shop.notebook("noisy.ipynb", "made: str = ''\nout: str = ''\nsaid: str = ''", "import json\nimport pandas as pd",
                  NOISE, "data = pd.read_parquet(made)\ndata['x'] *= 1 + noise\ndata.to_parquet(out)",
                  "with open(said, 'w') as file:\n    json.dump({'mean': data['x'].mean()}, file)")  # fmt: skip
    shop.notebook("helped.ipynb", "out: str = ''", "import os\nfrom tools import word",
                  WRITE.format("word() + os.environ.get('FLAVOUR', '')"))  # fmt: skip
    shop.notebook("fit.ipynb", "made: str = ''", "import mlflow\nimport pandas as pd",
                  "from sklearn.linear_model import LogisticRegression", "data = pd.read_parquet(made)",
                  "model = LogisticRegression().fit(data[['x']], data['y'])", MODEL)  # fmt: skip
    shop.notebook("use.ipynb", "model: str = ''\nmade: str = ''\nout: str = ''", "from pathlib import Path",
                  "import mlflow\nimport pandas as pd", "found = mlflow.sklearn.load_model(Path(model))",
                  "found = found.predict_proba(pd.read_parquet(made)[['x']])[:, 1]",
                  "with open(out, 'w') as file:\n    file.write(str([*map(float, found)]))")  # fmt: skip
    shop.notebook("prints.ipynb", None, "print('hello', object())")
    shop.notebook("slow.ipynb", "out: str = ''", "import os, time\nprint('here')",
                  "time.sleep(float(os.environ.get('WAIT', 0)))", WRITE.format("'x'"))  # fmt: skip
    shop.pipeline(TASKS)


@pytest.fixture(scope="module")
def whole(new_shop: NewShop) -> Workshop:
    """A project in git that has run, clean."""
    shop = new_shop()
    fill(shop)
    git(shop, "init", "-q")
    git(shop, "add", ".")
    git(shop, "commit", "-qm", "first")
    done = shop.caderno("run", env={"FLAVOUR": "!"})
    assert done.code == 0, done.out
    return shop


@pytest.fixture
def shop(whole: Workshop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """The same for each test, which must leave nothing of a rebuild behind; what it changes is put back."""
    for name, value in whole.variables.items():
        monkeypatch.setenv(name, value)
    before = results(whole)
    runs = len(whole.mlflow_runs())
    yield whole
    git(whole, "checkout", "-q", ".")
    (whole.root / "noise.txt").write_text("0")
    assert results(whole) == before
    assert len(whole.mlflow_runs()) == runs
    assert len(git(whole, "worktree", "list").splitlines()) == 1
    assert [path.name for path in (whole.project.state / "verify").glob("*")] in ([], ["lock"])


def results(shop: Workshop) -> list[str]:
    return sorted(str(path) for path in (shop.project.data / "tiny").rglob("*"))


def verified(shop: Workshop, task: str) -> Verdict:
    """Verify in this process: papermill and MLflow are imported once."""
    latest = shop.store.latest(task)
    assert latest
    return rebuild(shop.project, *latest)


def states(verdict: Verdict) -> dict[str, str]:
    return {finding.what: finding.state for finding in verdict.findings}


def test_what_is_the_same_is_equal_though_the_notebook_was_edited_since(shop: Workshop) -> None:
    shop.notebook("make.ipynb", "raw: str = ''\nrows: int = 2\nout: str = ''", "1 / 0")
    shop.write("raw.csv", "a\n3\n")  # the commit has it as it was
    done = shop.caderno("verify", "make")
    assert done.code == 0, done.out
    assert "✓ equal: make" in done
    assert "output out (made.parquet)  equal" in done
    assert git(shop, "rev-parse", "HEAD")[:12] in done
    assert "note" not in done


@pytest.mark.slow
def test_a_notebook_that_draws_at_random_is_named_with_its_cell(shop: Workshop) -> None:
    done = shop.caderno("verify", "chance", "--result", shop.record("chance").run)
    assert done.code == 1
    assert "✗ differs: chance" in done
    assert "not deterministic: two rebuilds differ from one another, first at output out (out.txt)" in done
    assert "the first cell that prints something else is cell 3: # a draw" in done


@pytest.mark.slow
def test_noise_of_floats_is_within_tolerance_and_more_is_told_by_column_and_row(shop: Workshop) -> None:
    shop.write("noise.txt", "1e-9")
    near = verified(shop, "noisy")
    assert near.state == "equal within tolerance", near
    [table, said] = near.findings
    assert table.text == "largest difference 6e-09 in column x"
    assert said.text == "largest difference 3e-09"
    assert "noise.txt was read undeclared: it is taken as it is now" in near.notes
    shop.write("noise.txt", "0.5")
    far = verified(shop, "noisy")
    assert far.state == "differs"
    assert far.findings[0].text.startswith("column x, row 2: 0.14285714285714285 → 0.2142857142857142")
    assert far.findings[0].text.endswith("and 38 more of its rows")
    assert far.conclusion.startswith("deterministic here: two rebuilds are the same. They differ from the record first")
    assert far.conclusion.endswith("; all versions are the same")


def test_the_environment_that_counts_is_as_it_was(shop: Workshop) -> None:
    assert shop.record("helped").env == {"FLAVOUR": "!"}
    assert verified(shop, "helped").state == "equal"


def test_where_nothing_is_written_or_logged_what_cells_print_is_compared(shop: Workshop) -> None:
    assert states(verified(shop, "prints")) == {"what cells print": "equal"}


@pytest.mark.slow
def test_a_model_is_equal_though_its_ids_and_times_are_others(shop: Workshop) -> None:
    found = verified(shop, "fit")
    assert found.state == "equal", found
    assert states(found) == {"output model": "equal", "metric score": "equal"}
    assert not found.conclusion


@pytest.mark.slow
def test_a_model_that_goes_in_is_loaded_as_in_a_run(shop: Workshop) -> None:
    """MLflow loads no files through links that lead out of a model's folder."""
    assert states(verified(shop, "use")) == {"output out (out.json)": "equal"}


def test_a_result_in_the_store_that_was_damaged_is_told_from_one_that_can_not_be_rebuilt(shop: Workshop) -> None:
    path = shop.result("helped") / "out.txt"
    content = path.read_bytes()
    path.write_text("x")
    found = verified(shop, "helped")
    path.write_bytes(content)
    assert found.state == "equal"
    assert found.notes == ("output out in the store is changed: it is not what the record says",)


@pytest.mark.parametrize(("content", "why"), [(None, "is gone"), (b"x", "was changed since")])
def test_an_input_that_is_gone_or_changed_is_named(shop: Workshop, content: bytes | None, why: str) -> None:
    path = shop.result("make") / "made.parquet"
    shutil.copy(path, shop.root / "kept")
    path.unlink()
    if content:
        path.write_bytes(content)
    done = shop.caderno("verify", "noisy")
    shutil.move(shop.root / "kept", path)
    assert done.code == 2
    assert f"input made of noisy, data/tiny/make/{path.parent.name}/made.parquet, {why}" in done
    assert "make made it" in done
    assert "Traceback" not in done


def test_versions_of_packages_are_compared(shop: Workshop) -> None:
    record, place = shop.store.latest("make") or pytest.fail()
    packages = {**record.code.packages, "pandas": "0.1"}
    older = record.model_copy(update={"code": record.code.model_copy(update={"packages": packages})})
    found = rebuild(shop.project, older, place)
    assert found.state == "equal"
    [note] = found.notes
    assert note.startswith("versions that differ: pandas 0.1 → ")


def test_a_commit_that_is_not_here_says_how_to_get_it(shop: Workshop) -> None:
    record, place = shop.store.latest("make") or pytest.fail()
    assert record.git
    away = record.model_copy(update={"git": record.git.model_copy(update={"commit": "0" * 40})})
    with pytest.raises(CadernoError, match="000000000000, is not in this repository") as caught:
        rebuild(shop.project, away, place)
    assert "git fetch" in caught.value.hint


def test_bad_input_is_told(shop: Workshop) -> None:
    done = shop.caderno("verify", "make", "--result", "nothing")
    assert done.code == 2
    assert "make has no result 'nothing'" in done
    assert shop.caderno("verify", "make", "--tolerance", "-1").code == 2


def waiting(shop: Workshop) -> subprocess.Popen[str]:
    """Start a verification, and return when its kernel is in a cell that waits."""
    process = shop.start("verify", "slow", env={"WAIT": "100"})
    logs = shop.project.state / "verify"
    until(lambda: any("here" in log.read_text() for log in logs.glob("*/tree/data/tiny/slow/*.part/log.txt")))
    return process


@pytest.mark.slow
def test_ctrl_c_ends_it_and_leaves_nothing(shop: Workshop) -> None:
    process = waiting(shop)
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 130, done.out
    assert "stopped: nothing of the rebuild is left" in done
    assert not [kernel for kernel in kernels if kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
def test_what_a_killed_one_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(shop: Workshop) -> None:
    process = waiting(shop)
    assert verified(shop, "prints").state == "equal"
    assert len(git(shop, "worktree", "list").splitlines()) == 2
    process.kill()
    ended(process)
    folder = shop.project.state / "verify"
    assert len([*folder.glob("*/tree")]) == 1
    git(shop, "worktree", "add", "-q", "--detach", str(folder / "wiped" / "tree"))
    shutil.rmtree(folder / "wiped")  # as if with all of data/: only git's note of it is left
    elsewhere = shop.root.parent / "elsewhere"
    git(shop, "worktree", "add", "-q", "--detach", str(elsewhere))
    elsewhere.rename(elsewhere.with_name("away"))  # another's, on a disk that is not there now
    assert verified(shop, "prints").state == "equal"
    assert [line.split()[0] for line in git(shop, "worktree", "list").splitlines()[1:]] == [str(elsewhere)]
    git(shop, "worktree", "prune")


@pytest.fixture(scope="module")
def small(new_shop: NewShop) -> Workshop:
    """A project without git, which has run."""
    shop = new_shop()
    shop.write("lib/tools.py", "def word():\n    return 'one'\n")
    shop.notebook("helped.ipynb", "out: str = ''", "from tools import word", WRITE.format("word()"))
    shop.pipeline("helped: {notebook: helped.ipynb, outputs: {out: out.txt}}")
    assert shop.caderno("run").code == 0
    return shop


@pytest.fixture(scope="module")
def ungit(small: Workshop) -> tuple[TaskRecord, Path]:
    """Its result of before there was a repository."""
    found = small.store.latest("helped")
    assert found
    return found


@pytest.fixture(scope="module")
def repository(small: Workshop, ungit: object) -> Workshop:
    """The same project, in a folder of a repository since."""
    small.write("../.gitignore", "data/\nmlflow*\nreports/\n__pycache__/\n")
    git(small, "init", "-q", "..")
    git(small, "add", "..")
    git(small, "commit", "-qm", "first")
    return small


@pytest.mark.slow
def test_without_git_the_folder_is_used_and_what_is_not_as_it_was_is_named(
    small: Workshop, ungit: tuple[TaskRecord, Path]
) -> None:
    found = rebuild(small.project, *ungit)
    assert found.state == "equal"
    [note] = found.notes
    assert note.startswith("the result was made without git")
    assert note.endswith("the cells and helpers that the record names are the same")
    small.write("lib/tools.py", "def word():\n    return 'two'\n")
    found = rebuild(small.project, *ungit)
    assert found.state == "differs"
    assert found.findings[0].text == "differs at byte 1 of 3"
    assert "code that is not what ran: tools:word" in found.notes
    assert found.conclusion.endswith("all versions are the same; code that differs: tools:word")
    small.write("lib/tools.py", "import gone\n")
    found = rebuild(small.project, *ungit)
    assert found.state == "failed"
    assert str(found.findings[0]) == "cell 2: ModuleNotFoundError: No module named 'gone'"
    small.write("lib/tools.py", "def word():\n    return 'one'\n")


@pytest.mark.slow
def test_of_a_dirty_checkout_cells_are_those_that_ran_and_helpers_the_commits(repository: Workshop) -> None:
    small = repository
    small.notebook("helped.ipynb", "out: str = ''", "from tools import word", WRITE.format("word() + '!'"))
    assert small.caderno("run").code == 0
    small.notebook("helped.ipynb", "out: str = ''", "1 / 0")
    commit = git(small, "rev-parse", "HEAD")[:12]
    found = verified(small, "helped")
    assert found.state == "equal", found
    said = f"the commit {commit} alone does not say what ran: files differed from it"
    assert found.notes == (f"{said}; but the cells and helpers that the record names are the same",)
    small.notebook("helped.ipynb", "out: str = ''", "from tools import word", WRITE.format("word() + '!'"))
    small.write("lib/tools.py", "def word():\n    return 'three'\n")
    assert small.caderno("run").code == 0
    found = verified(small, "helped")
    assert found.state == "differs"
    assert found.notes[:2] == (said, "code that is not what ran: tools:word")
    assert "code that differs: tools:word" in found.conclusion
    assert len(git(small, "worktree", "list").splitlines()) == 1


@pytest.mark.slow
def test_a_link_in_the_commit_leads_no_rebuild_into_the_store(repository: Workshop) -> None:
    """data/ may be on another disk, and the link to it in git."""
    small = repository
    elsewhere = small.root.parent / "elsewhere"
    small.project.data.rename(elsewhere)
    small.project.data.symlink_to(elsewhere)
    small.notebook("helped.ipynb", "out: str = ''", "import os\nprint(os.path.realpath(out))", WRITE.format("'x'"))
    git(small, "add", "-f", "data", "lib", "notebooks")
    git(small, "commit", "-qm", "linked")
    assert small.caderno("run").code == 0
    found = verified(small, "helped")
    assert found.state == "equal"
    note = found.notes[-1]
    assert "cell 2 (import os) prints something else: '…" in note
    assert "elsewhere/.caderno/verify/" in note
