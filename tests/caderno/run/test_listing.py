"""The plain papermill command does what a run does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from workshop import NOTE, Workshop

pytestmark = pytest.mark.kernel

PARAMETERS = """
month: str = "2013-01"
no: str = ""
clock: str = ""
day: "date | None" = None
quote: str = ""
rate: float = 0.5
tiny: float = 0.5
flag: bool = False
nothing: int | None = 3
names: list[str] = []
nested: dict[str, list[float | None]] = {}
untouched: tuple[int, ...] = (1, 2)
made: list[str] = []
written: str = "../data/scratch/written.txt"
"""
VALUES = (
    '{month: 2013-02, no: no, clock: \'12:30\', day: 2013-09-01, quote: "it\'s $HOME `x` \\"ü\\"", rate: 1, tiny: 1e-5,'
    " flag: true, nothing: null, names: [yes, 'null', '010', ''], nested: {a: [1, null], 'b c': []}}"
)
CELL = """
from pathlib import Path
names_of_all = [month, no, clock, day, quote, rate, tiny, flag, nothing, names, nested, untouched]
text = "\\n".join(repr((type(value).__name__, value)) for value in names_of_all)
Path(written).write_text(text + "".join(Path(path).read_text() for path in made))
"""


@dataclass(frozen=True)
class Both:
    """What the engine's notebook wrote, and papermill's."""

    engine: str
    papermill: str
    shop: Workshop


@pytest.fixture(scope="module")
def both(new_shop: Callable[[], Workshop]) -> Both:
    shop = new_shop()
    shop.write("lib/tools/__init__.py", "")
    shop.notebook(
        "make.ipynb",
        "made: str = ''\nmonth: str = ''",
        "from pathlib import Path\nimport tools\nPath(made).write_text(month)",
    )
    shop.notebook("etl/write.ipynb", PARAMETERS, "import tools", CELL)
    shop.pipeline(f"""
        make: {{notebook: make.ipynb, matrix: {{month: [a, b]}}, outputs: {{made: made.txt}}}}
        write:
          notebook: etl/write.ipynb
          inputs: {{made: make.made}}
          outputs: {{written: written.txt}}
          params: {VALUES}
    """)
    done = shop.caderno("run")
    assert done.code == 0, done.out
    command = shop.caderno("show", "write", "--papermill")
    assert command.code == 0, command.out
    assert len(command.out.splitlines()) == 1
    env = shop.environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    plain = subprocess.run(["sh", "-c", command.out], cwd="/", env=env, capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    (written,) = (shop.root / "data/papermill").rglob("written.txt")
    return Both((shop.result("write") / "written.txt").read_text(), written.read_text(), shop)


def test_the_notebook_receives_the_values_that_the_pipeline_gives(both: Both) -> None:
    assert both.engine.splitlines() == [
        "('str', '2013-02')",
        "('str', 'no')",
        "('str', '12:30')",
        "('str', '2013-09-01')",
        """('str', 'it\\'s $HOME `x` "ü"')""",
        "('float', 1.0)",
        "('float', 1e-05)",
        "('bool', True)",
        "('NoneType', None)",
        "('list', ['yes', 'null', '010', ''])",
        "('dict', {'a': [1.0, None], 'b c': []})",
        "('tuple', (1, 2))ab",
    ]


def test_the_printed_papermill_command_does_the_same(both: Both) -> None:
    assert both.papermill == both.engine


def test_the_papermill_command_leaves_the_result_alone(both: Both) -> None:
    assert both.shop.states() == dict.fromkeys(["make[month=a]", "make[month=b]", "write"], "cached")


def test_without_its_inputs_there_is_no_papermill_command(both: Both) -> None:
    (both.shop.root / "data/tiny/make").rename(both.shop.root / "data/away")
    try:
        done = both.shop.caderno("show", "write", "--papermill")
    finally:
        (both.shop.root / "data/away").rename(both.shop.root / "data/tiny/make")
    assert done.code == 2
    assert "the inputs of write are not there yet: upstream make[month=a] and 1 more runs" in done
    assert "run: caderno run write" in done


def test_status_shows_the_last_run(both: Both) -> None:
    done = both.shop.caderno("status", folder="notebooks/etl")
    assert done.code == 0
    assert "tiny: succeeded in " in done
    assert [line.split()[:2] for line in done.out.splitlines()[-3:]] == [
        ["succeeded", task] for task in ("make[month=a]", "make[month=b]", "write")
    ]


def test_a_run_whose_output_nobody_reads_any_more_goes_on_to_its_end(both: Both) -> None:
    both.shop.notebook(
        "make.ipynb", "made: str = ''\nmonth: str = ''", f"{NOTE}\nnote(month)\nPath(made).write_text(month)"
    )
    process = both.shop.start("run", "make")
    assert process.stdout
    process.stdout.close()
    process.wait(60)
    assert process.returncode == 0
    assert sorted(both.shop.calls()) == ["a", "b"]
    assert set(both.shop.run_states().values()) == {"succeeded"}
