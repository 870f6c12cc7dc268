"""One run after another on one project: what runs, what is reused, what is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from workshop import NOTE, Done, Workshop, ended, until

from caderno.plan.records import RunRecord

pytestmark = pytest.mark.kernel

MAKE = 'month: str = "a"\nseed: int = 1\nmade: str = "../data/scratch/made.txt"'
MAKE_CELL = f"""{NOTE}
from tools.words import word
note(f"make-{{month}}-{{seed}}")
Path(made).write_text(f"{{word()}} {{month}} {{seed}}")"""
JOIN = 'made: list[str] = []\njoined: str = "../data/scratch/joined.txt"'
JOIN_CELL = f"""{NOTE}
note("join")
Path(joined).write_text("\\n".join(Path(path).read_text() for path in made))"""
PIPELINE = """
make: {notebook: etl/make.ipynb, matrix: {month: [a, b]}, outputs: {made: made.txt}}
join: {notebook: join.ipynb, inputs: {made: make.made}, outputs: {joined: joined.txt}}
other: {notebook: other.ipynb, on_request: true}
"""
SAME = "def word():\n    return 'w' + 'ord'  # the same, by other code\n"


@dataclass(frozen=True)
class Step:
    """One `caderno run`: what it said, what it recorded (None: nothing new), which cells noted themselves."""

    done: Done
    run: RunRecord | None
    calls: list[str]

    @property
    def states(self) -> dict[str, str]:
        assert self.run
        return {task.task: task.state for task in self.run.tasks}


@dataclass(frozen=True)
class Story:
    shop: Workshop
    steps: dict[str, Step]


@pytest.fixture(scope="module")
def story(new_shop: Callable[[], Workshop]) -> Story:
    """Several runs of one project; each step's name says what was changed or asked before it."""
    shop = new_shop()
    shop.write("lib/tools/__init__.py", "")
    shop.write("lib/tools/words.py", "def word():\n    return 'word'\n")
    shop.notebook("etl/make.ipynb", MAKE, MAKE_CELL.replace('".."', '"..", ".."'))
    shop.notebook("join.ipynb", JOIN, JOIN_CELL)
    shop.notebook("other.ipynb", None, f"{NOTE}\nnote('other')")
    shop.pipeline(PIPELINE)
    shop.write("params/profiles/small.yaml", "tasks: {make: {matrix: {month: [b]}}}")
    steps: dict[str, Step] = {}

    def step(name: str, *arguments: str, folder: str = ".") -> None:
        before, calls = shop.store.last_run(), len(shop.calls())
        done = shop.caderno("run", *arguments, folder=folder)
        after = shop.store.last_run()
        steps[name] = Step(done, after if after != before else None, sorted(shop.calls()[calls:]))

    step("first", folder="notebooks/etl")
    step("nothing changed", folder="lib/tools")
    step("profile", "--profile", "small")
    step("profile again", "--profile", "small")
    step("back to all")
    step("parameter", "join", "other", "-p", "make.seed=7")
    shop.write("lib/tools/words.py", SAME)
    step("helper gives the same", "--quiet")
    step("forced one", "join", "--force")
    step("forced all", "--force", "--jobs", "1")
    return Story(shop, steps)


ALL = ["make[month=a]", "make[month=b]", "join"]


def test_every_run_succeeded(story: Story) -> None:
    assert {name: step.done.code for name, step in story.steps.items()} == dict.fromkeys(story.steps, 0)


def test_the_first_run_runs_all_but_what_runs_on_request(story: Story) -> None:
    first = story.steps["first"]
    assert first.states == dict.fromkeys(ALL, "succeeded")
    assert first.calls == ["join", "make-a-1", "make-b-1"]
    assert "3 of 3 tasks to run" in first.done
    assert "succeeded: tiny, 3 succeeded" in first.done


def test_a_second_run_runs_nothing_and_leaves_no_trace(story: Story) -> None:
    second = story.steps["nothing changed"]
    assert second.calls == []
    assert second.run is None
    assert "nothing to run: tiny, 3 cached" in second.done
    assert second.done.seconds < story.steps["first"].done.seconds / 2


