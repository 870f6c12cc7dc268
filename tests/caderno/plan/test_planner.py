from __future__ import annotations

import os

import pytest
from workshop import Workshop, text

from caderno.errors import CadernoError, MissingInput, UnknownName

MAKE = 'seed: int = 1\nsource: str = ""\nmade: str = "../data/scratch/made.txt"'
USE = 'made: str = ""\nused: str = "../data/scratch/used.txt"\nrate: float = 0.5'


@pytest.fixture
def chain(shop: Workshop) -> Workshop:
    """make → use, and `alone` beside them; make reads a file and imports a helper."""
    shop.write("data/source.csv", "a,b\n1,2\n")
    shop.write("lib/tools/__init__.py", "")
    shop.write("lib/tools/a.py", "from tools.b import f\n")
    shop.write("lib/tools/b.py", "def f():\n    return 1\n")
    shop.notebook("make.ipynb", MAKE, "from tools.a import f", "f()")
    shop.notebook("use.ipynb", USE, "x = 1")
    shop.notebook("alone.ipynb", "month: str = 'a'", "x = 1")
    shop.pipeline("""
        make: {notebook: make.ipynb, inputs: {source: "file:data/source.csv"}, outputs: {made: made.txt}}
        use: {notebook: use.ipynb, inputs: {made: make.made}, outputs: {used: used.txt}}
        alone: {notebook: alone.ipynb, matrix: {month: [a, b]}}
    """)
    return shop


@pytest.fixture
def settled(chain: Workshop) -> Workshop:
    """The chain with a result for each task."""
    chain.settle()
    return chain


CACHED = {"make": "cached", "use": "cached", "alone[month=a]": "cached", "alone[month=b]": "cached"}
MAKE_CHANGED = CACHED | {"make": "run", "use": "wait"}


def test_without_results_all_must_run_or_wait(chain: Workshop) -> None:
    assert chain.states() == {"make": "run", "use": "wait", "alone[month=a]": "run", "alone[month=b]": "run"}
    assert chain.why("make") == "new"
    assert chain.why("use") == "upstream make runs"


def test_with_results_nothing_runs(settled: Workshop) -> None:
    assert settled.states() == CACHED
    assert settled.plan().to_run == 0


# What causes a run, and what is said about it.


def test_a_changed_cell_runs_its_task_and_its_downstream(settled: Workshop) -> None:
    settled.notebook("make.ipynb", MAKE, "from tools.a import f", "f() + 1")
    assert settled.states() == MAKE_CHANGED
    assert settled.why("make") == "code cell 3 changed"


def test_a_cell_more_is_told(settled: Workshop) -> None:
    settled.notebook("make.ipynb", MAKE, "from tools.a import f", "f()", "f()")
    assert settled.why("make") == "code cell 4 is new"


def test_a_changed_module_that_a_helper_imports_is_named(settled: Workshop) -> None:
    settled.write("lib/tools/b.py", "def f():\n    return 2\n")
    assert settled.states() == MAKE_CHANGED
    assert settled.why("make") == "tools.b:f changed"


def test_a_module_that_is_used_now_is_named(settled: Workshop) -> None:
    settled.write("lib/tools/c.py", "")
    settled.write("lib/tools/b.py", "import tools.c\n\ndef f():\n    return 1\n")
    assert "tools.c is imported now" in settled.why("make")


def test_a_changed_parameter_is_told_with_both_values(settled: Workshop) -> None:
    assert settled.states(("make.seed", "2")) == MAKE_CHANGED
    assert settled.why("make", ("make.seed", "2")) == "parameter seed 1 → 2"


def test_a_changed_default_counts_like_a_given_value(settled: Workshop) -> None:
    before = settled.fingerprint("make", ("make.seed", "5"))
    settled.notebook("make.ipynb", MAKE.replace("= 1", "= 5"), "from tools.a import f", "f()")
    assert settled.states() == MAKE_CHANGED
    assert settled.fingerprint("make") == before


def test_a_default_that_the_pipeline_overrides_counts_nothing(chain: Workshop) -> None:
    before = chain.fingerprint("make", ("make.seed", "5"))
    chain.notebook("make.ipynb", MAKE.replace("= 1", "= 7  # seven"), "from tools.a import f", "f()")
    assert chain.fingerprint("make", ("make.seed", "5")) == before


def test_an_inputs_content_counts(settled: Workshop) -> None:
    settled.write("data/source.csv", "a,b\n1,3\n")
    assert settled.states() == MAKE_CHANGED
    assert settled.why("make") == "input source changed"


def test_an_inputs_time_does_not_count(settled: Workshop) -> None:
    os.utime(settled.root / "data/source.csv", (1, 1))
    assert settled.states() == CACHED


