from __future__ import annotations

import pytest
from workshop import PIPELINE, Workshop

from caderno import spec
from caderno.errors import CadernoError, InvalidPipeline, UnknownName
from caderno.spec import FromFile, FromPrevious, FromTask, FromUrl

MAKE = """
seed: int = 1
month: str = "2013-01"
source: str | None = None
made: str = "made.txt"
"""
USE = """
made: str | list[str] = ""
rate: float = 0.5
used: str = "used.txt"
"""


@pytest.fixture
def two(shop: Workshop) -> Workshop:
    """Two notebooks: `make` and, downstream, `use`."""
    shop.notebook("make.ipynb", MAKE, "x = 1")
    shop.notebook("use.ipynb", USE, "x = 1")
    return shop


def problems(shop: Workshop, tasks: str, head: str = "", profile: str | None = None, *p: tuple[str, str]) -> str:
    """Return what is said against the pipeline; each place is a file of the project or the command line."""
    shop.pipeline(tasks, head)
    with pytest.raises(CadernoError) as caught:
        shop.load(profile, *p)
    assert caught.value.exit_code == 2
    return str(caught.value)


GOOD = """
make: {notebook: make.ipynb, outputs: {made: made.txt}}
use:
  notebook: use.ipynb
  inputs: {made: make.made}
  outputs: {used: used.txt}
"""


def test_a_task_gets_its_notebooks_defaults_and_what_the_pipeline_gives(two: Workshop) -> None:
    two.pipeline("make: {notebook: make.ipynb, params: {month: 2013-02}}", "params: {seed: 7}\n")
    task = two.load().tasks["make"]
    assert task.params == {"seed": 7, "month": "2013-02", "source": None, "made": "made.txt"}
    assert task.given == {"seed": 7, "month": "2013-02"}
    assert task.overridden == ["seed", "month"]


def test_a_tasks_own_parameter_goes_before_the_matrix_and_the_pipelines(two: Workshop) -> None:
    two.pipeline(
        "make: {notebook: make.ipynb, matrix: {month: [a, b]}, params: {seed: 3}}", "params: {seed: 1, month: c}\n"
    )
    params = {task_id: (task.params["seed"], task.params["month"]) for task_id, task in two.load().tasks.items()}
    assert params == {"make[month=a]": (3, "a"), "make[month=b]": (3, "b")}


def test_a_value_that_equals_the_default_overrides_nothing(two: Workshop) -> None:
    two.pipeline("make: {notebook: make.ipynb, params: {seed: 1}}")
    assert two.load().tasks["make"].overridden == []


def test_a_matrix_of_two_axes_unfolds_to_all_combinations(two: Workshop) -> None:
    two.pipeline("make: {notebook: make.ipynb, matrix: {month: [a, b], seed: [1, 2]}}")
    tasks = two.load().tasks
    assert list(tasks) == [f"make[month={m},seed={s}]" for m in "ab" for s in (1, 2)]
    assert tasks["make[month=b,seed=2]"].folder == "make/month=b/seed=2"


def test_a_value_of_a_matrix_can_hold_a_slash_and_stays_one_folder(two: Workshop) -> None:
    two.pipeline("make: {notebook: make.ipynb, matrix: {month: [a/b, ..]}}")
    assert [task.folder for task in two.load().tasks.values()] == ["make/month=a%2Fb", "make/month=.."]


def test_equal_axes_join_and_others_become_a_list(two: Workshop) -> None:
    two.notebook("join.ipynb", "made: str = ''\nmonth: str = ''\nseed: int = 1", "x = 1")
    two.notebook("all.ipynb", "made: list[str] = []", "x = 1")
    two.pipeline("""
        make: {notebook: make.ipynb, matrix: {month: [a, b]}, outputs: {made: made.txt}}
        join: {notebook: join.ipynb, matrix: {month: [a, b], seed: [1, 2]}, inputs: {made: make.made}}
        all: {notebook: all.ipynb, inputs: {made: make.made}}
    """)
    tasks = two.load().tasks
    joined = tasks["join[month=b,seed=2]"].inputs["made"]
    assert joined.sources == (FromTask("make[month=b]", "made"),)
    assert not joined.many
    every = tasks["all"].inputs["made"]
    assert every.sources == (FromTask("make[month=a]", "made"), FromTask("make[month=b]", "made"))
    assert every.many
    assert tasks["all"].upstream == ("make[month=a]", "make[month=b]")