def test_a_profiles_run_reuses_what_is_equal(story: Story) -> None:
    step = story.steps["profile"]
    assert step.states == {"make[month=b]": "cached", "join": "succeeded"}
    assert step.calls == ["join"]
    assert step.run
    assert step.run.profile == "small"
    assert step.run.command == "caderno run --profile small"


def test_going_between_profiles_runs_nothing(story: Story) -> None:
    assert story.steps["profile again"].calls == []
    assert story.steps["back to all"].calls == []


def test_a_parameter_from_the_command_line_runs_what_it_changes(story: Story) -> None:
    step = story.steps["parameter"]
    assert step.states == dict.fromkeys([*ALL, "other"], "succeeded")
    assert step.calls == ["join", "make-a-7", "make-b-7", "other"]
    assert step.run
    assert {task.task: task.why for task in step.run.tasks}["make[month=a]"] == "parameter seed 1 → 7"


def test_a_changed_helper_that_gives_the_same_does_not_run_downstream(story: Story) -> None:
    step = story.steps["helper gives the same"]
    assert step.states == {"make[month=a]": "succeeded", "make[month=b]": "succeeded", "join": "cached"}
    assert step.calls == ["make-a-1", "make-b-1"]


def test_quiet_prints_two_lines(story: Story) -> None:
    lines = story.steps["helper gives the same"].done.out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("succeeded: tiny, 2 succeeded, 1 cached")
    assert lines[1] == "report: reports/index.html"


def test_force_runs_the_named_task_and_reuses_its_upstream(story: Story) -> None:
    step = story.steps["forced one"]
    assert step.states == {"make[month=a]": "cached", "make[month=b]": "cached", "join": "succeeded"}
    assert step.calls == ["join"]


def test_force_runs_all_even_where_upstream_gives_the_same(story: Story) -> None:
    step = story.steps["forced all"]
    assert step.states == dict.fromkeys(ALL, "succeeded")
    assert step.calls == ["join", "make-a-1", "make-b-1"]


def test_outputs_go_from_task_to_task_in_the_matrixs_order(story: Story) -> None:
    assert (story.shop.root / "data/tiny/join/latest/joined.txt").read_text() == "word a 1\nword b 1"


def test_latest_leads_to_what_the_last_run_used(story: Story) -> None:
    made = story.shop.root / "data/tiny/make/month=a/latest"
    assert (made / "made.txt").read_text() == "word a 1"
    assert (made / "task.json").exists()


def test_a_result_is_whole(story: Story) -> None:
    place = story.shop.result("join")
    assert {path.name for path in place.iterdir()} == {
        "joined.txt",
        "log.txt",
        "notebook.ipynb",
        "report.html",
        "task.json",
    }
    record = story.shop.record("join")
    assert [item.task for item in record.inputs["made"]] == ["make[month=a]", "make[month=b]"]
    assert record.outputs["joined"].size == len("word a 1\nword b 1")
    assert all(cell.seconds >= 0 for cell in record.cells)
    assert len(record.cells) == 3  # parameters, what was injected, the cell


def test_nothing_is_left_over(story: Story) -> None:
    left = [path for path in (story.shop.root / "data").rglob("*") if path.name.endswith((".part", ".old", ".tmp"))]
    assert left == []
    assert list((story.shop.root / "data/.caderno/runs").iterdir()) == []
    assert not (story.shop.root / "data/scratch").exists()


def test_the_source_notebook_is_never_written(story: Story) -> None:
    content = json.loads((story.shop.root / "notebooks/join.ipynb").read_text())
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in content["cells"])


def test_the_runs_page_and_the_tasks_pages_are_there(story: Story) -> None:
    page = (story.shop.root / "reports/index.html").read_text()
    assert all(task in page for task in ALL)


# Runs that meet each other, or that are met by an editor.


