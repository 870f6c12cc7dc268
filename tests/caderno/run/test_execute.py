"""What can happen to a notebook while it runs, and that the truth is told about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from workshop import NOTE, Done, Workshop, text

pytestmark = pytest.mark.kernel

OUTPUT = 'made: str = "../data/scratch/made.txt"'
WRITE = "from pathlib import Path\nPath(made).write_text('made')"
AGAIN = f"""{NOTE}
note(name)
from pathlib import Path
if Path("../calls.txt").read_text().split().count(name) < enough:
    raise OSError("not yet")"""

SLOW_ONCE = f"""{NOTE}
note("slow")
import time
if Path("../calls.txt").read_text().split().count("slow") < 2:
    time.sleep(60)"""

# task: its cells after the imports
TASKS = {
    "broken": ["one = 1", "two = [\n    one,\n    1 / 0,  # the place\n]", "three = 3"],
    "exits": ["import sys\nsys.exit(0)", "after = 1"],
    "exits_last": ["import sys\nsys.exit(3)"],
    "vanishes": ["import os\nos._exit(0)", "after = 1"],
    "killed_outside": ["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "after = 1"],
    "segfaults": ["import ctypes\nctypes.string_at(0)", "after = 1"],
    "forgets": ["nothing = 'written'"],
    "no_python": ["this is no Python"],
    "prints_surrogate": ["print('before \\ud800 after')", WRITE],
}
SLOW = {
    "sleeps": ["import time", "time.sleep(60)", "after = 1"],
    "stubborn": ["import signal, time", "signal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)"],
}
LIMIT = 5  # seconds: enough for a kernel to start on a busy machine


@dataclass(frozen=True)
class Ran:
    """The project after its run, and what the run said."""

    shop: Workshop
    done: Done


@pytest.fixture(scope="module")
def ran(new_shop: Callable[[], Workshop]) -> Ran:
    """One run of many tasks that each fail in a way of their own, beside some that don't."""
    shop = new_shop()
    lines = ["good: {notebook: good.ipynb, outputs: {made: made.txt}}"]
    shop.notebook("good.ipynb", OUTPUT, WRITE)
    for name, cells in (TASKS | SLOW).items():
        shop.notebook(f"{name}.ipynb", OUTPUT, text(f"# {name}"), *cells)
        limit = f", timeout: {LIMIT}s" if name in SLOW else ""
        lines.append(f"{name}: {{notebook: {name}.ipynb, outputs: {{made: made.txt}}{limit}}}")
    shop.notebook("after.ipynb", "made: str = ''", "x = 1")
    lines.append("after_broken: {notebook: after.ipynb, inputs: {made: broken.made}}")
    lines.append("after_after_broken: {notebook: after.ipynb, after: [after_broken]}")
    lines.append("after_good: {notebook: after.ipynb, inputs: {made: good.made}}")
    shop.notebook("again.ipynb", "name: str = ''\nenough: int = 2", AGAIN)
    lines.append("second_try: {notebook: again.ipynb, retries: 2, params: {name: second_try}}")
    lines.append("no_try: {notebook: again.ipynb, retries: 1, params: {name: no_try, enough: 9}}")
    shop.notebook("slow_once.ipynb", None, SLOW_ONCE)
    lines.append(f"slow_once: {{notebook: slow_once.ipynb, retries: 1, timeout: {LIMIT}s}}")
    shop.pipeline("\n".join(lines))
    return Ran(shop, shop.caderno("run", "--jobs", "4"))


def test_a_run_in_which_a_task_failed_exits_with_1(ran: Ran) -> None:
    assert ran.done.code == 1, ran.done.out


def test_each_task_is_told_as_it_was(ran: Ran) -> None:
    good = ["good", "after_good", "prints_surrogate", "second_try", "slow_once"]
    states = ran.shop.run_states()
    assert {task for task, state in states.items() if state == "succeeded"} == set(good)
    assert {task for task, state in states.items() if state == "skipped"} == {"after_broken", "after_after_broken"}
    assert set(states.values()) == {"succeeded", "skipped", "failed"}
    assert ran.shop.last_run().state == "failed"


def test_a_skipped_task_says_which_upstream_failed(ran: Ran) -> None:
    why = {task.task: task.why for task in ran.shop.last_run().tasks}
    assert why["after_broken"] == "upstream broken failed"
    assert why["after_after_broken"] == "upstream after_broken skipped"


def test_a_failure_is_shown_with_notebook_cell_source_and_traceback(ran: Ran) -> None:
    # The notebook that people edit: parameters, a heading, "one = 1", and the cell that fails is the fourth.
    shown = ran.done.out[ran.done.out.index("✗ broken failed") :]
    shown = shown[: shown.index("page:")]
    assert "notebooks/broken.ipynb, cell 4" in shown
    assert "1 / 0,  # the place" in shown
    assert "ZeroDivisionError: division by zero" in shown
    assert "data/tiny/broken/failed/report.html" in ran.done


def test_the_last_line_counts_the_tasks_in_each_state(ran: Ran) -> None:
    counts = re.search(r"failed: tiny, (\d+) failed, (\d+) skipped, (\d+) succeeded, in ", ran.done.out)
    assert counts
    assert list(map(int, counts.groups())) == [len(TASKS) - 1 + len(SLOW) + 1, 2, 5]


def test_no_traceback_of_the_engine_is_shown(ran: Ran) -> None:
    assert "caderno/run" not in ran.done
    assert "site-packages/papermill" not in ran.done