def test_a_partly_shared_matrix_gives_the_list_of_what_agrees(two: Workshop) -> None:
    two.notebook("all.ipynb", "made: list[str] = []\nmonth: str = ''", "x = 1")
    two.pipeline("""
        make: {notebook: make.ipynb, matrix: {month: [a, b], seed: [1, 2]}, outputs: {made: made.txt}}
        all: {notebook: all.ipynb, matrix: {month: [a]}, inputs: {made: make.made}}
    """)
    found = two.load().tasks["all[month=a]"].inputs["made"]
    assert [source.task for source in found.sources] == ["make[month=a,seed=1]", "make[month=a,seed=2]"]
    assert found.many


def test_a_list_of_inputs_stays_a_list_even_with_one_member(two: Workshop) -> None:
    two.pipeline(GOOD.replace("made: make.made", "made: [make.made]"))
    assert two.load().tasks["use"].inputs["made"].many


def test_an_input_can_be_a_file_a_url_or_the_own_last_result(two: Workshop) -> None:
    two.pipeline("""
        make:
          notebook: make.ipynb
          matrix: {month: [a]}
          inputs: {source: "file:data/{month}.csv", seed: "https://example.org/{month}?x=1"}
          outputs: {made: made.txt}
    """)
    two.notebook("make.ipynb", MAKE.replace("seed: int = 1", "seed: str = ''"), "x = 1")
    inputs = two.load().tasks["make[month=a]"].inputs
    assert inputs["source"].sources == (FromFile("data/a.csv"),)
    assert inputs["seed"].sources == (FromUrl("https://example.org/a?x=1"),)
    two.pipeline("make: {notebook: make.ipynb, inputs: {source: 'previous:made'}, outputs: {made: made.txt}}")
    assert two.load().tasks["make"].inputs["source"].sources == (FromPrevious("made"),)


def test_tasks_stand_after_their_upstream_whatever_the_order_in_the_file(two: Workshop) -> None:
    two.pipeline("""
        use: {notebook: use.ipynb, inputs: {made: make.made}}
        last: {notebook: use.ipynb, after: [use]}
        make: {notebook: make.ipynb, outputs: {made: made.txt}}
    """)
    assert list(two.load().tasks) == ["make", "use", "last"]


def test_a_model_needs_no_parameter_to_receive_its_path(two: Workshop) -> None:
    two.pipeline("make: {notebook: make.ipynb, outputs: {model: mlflow-model}}")
    assert two.load().tasks["make"].models == {"model"}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2 h", 7200), ("1d", 86400), ("30", 30)])
def test_a_timeout_is_a_number_with_a_unit(two: Workshop, text: str, seconds: float) -> None:
    two.pipeline(f"make: {{notebook: make.ipynb, timeout: {text}}}")
    assert two.load().tasks["make"].timeout == seconds


def test_a_task_on_request_runs_only_when_named_or_needed(two: Workshop) -> None:
    two.pipeline("""
        make: {notebook: make.ipynb, outputs: {made: made.txt}, on_request: true}
        use: {notebook: use.ipynb, inputs: {made: make.made}, on_request: true}
        other: {notebook: use.ipynb}
    """)
    pipeline = two.load()
    assert [task.id for task in pipeline.select([])] == ["other"]
    assert [task.id for task in pipeline.select(["use"])] == ["make", "use"]


def test_selecting_one_of_a_matrix_takes_only_its_own_upstream(two: Workshop) -> None:
    two.notebook("use.ipynb", USE + "month: str = ''", "x = 1")
    two.pipeline("""
        make: {notebook: make.ipynb, matrix: {month: [a, b]}, outputs: {made: made.txt}}
        use: {notebook: use.ipynb, matrix: {month: [a, b]}, inputs: {made: make.made}}
    """)
    assert [task.id for task in two.load().select(["use[month=b]"])] == ["make[month=b]", "use[month=b]"]


@pytest.mark.parametrize(
    ("target", "hint"), [("mkae", "'make'"), ("use[month=a]", "known: use"), ("zzz", "known: make, use")]
)
def test_selecting_what_is_not_there_names_the_nearest(two: Workshop, target: str, hint: str) -> None:
    two.pipeline(GOOD)
    with pytest.raises(UnknownName) as caught:
        two.load().select([target])
    assert f"there is no task {target!r}" in str(caught.value)
    assert hint in str(caught.value)


# What can be wrong in a pipeline file: place, what, and the nearest right name.


