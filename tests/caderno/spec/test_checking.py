"""What `caderno check` finds without running anything."""

from __future__ import annotations

from workshop import Workshop

from caderno.spec.checking import check


def test_a_sound_project_has_no_problem(shop: Workshop) -> None:
    shop.notebook("one.ipynb", "seed: int = 1", "%matplotlib inline")
    shop.pipeline("one: {notebook: one.ipynb}")
    checked = check(shop.project)
    assert (checked.pipelines, checked.notebooks, checked.problems) == (1, 1, ())


def test_all_problems_are_found_at_once_also_those_that_no_task_or_only_a_profile_reaches(shop: Workshop) -> None:
    shop.notebook("one.ipynb", "seed: int = 1", "x = 1")
    shop.notebook("unnamed.ipynb", None, "this is no Python")
    shop.write("notebooks/torn.ipynb", "{\n")
    shop.pipeline("one: {notebook: one.ipynb}")
    shop.pipeline("one: {notebook: on.ipynb}", name="other")
    shop.write("params/profiles/smoke.yaml", "tasks: {one: {params: {sede: 2}}}\n")
    said = [str(problem) for problem in check(shop.project).problems]
    for start in (
        "params/other.yaml:3: there is no notebooks/on.ipynb",
        "params/profiles/smoke.yaml:1: notebooks/one.ipynb declares no parameter 'sede'",
        "notebooks/torn.ipynb:2: not valid JSON",
        "notebooks/unnamed.ipynb, cell 1: is not valid Python",
    ):
        assert sum(text.startswith(start) for text in said) == 1, said


def test_the_command_exits_with_2_and_ignores_the_files_that_pre_commit_names(shop: Workshop) -> None:
    shop.notebook("one.ipynb", None, "x = 1")
    shop.pipeline("one: {notebook: one.ipynb}")
    assert shop.caderno("check", "notebooks/one.ipynb").code == 0
    shop.notebook("one.ipynb", None, "x = ")
    done = shop.caderno("check", "notebooks/one.ipynb")
    assert done.code == 2
    assert "error: notebooks/one.ipynb, cell 1: is not valid Python" in done
    assert not (shop.root / "data").exists()


def test_a_profile_must_fit_a_pipeline_and_each_that_has_its_tasks(shop: Workshop) -> None:
    shop.notebook("a.ipynb", "seed: int = 1", "1")
    shop.pipeline("a: {notebook: a.ipynb}")
    shop.pipeline("b: {notebook: a.ipynb}", name="other")
    shop.write("params/profiles/smoke.yaml", "tasks: {a: {params: {seed: 2}}}\n")
    assert check(shop.project).problems == ()
    shop.write("params/profiles/smoke.yaml", "tasks: {a: {params: {sed: 2}}}\n")
    assert any("did you mean 'seed'?" in str(problem) for problem in check(shop.project).problems)
    shop.write("params/profiles/smoke.yaml", "params: {seed: x}\n")
    assert len(check(shop.project).problems) >= 1


def test_outputs_in_a_notebook_are_noted(shop: Workshop) -> None:
    cell = {"cell_type": "code", "source": "1", "metadata": {}, "execution_count": 1}
    output = {"output_type": "execute_result", "data": {"text/plain": "1"}, "metadata": {}, "execution_count": 1}
    shop.notebook("a.ipynb", None, cell | {"outputs": [output]})
    shop.pipeline("a: {notebook: a.ipynb}")
    checked = check(shop.project)
    assert checked.problems == ()
    assert [note.where for note in checked.notes] == ["notebooks/a.ipynb"]
