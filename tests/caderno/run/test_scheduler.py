from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from remotes import Shared, settled
from workshop import NOTE, NewShop, Workshop, record, until

from caderno.events import Event, TaskCached, TaskFailed, TaskFetched, TaskFinished, TaskSkipped, TasksUnfolded
from caderno.plan import digests
from caderno.plan.planner import Planned, Planner, Resolved
from caderno.plan.records import Failure, Output, TaskRecord
from caderno.remote import Elsewhere
from caderno.run.fetching import fetch
from caderno.run.kernels import KernelControl
from caderno.run.outcomes import Done, Outcomes
from caderno.run.scheduler import Scheduler
from caderno.run.stop import Stop
from caderno.spec import Task

Act = Callable[[Task, KernelControl], str]  # what a task does; returns the content of its output, "" for a failure


class Bench:
    """A scheduler at work on tasks that are functions instead of notebooks; the store is the real one."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.stop = Stop()
        self.events: list[Event] = []
        self.began: list[str] = []
        self.most = self.now = 0
        self._lock = threading.Lock()

    def run(
        self,
        act: Act = lambda task, control: "made",
        jobs: int = 2,
        fail_fast: bool = False,
        force: bool = False,
        remote: Elsewhere | None = None,
    ) -> dict[str, str]:
        """Run all tasks and return how each ended."""
        planner = Planner(self.shop.project, self.shop.load(), remote=remote)
        outcomes = Outcomes("a-run", planner, [self.events.append])

        def work(task: Task, resolved: Resolved, why: str, control: KernelControl) -> Done:
            with self._lock:
                self.began.append(task.id)
                self.now += 1
                self.most = max(self.most, self.now)
            try:
                content = act(task, control)
            finally:
                with self._lock:
                    self.now -= 1
            return *self.commit(task, resolved, content), "computed"

        def bring(planned: Planned, control: KernelControl) -> Done | None:
            assert remote
            assert planned.resolved
            return fetch(planner.store, remote, planned.task, planned.resolved, lambda: control.reason is not None)

        plan = planner.plan(force=force)
        Scheduler(planner, outcomes, work, jobs, fail_fast, self.stop, bring).run(plan)
        return {left.task: left.state for left in outcomes.left.values()}

    def commit(self, task: Task, resolved: Resolved, content: str) -> tuple[TaskRecord, Path]:
        store = self.shop.store
        staged = store.stage(task.folder, resolved.fingerprint)
        outputs = {}
        for name, path in task.outputs.items():
            (staged / path).write_text(content)
            digest, size = digests.of_path(staged / path)
            outputs[name] = Output(path=path, digest=digest, size=size)
        made = record(
            task=task.id,
            state="succeeded" if content else "failed",
            failure=None if content else Failure(kind="ValueError", message="no"),
            fingerprint=resolved.fingerprint,
            params=dict(task.params),
            inputs=resolved.inputs,
            outputs=outputs,
            code=resolved.code,
        )
        return made, store.commit(staged, made)


@pytest.fixture
def bench(shop: Workshop) -> Bench:
    """a → b → c, a → d, and e alone."""
    for name in "abcde":
        shop.notebook(f"{name}.ipynb", "source: str = ''\nmade: str = ''", f"x = '{name}'")
    shop.pipeline("""
        a: {notebook: a.ipynb, outputs: {made: made.txt}}
        b: {notebook: b.ipynb, inputs: {source: a.made}, outputs: {made: made.txt}}
        c: {notebook: c.ipynb, inputs: {source: b.made}}
        d: {notebook: d.ipynb, inputs: {source: a.made}}
        e: {notebook: e.ipynb}
    """)
    return Bench(shop)


def fails(*names: str) -> Act:
    return lambda task, control: "" if task.id in names else "made"


def test_each_task_runs_once_and_after_its_upstream(bench: Bench) -> None:
    assert bench.run() == dict.fromkeys("abcde", "succeeded")
    assert sorted(bench.began) == list("abcde")
    assert bench.began.index("a") < bench.began.index("b") < bench.began.index("c")
    assert bench.began.index("a") < bench.began.index("d")


def test_what_does_not_depend_on_a_failure_still_runs(bench: Bench) -> None:
    assert bench.run(fails("b")) == {
        "a": "succeeded",
        "b": "failed",
        "c": "skipped",
        "d": "succeeded",
        "e": "succeeded",
    }


def test_all_that_hangs_on_a_failure_is_skipped(bench: Bench) -> None:
    assert bench.run(fails("a")) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "skipped", "e": "succeeded"}
    why = {event.task: event.why for event in bench.events if isinstance(event, TaskSkipped)}
    assert why == {"b": "upstream a failed", "c": "upstream b skipped", "d": "upstream a failed"}


def test_fail_fast_starts_nothing_after_the_first_failure(bench: Bench) -> None:
    states = bench.run(fails("a"), jobs=1, fail_fast=True)
    assert states.pop("a") == "failed"
    assert set(states.values()) <= {"skipped", "succeeded"}
    assert bench.began[-1] == "a"


def test_an_upstream_that_gives_the_same_leaves_its_downstream_alone(bench: Bench) -> None:
    bench.run()
    bench.shop.notebook("a.ipynb", "source: str = ''\nmade: str = ''", "x = 'other'")
    assert bench.run() == {"a": "succeeded"} | dict.fromkeys("bcde", "cached")
    assert [event.task for event in bench.events if isinstance(event, TaskFinished)][-1] == "a"


def test_an_upstream_that_gives_something_else_runs_its_downstream(bench: Bench) -> None:
    bench.run()
    bench.shop.notebook("a.ipynb", "source: str = ''\nmade: str = ''", "x = 'other'")
    states = bench.run(lambda task, control: "changed" if task.id == "a" else "made")
    assert states == {"a": "succeeded", "b": "succeeded", "c": "cached", "d": "succeeded", "e": "cached"}


def test_force_reaches_tasks_whose_upstream_gives_the_same(bench: Bench) -> None:
    bench.run()
    assert bench.run(force=True) == dict.fromkeys("abcde", "succeeded")


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_no_more_tasks_run_at_once_than_jobs(shop: Workshop, jobs: int) -> None:
    shop.notebook("one.ipynb", "n: int = 1", "x = 1")
    shop.pipeline("one: {notebook: one.ipynb, matrix: {n: [1, 2, 3, 4, 5, 6]}}")
    bench = Bench(shop)
    together = threading.Barrier(jobs, timeout=10)  # each waits for its fellows: fewer at once would break it

    def act(task: Task, control: KernelControl) -> str:
        together.wait()
        return "made"

    assert set(bench.run(act, jobs).values()) == {"succeeded"}
    assert bench.most == jobs


def test_a_task_whose_worker_raises_is_lost_and_the_others_go_on(bench: Bench) -> None:
    def act(task: Task, control: KernelControl) -> str:
        if task.id == "a":
            raise OSError("no space left on device")
        return "made"

    assert bench.run(act) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "skipped", "e": "succeeded"}
    (failed,) = [event for event in bench.events if isinstance(event, TaskFailed)]
    assert "no space left on device" in failed.error


def test_a_signal_stops_what_runs_and_skips_the_rest(bench: Bench) -> None:
    def act(task: Task, control: KernelControl) -> str:
        if task.id == "a":
            bench.stop(15, None)
            for _ in range(100):
                if control.reason:
                    return ""
                time.sleep(0.05)
        return "made"

    states = bench.run(act, jobs=1)
    assert states["a"] == "failed"  # as this work calls it
    assert {states[name] for name in "bcd"} == {"skipped"}


def test_cached_tasks_are_told_too(bench: Bench) -> None:
    bench.run()
    bench.events.clear()
    bench.run()
    assert sorted(event.task for event in bench.events if isinstance(event, TaskCached)) == list("abcde")
    assert {type(event) for event in bench.events} == {TaskCached}


@pytest.mark.kernel
def test_two_kernels_run_at_the_same_time(shop: Workshop) -> None:
    """Each waits for the other's sign: one after the other, neither would end."""
    shop.notebook("meet.ipynb", "me: str = ''", f"{NOTE}\nimport time\nnote(me)", """
        end = time.monotonic() + 60
        while set(Path("../calls.txt").read_text().split()) != {"x", "y"}:
            assert time.monotonic() < end, "nobody came"
            time.sleep(0.02)
    """.replace("\n        ", "\n"))  # fmt: skip
    shop.pipeline("meet: {notebook: meet.ipynb, matrix: {me: [x, y]}}")
    done = shop.caderno("run", "--jobs", "2")
    assert done.code == 0, done.out