@pytest.fixture
def waits(shop: Workshop) -> Workshop:
    """A task that waits, once started, until the file `go` is there."""
    shop.write("lib/tools/__init__.py", "x = 1\n")
    shop.notebook(
        "slow.ipynb",
        None,
        f"{NOTE}\nimport time, tools\nnote('slow')",
        "while not Path('../go').exists():\n    time.sleep(0.02)",
    )
    shop.notebook("fast.ipynb", None, f"{NOTE}\nnote('fast')")
    shop.pipeline("slow: {notebook: slow.ipynb}\nfast: {notebook: fast.ipynb, after: [slow]}")
    return shop


def test_of_two_runs_that_want_the_same_task_one_runs_it(waits: Workshop) -> None:
    runs = [waits.start("run", "slow"), waits.start("run")]
    until(lambda: waits.calls() == ["slow"], what="no cell ran")
    until(lambda: len(list((waits.root / "data/.caderno/runs").glob("*.jsonl"))) == 2, what="no second run")
    waits.write("go", "")
    one, two = (ended(run) for run in runs)
    assert (one.code, two.code) == (0, 0), one.out + two.out
    assert waits.calls() == ["slow", "fast"]
    assert "succeeded" in two


def test_a_run_that_waits_for_anothers_task_can_be_stopped(waits: Workshop) -> None:
    first = waits.start("run", "slow")
    until(lambda: waits.calls() == ["slow"], what="no cell ran")
    second = waits.start("run", "slow")
    until(lambda: len(list((waits.root / "data/.caderno/runs").glob("*.jsonl"))) == 2, what="no second run")
    second.send_signal(2)
    done = ended(second, 15)
    assert done.code == 130, done.out
    assert first.poll() is None
    waits.write("go", "")
    assert ended(first).code == 0


def test_a_helper_edited_while_the_run_is_on_fails_the_task_which_says_so(waits: Workshop) -> None:
    run = waits.start("run")
    until(lambda: waits.calls() == ["slow"], what="no cell ran")
    waits.write("lib/tools/__init__.py", "x = print(2)\n")
    waits.write("go", "")
    done = ended(run)
    assert done.code == 1
    assert "tools changed while the task ran" in done
    assert waits.run_states() == {"slow": "failed", "fast": "skipped"}
    again = waits.caderno("run")
    assert again.code == 0, again.out
    assert waits.calls() == ["slow", "slow", "fast"]


def test_a_notebook_edited_while_the_run_is_on_is_run_as_it_was_planned(waits: Workshop) -> None:
    run = waits.start("run")
    until(lambda: waits.calls() == ["slow"], what="no cell ran")
    waits.notebook("fast.ipynb", None, f"{NOTE}\nnote('edited')")
    waits.write("go", "")
    assert ended(run).code == 0
    assert waits.calls() == ["slow", "fast"]
    assert waits.states() == {"slow": "cached", "fast": "run"}


def test_fail_fast_starts_nothing_after_a_failure(shop: Workshop) -> None:
    shop.notebook("bad.ipynb", None, "1 / 0")
    shop.notebook("fine.ipynb", None, f"{NOTE}\nnote('fine')")
    shop.pipeline("bad: {notebook: bad.ipynb}\nfine: {notebook: fine.ipynb}")
    done = shop.caderno("run", "--fail-fast", "--jobs", "1")
    assert done.code == 1
    assert shop.run_states() == {"bad": "failed", "fine": "skipped"}
    assert "skipped  fine: stopped at the first failure" in done
    assert shop.calls() == []


def test_a_kernel_that_is_not_installed_is_told_before_anything_starts(shop: Workshop) -> None:
    shop.notebook("one.ipynb", None, "x = 1", kernel="pyton3")
    shop.pipeline("one: {notebook: one.ipynb}")
    done = shop.caderno("run")
    assert done.code == 2
    assert "notebooks/one.ipynb: asks for the kernel 'pyton3', which is not installed" in done
    assert "did you mean 'python3'?" in done
    assert not (shop.root / "mlflow.db").exists()
