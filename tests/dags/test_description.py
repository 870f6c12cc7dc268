"""What pipeline files say to Airflow, read without it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from caderno.spec import file, yaml
from caderno_airflow import description, documents
from caderno_airflow.description import Pipeline, Schedule
from caderno_airflow.documents import Invalid

HEAD = "name: small\nschedule: '@daily'\n"


def read(folder: Path, text: str, name: str = "small") -> Pipeline | None:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return description.read(path, f"params/{name}.yaml")


def problems(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(Invalid) as caught:
        read(folder, text)
    return caught.value.problems


def a(keys: str, other: str = "notebook: b.ipynb") -> str:
    return f"tasks:\n  a: {{{keys}}}\n  b: {{{other}}}\n"


def scheduled(schedule: str) -> str:
    return f"name: small\nschedule: {schedule}\n{a('notebook: a.ipynb')}"


def test_the_keys_are_those_of_the_engine() -> None:
    assert file.PipelineFile.model_fields.keys() == description.PIPELINE_KEYS
    assert file.TaskFile.model_fields.keys() == description.TASK_KEYS
    assert file.ScheduleFile.model_fields.keys() == description.SCHEDULE_KEYS


@pytest.mark.parametrize(
    "scalar",
    [
        "no",
        "2013-10-01",
        "12:30",
        "010",
        "1e-5",
        "0x1f",
        "0o17",
        "~",
        "",
        "True",
        ".inf",
        "+1",
        "-.5",
        "on",
        "'1'",
        "1_000",
    ],
)
def test_scalars_are_read_as_the_engine_reads_them(tmp_path: Path, scalar: str) -> None:
    (tmp_path / "x.yaml").write_text(f"x: {scalar}\n")
    found = documents.load(tmp_path / "x.yaml", "x.yaml")["x"]
    expected = yaml.scalar(scalar)
    assert (found, type(found)) == (expected, type(expected))


def test_a_file_without_a_schedule_is_no_dag(tmp_path: Path) -> None:
    assert read(tmp_path, "name: small\ntasks: {a: {notebook: a.ipynb, unknown: 1}}\n") is None


def test_all_that_a_dag_is_made_of_is_read(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        """
name: small
description: What for?
owner: team
tags: [one, 2]
params: {seed: 42, since: 2013-10-01, deep: {x: [no]}}
schedule: {cron: 0 6 * * *, timezone: America/New_York, start: 2013-10-01, end: 2013-10-31, catchup: true,
           active_runs: 2, profile: smoke}
tasks:
  a: {notebook: a.ipynb, outputs: {x: x.txt}, retries: 2, timeout: 20m, cpus: 3, queue: gpu, pool: database}
  b: {notebook: b.ipynb, matrix: {n: [1, 2]}, inputs: {x: a.x, y: "file:a.txt", z: ["https://x.org/a.b", "previous:o"]}}
  c: {notebook: c.ipynb, matrix: {fold: {from: a.x}}, after: [b]}
""",
    )
    assert pipeline
    assert pipeline.schedule == Schedule(
        "0 6 * * *", "America/New_York", date(2013, 10, 1), date(2013, 10, 31), True, 2, "smoke"
    )
    assert (pipeline.description, pipeline.owner, pipeline.tags) == ("What for?", "team", ("one", "2"))
    assert pipeline.params == {"seed": 42, "since": "2013-10-01", "deep": {"x": ["no"]}}
    assert type(pipeline.params["deep"]) is dict
    tasks = pipeline.tasks
    assert list(tasks) == ["a", "b", "c"]
    assert (tasks["a"].retries, tasks["a"].timeout, tasks["a"].cpus) == (2, 1200.0, 3)
    assert (tasks["a"].queue, tasks["a"].pool, tasks["a"].mapped) == ("gpu", "database", False)
    assert {name: (task.upstream, task.mapped) for name, task in tasks.items() if name != "a"} == {
        "b": (("a",), True),
        "c": (("a", "b"), True),
    }
    assert pipeline.delivers == ()


def test_tasks_on_request_are_left_out_unless_another_needs_them(tmp_path: Path) -> None:
    pipeline = read(
        tmp_path,
        HEAD
        + """
tasks:
  search: {notebook: s.ipynb, on_request: true}
  base: {notebook: b.ipynb, on_request: true, outputs: {x: x}}
  use: {notebook: u.ipynb, inputs: {x: base.x}}
""",
    )
    assert pipeline
    assert list(pipeline.tasks) == ["base", "use"]


def test_only_an_automatic_delivery_is_a_task(tmp_path: Path) -> None:
    rest = """
gate: {candidates: train.model, test: data.test, outcome: y, metric: brier}
tasks: {data: {notebook: d.ipynb}, train: {notebook: t.ipynb}}
"""
    manual, automatic = read(tmp_path, HEAD + rest), read(tmp_path, HEAD + "delivery: automatic" + rest)
    assert manual
    assert automatic
    assert (manual.delivers, automatic.delivers) == ((), ("train", "data"))
    asking = read(tmp_path, HEAD + "delivery: automatic" + rest.replace("gate: {", "gate: {approvals: 2, "))
    assert asking
    assert (automatic.approvals, asking.approvals) == (0, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [\n", "params/small.yaml:2: not valid YAML"),
        ("- a\n", "params/small.yaml:1: a pipeline file must be a mapping"),
        ("name: a\nname: b\n", "params/small.yaml:2: key 'name' stands twice, first in line 1"),
        ("a: !!python/object:os.system x\n", "params/small.yaml:1: the tag"),
        ("a: &a [*a]\n", "params/small.yaml:1"),
        (HEAD.replace("small", "other"), "params/small.yaml:1: is named 'other', its file small.yaml"),
        (HEAD, "params/small.yaml:1: a pipeline needs tasks"),
        (HEAD + a("notebook: a.ipynb, retires: 1"), "4: unknown key 'retires' in tasks.a; did you mean 'retries'?"),
        (HEAD + a("notebook: a.ipynb, retries: -1"), "4: retries must be a whole number, at least 0"),
        (HEAD + a("notebook: a.ipynb, timeout: soon"), "4: timeout: a duration is a number with a unit"),
        (HEAD + a("notebook: a.ipynb, inputs: {x: bb.y}"), "4: there is no task 'bb'; did you mean 'b'?"),
        (HEAD + a("notebook: a.ipynb, after: [b]", "after: [a]"), "tasks wait for each other"),
        (scheduled("{timezone: Mars, cron: '@daily'}"), "2: there is no time zone 'Mars'"),
        (scheduled("{timezone: UTC}"), "2: schedule.cron is missing"),
        (scheduled("{cron: '@daily', start: soon}"), "2: 'soon' is no day such as 2013-11-05"),
        (scheduled("{cron: '@daily', catchup: no}"), "2: catchup must be true or false, not 'no'"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    assert said in "\n".join(problems(tmp_path, text))


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = HEAD + "ownr: x\ntasks:\n  a: {notebook: 1, cpus: 0}\n"
    assert [one.partition(": ")[0] for one in problems(tmp_path, text)] == [
        "params/small.yaml:3",
        "params/small.yaml:5",
        "params/small.yaml:5",
    ]