@pytest.fixture
def folding(shop: Workshop) -> Bench:
    """folds gives the values of train's axis; score takes one model each, join all of them."""
    shop.notebook("folds.ipynb", "made: str = ''", "x = 1")
    shop.notebook("train.ipynb", "fold: int = 0\nmade: str = ''", "x = 2")
    shop.notebook("score.ipynb", "fold: int = 0\nsource: str = ''\nmade: str = ''", "x = 3")
    shop.notebook("join.ipynb", "sources: list[str] = []\nmade: str = ''", "x = 4")
    shop.pipeline("""
        folds: {notebook: folds.ipynb, outputs: {made: folds.json}}
        train: {notebook: train.ipynb, matrix: {fold: {from: folds.made}}, outputs: {made: made.txt}}
        score:
          notebook: score.ipynb
          matrix: {fold: {from: folds.made}}
          inputs: {source: train.made}
          outputs: {made: made.txt}
        join: {notebook: join.ipynb, inputs: {sources: score.made}, outputs: {made: made.txt}}
    """)
    return Bench(shop)


def gives(values: str) -> Act:
    return lambda task, control: values if task.id == "folds" else task.id


def test_a_matrix_is_unfolded_when_the_output_with_its_values_is_there(folding: Bench) -> None:
    assert set(folding.shop.states()) == {"folds", "train[fold=?]", "score[fold=?]", "join"}
    many = [f"{name}[fold={fold}]" for name in ("train", "score") for fold in (1, 2, 3)]
    assert folding.run(gives("[1, 2, 3]")) == dict.fromkeys(["folds", *many, "join"], "succeeded")
    told = [event for event in folding.events if isinstance(event, TasksUnfolded)]
    assert [(one.task, set(one.tasks), set(one.instead_of)) for one in told] == [
        ("folds", set(many), {"train[fold=?]", "score[fold=?]"})
    ]
    assert folding.shop.record("score[fold=2]").inputs["source"][0].task == "train[fold=2]"
    assert [one.task for one in folding.shop.record("join").inputs["sources"]] == [
        f"score[fold={fold}]" for fold in (1, 2, 3)
    ]