def test_a_content_changed_with_size_and_time_kept_is_seen_when_the_file_was_replaced(settled: Workshop) -> None:
    path = settled.root / "data/source.csv"
    os.utime(path, ns=(10**18, 10**18))
    assert settled.states() == CACHED  # and its digest is in the cache now
    new = settled.write("data/new.csv", "a,b\n1,9\n")
    os.utime(new, ns=(10**18, 10**18))
    new.replace(path)
    assert settled.states() == MAKE_CHANGED


def test_another_file_with_the_same_content_is_another_input(settled: Workshop) -> None:
    settled.write("data/copy.csv", "a,b\n1,2\n")
    assert settled.states(("make.source", "file:data/copy.csv")) == MAKE_CHANGED


def test_a_folder_counts_by_the_names_and_contents_in_it(chain: Workshop) -> None:
    chain.write("data/parts/1.csv", "1")
    chain.write("data/parts/deep/2.csv", "2")
    where = ("make.source", "file:data/parts")
    before = chain.fingerprint("make", where)
    chain.write("data/parts/deep/2.csv", "3")
    changed = chain.fingerprint("make", where)
    (chain.root / "data/parts/deep/2.csv").rename(chain.root / "data/parts/deep/3.csv")
    renamed = chain.fingerprint("make", where)
    assert len({before, changed, renamed}) == 3


def test_what_is_behind_a_url_is_not_seen_and_the_url_counts(chain: Workshop) -> None:
    one = chain.fingerprint("make", ("make.source", "https://example.org/1"))
    assert one == chain.fingerprint("make", ("make.source", "https://example.org/1"))
    assert one != chain.fingerprint("make", ("make.source", "https://example.org/2"))


def test_declared_outputs_count(settled: Workshop) -> None:
    pipeline = settled.root / "params/tiny.yaml"
    pipeline.write_text(pipeline.read_text().replace("used.txt", "other.txt"))
    assert settled.states() == CACHED | {"use": "run"}
    assert settled.why("use") == "declared outputs or kernel changed"


def test_a_packages_version_is_told(settled: Workshop) -> None:
    settled.notebook("alone.ipynb", "month: str = 'a'", "import yaml")
    settled.settle()
    record = settled.result("alone[month=a]") / "task.json"
    version = settled.record("alone[month=a]").code.packages
    (name,) = version
    old = record.read_text().replace(f'"{name}": "{version[name]}"', f'"{name}": "0.1"')
    record.write_text(old.replace(settled.record("alone[month=a]").fingerprint, "0" * 64))
    place = settled.result("alone[month=a]")
    moved = place.rename(place.with_name("0" * 16))
    settled.store.point_latest("alone/month=a", moved.name)
    assert settled.why("alone[month=a]") == f"{name} 0.1 → {version[name]}"


@pytest.mark.parametrize("folder", ["lib/tools", "notebooks"])
def test_comments_and_formatting_cause_nothing(settled: Workshop, folder: str) -> None:
    if folder == "notebooks":
        make = "# The seed.\nseed: int = 1  # for the split\nsource: str = ''\nmade: str = '../data/scratch/made.txt'"
        settled.notebook("make.ipynb", make, text("# Make"), "from tools.a import f  # help", "", "f(  )")
    else:
        settled.write("lib/tools/b.py", "# A comment.\n\n\ndef f():\n    return (1)  # one\n")
    assert settled.states() == CACHED


def test_another_tasks_change_is_another_tasks_matter(settled: Workshop) -> None:
    settled.notebook("alone.ipynb", "month: str = 'a'", "x = 2")
    assert settled.states() == CACHED | {"alone[month=a]": "run", "alone[month=b]": "run"}


def test_a_new_value_of_a_matrix_runs_alone(settled: Workshop) -> None:
    pipeline = settled.root / "params/tiny.yaml"
    pipeline.write_text(pipeline.read_text().replace("[a, b]", "[a, b, c]"))
    assert settled.states() == CACHED | {"alone[month=c]": "run"}


def test_going_back_finds_the_old_result(settled: Workshop) -> None:
    settled.write("lib/tools/b.py", "def f():\n    return 2\n")
    settled.settle()
    settled.write("lib/tools/b.py", "def f():\n    return 1\n")
    assert settled.states() == CACHED


def test_upstream_that_gives_the_same_again_causes_nothing_downstream(settled: Workshop) -> None:
    settled.write("lib/tools/b.py", "def f():\n    return 2\n")
    before = settled.fingerprint_of("use")
    settled.settle()  # the same bytes from the changed code
    assert settled.fingerprint("use") == before


