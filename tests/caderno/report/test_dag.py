"""The picture shows each task once, every edge forwards, and nothing over anything else."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caderno.plan.records import RunTask
from caderno.report.dag import GAP_X, HEIGHT, WIDTH, draw, fold, layers


def task(task: str, *upstream: str, state: str = "succeeded", seconds: float = 1.0) -> RunTask:
    name = task.partition("[")[0]
    return RunTask.model_validate(
        {"task": task, "name": name, "notebook": f"notebooks/{name}.ipynb", "state": state, "why": "new"}
        | {"upstream": list(upstream), "seconds": seconds}
    )


@st.composite
def pipelines(draw: st.DrawFn) -> list[RunTask]:
    size = draw(st.integers(1, 40))
    ups = [draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set() for i in range(size)]
    return [task(f"t{i}", *(f"t{up}" for up in sorted(above))) for i, above in enumerate(ups)]


def test_a_matrix_is_one_node_that_counts_its_states_and_adds_its_times() -> None:
    tasks = [task("a[m=1]", state="cached", seconds=0), task("a[m=2]", state="failed", seconds=4), task("a[m=3]")]
    (node,) = fold(tasks)
    assert node.states == {"failed": 1, "succeeded": 1, "cached": 1}
    assert node.state == "failed"
    assert node.seconds == 5
    assert node.title == "a, 3 tasks: 1 failed, 1 succeeded, 1 cached, 5.0 s"


def test_edges_lead_from_matrix_to_matrix_once() -> None:
    nodes = fold([task("a[m=1]"), task("a[m=2]"), task("b[m=1]", "a[m=1]", "a[m=2]"), task("b[m=2]", "a[m=1]", "gone")])
    assert {node.name: node.upstream for node in nodes} == {"a": (), "b": ("a",)}
    assert len(draw(nodes).edges) == 1


def test_a_task_stands_right_of_the_longest_way_to_it() -> None:
    assert layers({"a": [], "b": ["a"], "c": ["a", "b"], "d": []}) == {"a": 0, "b": 1, "c": 2, "d": 0}


def test_a_cycle_does_not_hang() -> None:
    assert set(layers({"a": ["b"], "b": ["a"]})) == {"a", "b"}


def test_two_chains_do_not_cross() -> None:
    drawing = draw(fold([task("a"), task("b"), task("y", "b"), task("x", "a"), task("q", "y"), task("p", "x")]))
    y = {box.node.name: box.y for box in drawing.boxes}
    assert (y["a"] < y["b"]) == (y["x"] < y["y"]) == (y["p"] < y["q"])


@given(pipelines())
def test_boxes_lie_apart_and_inside_the_picture(tasks: list[RunTask]) -> None:
    drawing = draw(fold(tasks))
    assert len(drawing.boxes) == len(tasks)
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - WIDTH
        assert -0.01 <= box.y <= drawing.height - HEIGHT + 0.01
    for one, other in itertools.combinations(drawing.boxes, 2):
        assert abs(one.x - other.x) >= WIDTH + GAP_X or abs(one.y - other.y) >= HEIGHT


@given(pipelines())
def test_every_edge_runs_forwards_from_its_box_to_its_box(tasks: list[RunTask]) -> None:
    drawing = draw(fold(tasks))
    corner = {box.node.name: (box.x, box.y) for box in drawing.boxes}
    wanted = sorted(
        (corner[up][0] + WIDTH, corner[up][1] + HEIGHT / 2, corner[task.name][0], corner[task.name][1] + HEIGHT / 2)
        for task in tasks
        for up in task.upstream
    )
    drawn = []
    for path, _ in drawing.edges:
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
        drawn.append((numbers[0], numbers[1], numbers[-2], numbers[-1]))
    assert sorted(drawn) == [pytest.approx(edge, abs=0.06) for edge in wanted]
    assert all(start < end for start, _, end, _ in drawn)


def test_an_empty_pipeline_has_an_empty_picture() -> None:
    assert draw([]).boxes == ()