def test_values_that_are_there_unfold_the_plan_and_new_ones_run_alone(folding: Bench) -> None:
    folding.run(gives("[1, 2]"))
    assert set(folding.run().values()) == {"cached"}
    folding.shop.notebook("folds.ipynb", "made: str = ''", "x = 10")
    states = folding.run(gives("[2, 3]"))
    assert states == {
        "folds": "succeeded",
        "train[fold=2]": "cached",
        "train[fold=3]": "succeeded",
        "score[fold=2]": "cached",
        "score[fold=3]": "succeeded",
        "join": "succeeded",
    }


def test_a_source_that_turns_out_the_same_unfolds_its_matrices_too(folding: Bench) -> None:
    path = folding.shop.root / "params/tiny.yaml"
    text = path.read_text().replace("tasks:\n", "tasks:\n  first: {notebook: train.ipynb, outputs: {made: m}}\n")
    path.write_text(text.replace("{notebook: folds.ipynb,", "{notebook: folds.ipynb, inputs: {source: first.made},"))
    folding.shop.notebook("folds.ipynb", "source: str = ''\nmade: str = ''", "x = 1")
    first = folding.run(gives("[1, 2]"))
    assert set(first.values()) == {"succeeded"}
    folding.shop.notebook("train.ipynb", "fold: int = 0\nmade: str = ''", "x = 20")
    states = folding.run(gives("[1, 2]"))
    assert states.keys() == first.keys()
    assert states["folds"] == states["join"] == "cached"
    assert states["first"] == states["train[fold=1]"] == "succeeded"