def test_a_check_against_the_last_result_does_not_cause_the_next(shop: Workshop) -> None:
    shop.notebook("one.ipynb", "before: str | None = None\nmade: str = ''", "x = 1")
    shop.pipeline("one: {notebook: one.ipynb, inputs: {before: 'previous:made'}, outputs: {made: made.txt}}")
    planned = shop.plan().tasks[0]
    assert planned.resolved
    assert planned.resolved.inputs == {"before": []}
    shop.settle()
    again = shop.plan().tasks[0]
    assert again.state == "cached"
    assert again.resolved
    (previous,) = again.resolved.inputs["before"]
    assert (shop.root / previous.path).read_bytes() == b"one"


def test_a_task_of_another_kernel_is_another_task(shop: Workshop) -> None:
    shop.notebook("one.ipynb", None, "x = 1")
    shop.pipeline("one: {notebook: one.ipynb}")
    before = shop.fingerprint("one")
    shop.notebook("one.ipynb", None, "x = 1", kernel="other")
    assert shop.fingerprint("one") != before


# Matrices.


def test_a_joined_matrix_waits_for_its_own_value_only(shop: Workshop) -> None:
    shop.notebook("make.ipynb", "month: str = ''\nmade: str = ''", "x = 1")
    shop.notebook("use.ipynb", "month: str = ''\nmade: str = ''", "x = 1")
    shop.notebook("all.ipynb", "made: list[str] = []", "x = 1")
    shop.pipeline("""
        make: {notebook: make.ipynb, matrix: {month: [a, b]}, outputs: {made: made.txt}}
        use: {notebook: use.ipynb, matrix: {month: [a, b]}, inputs: {made: make.made}}
        all: {notebook: all.ipynb, inputs: {made: make.made}}
    """)
    shop.settle()
    (shop.result("make[month=b]") / "made.txt").unlink()
    assert shop.states() == {
        "make[month=a]": "cached",
        "make[month=b]": "run",
        "use[month=a]": "cached",
        "use[month=b]": "wait",
        "all": "wait",
    }
    assert shop.why("make[month=b]") == "output made is missing"


# Targets and force.


def test_a_target_is_planned_with_its_upstream(chain: Workshop) -> None:
    assert [one.task.id for one in chain.plan("use").tasks] == ["make", "use"]
    assert [one.task.id for one in chain.plan("alone[month=b]").tasks] == ["alone[month=b]"]


def test_an_unknown_target_is_told(chain: Workshop) -> None:
    with pytest.raises(UnknownName, match="did you mean 'alone"):
        chain.plan("alone[month=c]")


def test_force_without_targets_runs_all(settled: Workshop) -> None:
    plan = settled.plan(force=True)
    assert {one.task.id: one.why for one in plan.tasks} == dict.fromkeys(CACHED, "forced")
    assert plan.to_run == 4


def test_force_with_a_target_runs_it_and_leaves_its_upstream(settled: Workshop) -> None:
    assert {one.task.id: one.state for one in settled.plan("use", force=True).tasks} == {"make": "cached", "use": "run"}


# What is not there.


def test_missing_inputs_are_told_at_once_with_file_line_and_task(chain: Workshop) -> None:
    (chain.root / "data/source.csv").unlink()
    with pytest.raises(MissingInput) as caught:
        chain.plan()
    assert "params/tiny.yaml:3: task make reads data/source.csv, which is not there" in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_an_input_that_the_targets_do_not_need_may_be_missing(chain: Workshop) -> None:
    (chain.root / "data/source.csv").unlink()
    assert [one.state for one in chain.plan("alone").tasks] == ["run", "run"]


def test_the_newest_record_of_what_never_ran_is_an_error_that_names_the_command(chain: Workshop) -> None:
    planner = chain.planner()
    with pytest.raises(CadernoError, match=r"caderno run 'alone\[month=a\]'"):
        planner.newest(planner.pipeline.one("alone[month=a]"))


def test_one_of_a_matrix_must_be_named(chain: Workshop) -> None:
    with pytest.raises(CadernoError, match="is 2 tasks"):
        chain.load().one("alone")


def test_a_plan_writes_nothing_but_its_cache(chain: Workshop) -> None:
    chain.plan()
    written = {path.relative_to(chain.root).as_posix() for path in (chain.root / "data").rglob("*") if path.is_file()}
    assert written <= {"data/source.csv", "data/.caderno/cache.json"}


def test_a_damaged_cache_costs_time_only(settled: Workshop) -> None:
    for damage in ("", "{", "[]", '{"format": 1}', '{"format": 99, "entries": {}}', '{"format": 1, "entries": 7}'):
        settled.write("data/.caderno/cache.json", damage)
        assert settled.states() == CACHED, damage


def test_a_secret_in_a_parameter_is_not_told(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.notebook("one.ipynb", "url: str = ''\nn: int = 1", "1")
    shop.pipeline("one: {notebook: one.ipynb, params: {url: plain}}")
    shop.settle()
    monkeypatch.setenv("API_TOKEN", "correct-horse")
    assert shop.why("one", ("one.url", "a correct-horse b")) == "parameter url plain → a *** b"