@pytest.mark.parametrize(
    ("tasks", "line", "said", "hint"),
    [
        ("make: {notbook: make.ipynb}", 3, "unknown key 'notbook' in tasks.make", "did you mean 'notebook'?"),
        ("make:\n  params: {}", 3, "tasks.make.notebook is missing", "params/README.md"),
        ("make: {notebook: mkae.ipynb}", 3, "there is no notebooks/mkae.ipynb", "did you mean 'make.ipynb'?"),
        ("make: {notebook: make.ipynb, params: {sede: 1}}", 3, "declares no parameter 'sede'", "did you mean 'seed'?"),
        ("make:\n  notebook: make.ipynb\n  params:\n    seed: one", 6, 'expected int, got "one"', "cell 1, line 1"),
        ("make: {notebook: make.ipynb, matrix: {seed: [1, x]}}", 3, 'expected int, got "x"', ""),
        ("make: {notebook: make.ipynb, matrix: {moth: [a]}}", 3, "declares no parameter 'moth'", "'month'"),
        ("make: {notebook: make.ipynb, matrix: {month: []}}", 3, "tasks.make.matrix.month", "at least 1"),
        ("make: {notebook: make.ipynb, matrix: {month: [a, a]}}", 3, "twice", ""),
        ("make: {notebook: make.ipynb, matrix: {seed: [1, 2, 1]}}", 3, "twice", ""),
        ("use: {notebook: use.ipynb, inputs: {made: maek.made}}\n" + GOOD.splitlines()[1], 3, "'maek'", "'make'"),
        (GOOD.replace("make.made", "make.mdae"), 6, "task make has no output 'mdae'", "did you mean 'made'?"),
        (GOOD.replace("make.made", "data/x.csv"), 6, "there is no task 'data/x'", ""),
        (GOOD.replace("make.made", "x"), 6, "'x' is no source of an input", "file:x"),
        (GOOD.replace("made: make.made", "rate: make.made"), 6, "expected float", "it receives a path"),
        (GOOD.replace("made: make.made", "mdae: make.made"), 6, "declares no parameter 'mdae'", "'made'"),
        (GOOD.replace("used: used.txt", "usde: used.txt"), 7, "declares no parameter 'usde'", "'used'"),
        (GOOD.replace("used: used.txt", "used: ../used.txt"), 7, "can't be '../used.txt'", "file name"),
        (GOOD.replace("used: used.txt", "used: /used.txt"), 7, "can't be '/used.txt'", "file name"),
        (GOOD.replace("used: used.txt", "used: task.json"), 7, "can't be 'task.json'", "file name"),
        (GOOD.replace("used: used.txt", "made: used.txt"), 7, "stands in inputs too", "keep one"),
        (GOOD + "  after: [mak]", 8, "there is no task 'mak'", "'make'"),
        (GOOD + "  timeout: soon", 8, "a duration is a number with a unit", ""),
        (GOOD + "  timeout: -3", 8, "greater than 0", ""),
        (GOOD + "  retries: -1", 8, "tasks.use.retries", ""),
        (GOOD + "  retries: '1'", 8, "tasks.use.retries", ""),
        (GOOD + "  on_request: yes", 8, "tasks.use.on_request", ""),
        ("make: {notebook: make.ipynb, inputs: {source: 'previous:x'}}", 3, "no output 'x'", ""),
        ("make: {notebook: make.ipynb, inputs: {source: 'file:{moth}.csv'}}", 3, "{moth} is no axis", ""),
        ("make: {notebook: make.ipynb, outputs: {made: 7}}", 3, "tasks.make.outputs.made", "string"),
        ("make: make.ipynb", 3, "tasks.make must be a mapping", ""),
        ("make:", 3, "tasks.make must be a mapping", ""),
        ("1make: {notebook: make.ipynb}", 3, "a name has letters", ""),
        ("make: {notebook: make.ipynb}\nmake: {notebook: use.ipynb}", 4, "stands twice, first in line 3", "keep one"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_nearest_right_name(
    two: Workshop, tasks: str, line: int, said: str, hint: str
) -> None:
    found = problems(two, tasks)
    place = next((part for part in found.split("\n") if said in part), None)
    assert place is not None, found
    assert place.startswith(f"params/tiny.yaml:{line}: "), found
    assert hint in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "params/tiny.yaml:1: a pipeline file must be a mapping"),
        ("- 1", "params/tiny.yaml:1: a pipeline file must be a mapping"),
        ("name: tiny", "tasks is missing"),
        ("name: tiny\ntasks: {}", "params/tiny.yaml:2: tasks"),
        ("name: tiny\ntasks: [a]", "params/tiny.yaml:2: tasks must be a mapping"),
        ("name: other\ntasks: {make: {notebook: make.ipynb}}", "params/tiny.yaml:1: is named 'other'"),
        ("tasks: {make: {notebook: make.ipynb}}", "name is missing"),
        ("name: tiny\ntask: {}\ntasks: {make: {notebook: make.ipynb}}", "params/tiny.yaml:2: unknown key 'task'"),
        (
            "name: tiny\nparams: {sede: 1}\ntasks: {make: {notebook: make.ipynb}}",
            "no notebook declares a parameter 'sede'",
        ),
    ],
)
def test_a_file_that_is_no_pipeline_is_told(two: Workshop, text: str, said: str) -> None:
    two.write("params/tiny.yaml", text)
    with pytest.raises(InvalidPipeline) as caught:
        two.load()
    assert said in str(caught.value)