def test_a_failed_notebook_is_kept_as_far_as_it_came(ran: Ran) -> None:
    place = ran.shop.result("broken")
    cells = json.loads((place / "notebook.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [bool(cell["execution_count"]) for cell in code] == [True, True, True, True, False]
    assert [output["ename"] for output in code[3]["outputs"]] == ["ZeroDivisionError"]
    assert code[4]["metadata"]["papermill"]["status"] == "pending"
    assert "ZeroDivisionError" in (place / "report.html").read_text()


def test_a_failure_is_recorded_with_its_cell(ran: Ran) -> None:
    failure = ran.shop.outcome("broken")
    assert (failure.kind, failure.message) == ("ZeroDivisionError", "division by zero")
    assert "1 / 0,  # the place" in failure.source
    assert "ZeroDivisionError" in failure.traceback
    assert failure.number == 4


def test_a_failed_task_has_no_result(ran: Ran) -> None:
    assert ran.shop.store.latest("broken") is None
    assert not (ran.shop.root / "data/tiny/broken/latest").exists()
    assert {path.name for path in (ran.shop.root / "data/tiny/broken").iterdir()} == {"failed"}


@pytest.mark.parametrize(
    ("task", "kind", "number"),
    [
        ("exits", "SystemExit", 3),
        ("exits_last", "SystemExit", 3),
        ("vanishes", "dead kernel", 3),
        ("killed_outside", "dead kernel", 3),
        ("segfaults", "dead kernel", 3),
        ("forgets", "missing output", None),
        ("no_python", "SyntaxError", 3),
        ("sleeps", "timeout", 4),
        ("stubborn", "timeout", 4),
        ("no_try", "OSError", 2),
    ],
)
def test_a_task_that_did_not_do_its_work_failed_and_says_how(
    ran: Ran, task: str, kind: str, number: int | None
) -> None:
    failure = ran.shop.outcome(task)
    assert failure.kind == kind
    assert failure.number == number


def test_cells_that_never_ran_are_not_called_completed(ran: Ran) -> None:
    for task in ("exits", "vanishes", "killed_outside", "segfaults", "sleeps"):
        cells = json.loads((ran.shop.result(task) / "notebook.ipynb").read_text())["cells"]
        assert cells[-1]["metadata"]["papermill"]["status"] == "pending", task


@pytest.mark.parametrize(
    ("task", "said"),
    [("segfaults", "SIGSEGV"), ("killed_outside", "SIGKILL"), ("vanishes", "exit code 0")],
)
def test_the_death_of_a_kernel_says_by_what(ran: Ran, task: str, said: str) -> None:
    assert said in ran.shop.outcome(task).message


def test_a_missing_output_is_named(ran: Ran) -> None:
    assert "did not write: made.txt" in ran.shop.outcome("forgets").message
    assert "forgets: missing output: the notebook did not write: made.txt" in ran.done


def test_a_task_that_takes_too_long_is_interrupted_at_its_limit(ran: Ran) -> None:
    record = ran.shop.record("sleeps")
    assert LIMIT <= record.seconds < LIMIT + 6
    assert f"{LIMIT} s" in ran.shop.outcome("sleeps").message
    assert "KeyboardInterrupt" in ran.shop.outcome("sleeps").traceback


def test_a_task_that_ignores_the_interrupt_is_killed_after_a_grace(ran: Ran) -> None:
    assert LIMIT + 10 <= ran.shop.record("stubborn").seconds < LIMIT + 20


def test_a_failed_task_is_tried_again_as_often_as_asked(ran: Ran) -> None:
    assert ran.shop.calls().count("second_try") == 2
    assert ran.shop.calls().count("no_try") == 2


def test_a_second_try_gets_its_whole_time(ran: Ran) -> None:
    assert ran.shop.calls().count("slow") == 2
    assert ran.shop.run_states()["slow_once"] == "succeeded"


def test_a_lone_surrogate_in_an_output_does_no_harm(ran: Ran) -> None:
    place = ran.shop.result("prints_surrogate")
    assert json.loads((place / "notebook.ipynb").read_text(encoding="utf-8"))


def test_mlflow_says_the_same_and_leaves_nothing_running(ran: Ran) -> None:
    status = {run.data.tags["mlflow.runName"]: run.info.status for run in ran.shop.mlflow_runs()}
    assert status.pop(next(name for name in status if name.startswith("tiny "))) == "FAILED"
    for task, state in ran.shop.run_states().items():
        assert status.get(task) == {"succeeded": "FINISHED", "failed": "FAILED", "skipped": None}[state], task


# This run comes after what is said above about the first.


def test_after_a_mended_notebook_only_it_and_its_downstream_run(ran: Ran) -> None:
    shop = ran.shop
    shop.notebook("broken.ipynb", OUTPUT, text("# broken"), WRITE)
    done = shop.caderno("run", "after_after_broken", "good", "after_good")
    assert done.code == 0, done.out
    ran_now = {task: state for task, state in shop.run_states().items() if state != "cached"}
    assert ran_now == dict.fromkeys(("broken", "after_broken", "after_after_broken"), "succeeded")
    assert shop.store.failed("broken") is None


def test_a_notebook_that_does_not_say_its_kernel_runs_in_python(shop: Workshop) -> None:
    path = shop.notebook("one.ipynb", "x: int = 1", "x + 1")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"metadata": {}}))
    shop.pipeline("one: {notebook: one.ipynb}")
    done = shop.caderno("run")
    assert done.code == 0, done.out
