"""Many tasks in few lines."""

from __future__ import annotations

from caderno.run.folds import Line, examples, fold

PLAN = ("run", "wait", "cached")


def lines(n: int, state: str = "run", why: str = "new", name: str = "train", first: int = 0) -> list[Line]:
    return [Line(state, why.format(i=i), (f"{name}[i={i}]",), 1.0) for i in range(first, first + n)]


def test_a_thousand_alike_are_one_line_with_their_number_and_a_few_of_them() -> None:
    (line,) = fold(lines(1000), order=PLAN)
    assert line.label == "train ×1,000  [i=0] [i=1] … [i=999]"
    assert (line.why, line.seconds) == ("new", 1000.0)


def test_a_few_stay_lines_of_their_own_in_their_order() -> None:
    few = [*lines(2), *lines(2, "cached", "cached", first=2)]
    assert fold(few, order=PLAN) == few


def test_what_is_different_stands_before_the_crowd() -> None:
    mixed = [*lines(500), *lines(1, why="failed last time", first=500), *lines(499, first=501)]
    folded = fold(mixed, order=PLAN)
    assert [line.label for line in folded] == ["train[i=500]", "train ×999  [i=0] [i=1] … [i=999]"]


def test_each_waiting_for_an_upstream_of_its_own_is_one_reason() -> None:
    (line,) = fold(lines(1000, "wait", "upstream prep[i={i}] runs"), order=PLAN)
    assert line.why == "upstream prep[…] runs"


def test_named_tasks_are_always_shown() -> None:
    folded = fold(lines(1000), {"train[i=7]"}, PLAN)
    assert [line.label for line in folded] == ["train[i=7]", "train ×999  [i=0] [i=1] … [i=999]"]


def test_a_thousand_reasons_do_not_make_a_thousand_lines() -> None:
    folded = fold(lines(1000, why="parameter x {i} → 0"), order=PLAN)
    assert len(folded) <= 13
    assert sum(len(line.tasks) for line in folded) == 1000
    assert "988 reasons more, such as: parameter x" in folded[-1].why


def test_failures_come_first_of_all_and_many_of_them_fold_too() -> None:
    whole = [*lines(6, "succeeded", name="prep"), *lines(990, "succeeded"), *lines(10, "failed", first=990)]
    folded = fold(whole, order=("failed", "succeeded"))
    assert [line.state for line in folded] == ["failed"] * 10 + ["succeeded"] * 2
    assert [line.label for line in fold(lines(300, "failed"))] == ["train ×300  [i=0] [i=1] … [i=299]"]


def test_nothing_is_lost_or_told_twice() -> None:
    whole = [*lines(700), *lines(200, "wait", "upstream x[i={i}] runs", first=700), *lines(100, "cached", first=900)]
    told = [task for line in fold(whole, {"train[i=3]"}, PLAN) for task in line.tasks]
    assert sorted(told) == sorted(line.tasks[0] for line in whole)


def test_examples_fit_however_long_the_values_are() -> None:
    assert len(examples([f"train[text={'x' * 300}{i}]" for i in range(9)])) <= 48