def test_all_problems_are_told_at_once(two: Workshop) -> None:
    found = problems(two, "make: {notebook: make.ipynb, params: {sede: 1, seed: x}}\nuse: {notebook: us.ipynb}")
    assert all(part in found for part in ("'sede'", "expected int", "notebooks/us.ipynb"))


@pytest.mark.parametrize(
    ("tasks", "path"),
    [
        ("make: {notebook: make.ipynb, inputs: {source: use.used}, outputs: {made: m}}", "make → use → make"),
        ("make: {notebook: make.ipynb, after: [use], outputs: {made: m}}", "make → use → make"),
    ],
)
def test_a_cycle_is_told_with_its_path(two: Workshop, tasks: str, path: str) -> None:
    tasks += "\nuse: {notebook: use.ipynb, inputs: {made: make.made}, outputs: {used: u}}"
    found = problems(two, tasks)
    assert "the tasks wait for each other" in found
    assert path in found or "use → make → use" in found
    assert found.startswith("params/tiny.yaml:")


def test_a_task_that_waits_for_itself_is_a_cycle(two: Workshop) -> None:
    assert "make → make" in problems(two, "make: {notebook: make.ipynb, after: [make]}")


def test_a_required_parameter_that_nobody_gives_is_told(two: Workshop) -> None:
    two.notebook("make.ipynb", "seed: int", "x = 1")
    found = problems(two, "make: {notebook: make.ipynb}")
    assert "task make gives no value for 'seed'" in found
    assert "notebooks/make.ipynb, cell 1, line 1" in found


def test_a_default_that_is_an_expression_cant_be_replaced(two: Workshop) -> None:
    two.notebook("make.ipynb", "seed: int = len('abc')", "x = 1")
    assert "is an expression" in problems(two, "make: {notebook: make.ipynb, params: {seed: 1}}")


def test_a_notebook_without_a_parameters_cell_is_told_how_to_get_one(two: Workshop) -> None:
    two.notebook("make.ipynb", None, "seed = 1")
    found = problems(two, "make: {notebook: make.ipynb, params: {seed: 1}}")
    assert "no cell tagged `parameters`" in found
    assert "JupyterLab" in found


def test_a_list_of_paths_is_refused_where_a_path_is_declared(two: Workshop) -> None:
    two.notebook("use.ipynb", "made: str = ''", "x = 1")
    found = problems(
        two,
        "make: {notebook: make.ipynb, matrix: {month: [a, b]}, outputs: {made: m}}\n"
        "use: {notebook: use.ipynb, inputs: {made: make.made}}",
    )
    assert "it receives a list of paths" in found


def test_a_previous_result_needs_a_parameter_that_may_be_none(two: Workshop) -> None:
    two.notebook("make.ipynb", MAKE.replace("str | None", "str"), "x = 1")
    assert "expected str, got null" in problems(
        two, "make: {notebook: make.ipynb, inputs: {source: 'previous:made'}, outputs: {made: m}}"
    )


def test_matrices_without_a_common_value_are_told(two: Workshop) -> None:
    two.notebook("use.ipynb", USE + "month: str = ''", "x = 1")
    found = problems(
        two,
        "make: {notebook: make.ipynb, matrix: {month: [a]}, outputs: {made: m}}\n"
        "use: {notebook: use.ipynb, matrix: {month: [b]}, inputs: {made: make.made}}",
    )
    assert "no instance of make has month=b" in found


# Overlays: profiles and -p.