def test_force_runs_the_unfolded_tasks_too(folding: Bench) -> None:
    folding.run(gives("[1, 2]"))
    assert set(folding.run(gives("[1, 2]"), force=True).values()) == {"succeeded"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("nonsense", "Expecting value"),
        ("[]", "at least 1 item"),
        ("[1, 1]", "stands twice"),
        ("[[1]]", "item 0"),
        ('["a"]', "'fold'"),
        ("[NaN]", "NaN is no value"),
    ],
)
def test_values_that_do_not_do_fail_the_matrix_alone(folding: Bench, values: str, said: str) -> None:
    states = folding.run(gives(values))
    assert states == {"folds": "succeeded", "train[fold=?]": "failed", "score[fold=?]": "failed", "join": "skipped"}
    failures = [event for event in folding.events if isinstance(event, TaskFailed)]
    assert all(said in one.error and not one.traceback for one in failures)


def test_a_task_takes_as_many_workers_as_it_has_cpus_and_too_many_run_alone(bench: Bench) -> None:
    bench.shop.pipeline("""
        big: {notebook: a.ipynb, cpus: 9}
        b: {notebook: b.ipynb, cpus: 2}
        c: {notebook: c.ipynb}
        d: {notebook: d.ipynb}
        e: {notebook: e.ipynb}
    """)
    cpus = {"big": 9, "b": 2}
    taken: list[int] = []
    now: list[int] = []

    def act(task: Task, control: KernelControl) -> str:
        now.append(min(cpus.get(task.id, 1), 3))
        taken.append(sum(now))
        time.sleep(0.05)
        now.remove(min(cpus.get(task.id, 1), 3))
        return "made"

    assert set(bench.run(act, jobs=3).values()) == {"succeeded"}
    assert max(taken) == 3
    assert bench.most <= 3


def test_no_more_of_a_resource_is_taken_than_there_is(bench: Bench) -> None:
    bench.shop.pipeline(
        """
        a: {notebook: a.ipynb, resources: {gpu: 1}}
        b: {notebook: b.ipynb, resources: {gpu: 1}}
        c: {notebook: c.ipynb, resources: {gpu: 1}}
        d: {notebook: d.ipynb}
        """,
        head="resources: {gpu: 1}\n",
    )
    on_gpu: list[str] = []
    most: list[int] = []
    beside = threading.Barrier(2, timeout=10)  # the first on the GPU waits for the task that needs none

    def act(task: Task, control: KernelControl) -> str:
        if task.id == "d":
            beside.wait()
        else:
            on_gpu.append(task.id)
            most.append(len(on_gpu))
            beside.wait() if len(most) == 1 else time.sleep(0.05)
            on_gpu.remove(task.id)
        return "made"

    assert set(bench.run(act, jobs=4).values()) == {"succeeded"}
    assert most == [1, 1, 1]
    assert bench.most == 2


@pytest.fixture
def shared(bench: Bench, new_shop: NewShop, tmp_path: Path) -> Shared:
    """A folder in which another machine has left all results of the bench's tasks but e's."""
    found = Shared(str(tmp_path), {})
    other = new_shop()
    for name in ("notebooks", "params"):
        shutil.copytree(bench.shop.root / name, other.root / name, dirs_exist_ok=True)
    for place, made in settled(other, b""):
        if made.task != "e":
            found.elsewhere(other).push(place, made, lambda: False)
    return found


def test_what_is_fetched_takes_no_processor(bench: Bench, shared: Shared) -> None:
    fetched = threading.Event()

    def act(task: Task, control: KernelControl) -> str:
        until(lambda: bench.shop.finished("c"), 30, "what can be fetched waits for a processor")
        fetched.set()
        return "made"

    states = bench.run(act, jobs=1, remote=shared.elsewhere(bench.shop))
    assert states == {"a": "fetched", "b": "fetched", "c": "fetched", "d": "fetched", "e": "succeeded"}
    assert bench.began == ["e"]


def test_what_can_not_be_fetched_is_computed_and_what_was_planned_by_it_is_looked_at_anew(
    bench: Bench, shared: Shared, tmp_path: Path
) -> None:
    (parcel,) = tmp_path.glob("*/a/*.json")
    for file in parcel.with_suffix("").iterdir():
        file.write_bytes(b"damaged")
    states = bench.run(lambda task, control: "other", remote=shared.elsewhere(bench.shop))
    assert states == dict.fromkeys("abcde", "succeeded")
    assert bench.shop.record("b").inputs["source"][0].digest == bench.shop.record("a").outputs["made"].digest
    assert [event.task for event in bench.events if isinstance(event, TaskFetched)] == []