def test_a_profile_lies_over_the_pipeline(two: Workshop) -> None:
    two.pipeline("make: {notebook: make.ipynb, matrix: {month: [a, b, c]}, params: {seed: 1}}")
    two.write("params/profiles/smoke.yaml", "tasks: {make: {matrix: {month: [b]}}}")
    assert list(two.load("smoke").tasks) == ["make[month=b]"]
    assert two.load("smoke").profile == "smoke"


def test_a_mistake_in_a_profile_is_told_with_the_profiles_line(two: Workshop) -> None:
    two.write("params/profiles/smoke.yaml", "tasks:\n  make:\n    params:\n      seed: many\n")
    found = problems(two, "make: {notebook: make.ipynb, params: {seed: 1}}", "", "smoke")
    assert found.startswith("params/profiles/smoke.yaml:4: parameter 'seed': expected int")


def test_a_profile_that_is_not_there_is_told_with_the_nearest(two: Workshop) -> None:
    two.write("params/profiles/smoke.yaml", "params: {}")
    found = problems(two, GOOD, "", "smok")
    assert "there is no profile 'smok'" in found
    assert "did you mean 'smoke'?" in found


def test_a_parameter_from_the_command_line_goes_before_all(two: Workshop) -> None:
    two.pipeline("make: {notebook: make.ipynb, params: {seed: 1}}")
    two.write("params/profiles/smoke.yaml", "tasks: {make: {params: {seed: 2}}}")
    assert two.load("smoke", ("make.seed", "3")).tasks["make"].params["seed"] == 3


def test_a_parameter_from_the_command_line_means_what_yaml_1_2_says(two: Workshop) -> None:
    two.pipeline(GOOD)
    assert two.load(None, ("make.month", "no")).tasks["make"].params["month"] == "no"
    assert two.load(None, ("rate", "1e-5")).tasks["use"].params["rate"] == 1e-5
    assert two.load(None, ("make.month", "'010'")).tasks["make"].params["month"] == "010"


def test_an_input_can_be_set_from_the_command_line(two: Workshop) -> None:
    two.pipeline("make: {notebook: make.ipynb, inputs: {source: 'file:a.csv'}}")
    found = two.load(None, ("make.source", "file:b.csv")).tasks["make"].inputs["source"]
    assert found.sources == (FromFile("b.csv"),)


@pytest.mark.parametrize(
    ("target", "value", "said"),
    [
        ("make.seed", "many", "-p make.seed=many: parameter 'seed': expected int"),
        ("make.sede", "1", "did you mean 'seed'?"),
        ("mkae.seed", "1", "did you mean 'make'?"),
        ("moth", "1", "did you mean 'month'?"),
        ("1x", "3", "-p 1x=3"),
        ("make.1x", "3", "-p make.1x=3"),
        ("make.source", "{a: [}", "not valid YAML"),
        ("seed", "!!python/object:x {}", "has no meaning here"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_as_it_was_typed(
    two: Workshop, target: str, value: str, said: str
) -> None:
    assert said in problems(two, GOOD, "", None, (target, value))


@pytest.mark.parametrize("tasks", ["{train: 3}", "[train]", "null", "{train: }", "{train: {inputs: 7}}", "train"])
def test_a_parameter_laid_over_a_broken_file_tells_what_is_broken(two: Workshop, tasks: str) -> None:
    two.write("params/tiny.yaml", f"name: tiny\ntasks: {tasks}")
    with pytest.raises(CadernoError):
        two.load(None, ("train.seed", "1"))


# Which pipeline.


def test_the_only_pipeline_needs_no_name(two: Workshop) -> None:
    two.pipeline(GOOD)
    assert spec.choose(two.project, None) == PIPELINE


def test_of_several_pipelines_the_marked_one_is_taken(two: Workshop) -> None:
    two.pipeline(GOOD)
    two.pipeline(GOOD, "default: true\n", name="other")
    assert spec.choose(two.project, None) == "other"
    assert spec.choose(two.project, "tiny") == "tiny"


def test_several_pipelines_without_a_mark_are_told(two: Workshop) -> None:
    two.pipeline(GOOD)
    two.pipeline(GOOD, name="other")
    with pytest.raises(InvalidPipeline, match="--pipeline NAME"):
        spec.choose(two.project, None)


def test_a_pipeline_that_is_not_there_is_told_with_the_nearest(two: Workshop) -> None:
    two.pipeline(GOOD)
    with pytest.raises(UnknownName, match="did you mean 'tiny'"):
        spec.choose(two.project, "tin")
