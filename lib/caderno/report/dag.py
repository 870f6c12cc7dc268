"""The pipeline's picture: a layered drawing of its tasks, each matrix folded to one node.

The layout is a light Sugiyama (K. Sugiyama, S. Tagawa, M. Toda, "Methods for visual understanding of hierarchical
system structures", IEEE Trans. Syst. Man Cybern. 11(2), 1981): layers by the longest path, order within a layer
by barycentres, long edges led through dummy nodes. It runs in milliseconds for hundreds of tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from caderno.plan.records import RunTask, RunTaskState
from caderno.report.text import count, duration

WIDTH, HEIGHT = 176, 62  # of a node, in pixels
GAP_X, GAP_Y, MARGIN = 56, 20, 8
_SWEEPS = 6
# The worst first: it names the node's colour, and is what a reader looks for.
SEVERITY: tuple[RunTaskState, ...] = ("failed", "killed", "skipped", "succeeded", "fetched", "cached")


class Bend(NamedTuple):
    """Where the edge between two nodes passes a layer that lies between theirs."""

    source: str
    target: str
    layer: int


Slot: TypeAlias = str | Bend  # what takes a place in a layer: a node, by its name, or a bend


@dataclass(frozen=True)
class Node:
    """A task, or a whole matrix: `states` counts its members, `upstream` names other nodes."""

    name: str
    tasks: tuple[RunTask, ...]
    upstream: tuple[str, ...]

    @property
    def states(self) -> dict[RunTaskState, int]:
        """How many members are in which state, the worst first."""
        return tally(self.tasks)

    @property
    def state(self) -> RunTaskState:
        """The worst state of its members."""
        return next(iter(self.states))

    @property
    def seconds(self) -> float:
        """The time that its members took in this run, added up."""
        return sum(task.seconds for task in self.tasks)

    @property
    def title(self) -> str:
        """All that the node says, as one sentence."""
        states = ", ".join(f"{n} {state}" for state, n in self.states.items())
        if len(self.tasks) == 1:
            return f"{self.name}: {self.state}, {duration(self.seconds)}"
        return f"{self.name}, {count(len(self.tasks), 'task')}: {states}, {duration(self.seconds)}"


@dataclass(frozen=True)
class Box:
    """A node in its place: the upper left corner, in pixels."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """The whole picture: `edges` are SVG paths with the state of the node that they lead to."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[tuple[str, str], ...]


def tally(tasks: Iterable[RunTask]) -> dict[RunTaskState, int]:
    """Return how many tasks are in which state, the worst first."""
    found = Counter(task.state for task in tasks)
    return {state: found[state] for state in SEVERITY if found[state]}


def fold(tasks: Sequence[RunTask]) -> list[Node]:
    """Return one node for each task of the pipeline file, in its order."""
    groups: dict[str, list[RunTask]] = {}
    for task in tasks:
        groups.setdefault(task.name, []).append(task)
    names = {task.task: task.name for task in tasks}
    nodes = []
    for name, members in groups.items():
        above = dict.fromkeys(names.get(up, up.partition("[")[0]) for task in members for up in task.upstream)
        nodes.append(Node(name, tuple(members), tuple(up for up in above if up in groups and up != name)))
    return nodes


def draw(nodes: Sequence[Node]) -> Drawing:
    """Lay the nodes out from left to right."""
    depth = layers({node.name: node.upstream for node in nodes})
    columns, links = _columns(nodes, depth)
    _untangle(columns, links)
    places = _places(columns, links)
    boxes = tuple(Box(node, places[node.name][0], places[node.name][1] - HEIGHT / 2) for node in nodes)
    edges = tuple(
        (_curve([places[slot] for slot in route]), node.state) for node in nodes for route in _routes(node, depth)
    )
    return Drawing(
        width=max((x for x, _ in places.values()), default=0.0) + WIDTH + MARGIN,
        height=max((y + _half(slot) for slot, (_, y) in places.items()), default=0.0) + MARGIN,
        boxes=boxes,
        edges=edges,
    )


def layers(upstream: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return each node's layer: the length of the longest path to it. A cycle, which no plan has, is cut."""
    depth: dict[str, int] = {}

    def visit(name: str, path: frozenset[str]) -> int:
        if name not in depth:
            above = [visit(up, path | {name}) for up in upstream[name] if up not in path | {name}]
            depth[name] = 1 + max(above, default=-1)
        return depth[name]

    for name in upstream:
        visit(name, frozenset())
    return depth


def _routes(node: Node, depth: Mapping[str, int]) -> list[list[Slot]]:
    """Return the slots that each edge into `node` passes: one in every layer between its ends."""
    return [
        [up, *(Bend(up, node.name, layer) for layer in range(depth[up] + 1, depth[node.name])), node.name]
        for up in node.upstream
    ]


def _columns(nodes: Sequence[Node], depth: Mapping[str, int]) -> tuple[list[list[Slot]], dict[Slot, list[Slot]]]:
    """Return the slots of each layer, and for each slot those in the layers beside it that it is linked to."""
    columns: list[list[Slot]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    links: dict[Slot, list[Slot]] = {node.name: [] for node in nodes}
    for node in nodes:
        columns[depth[node.name]].append(node.name)
    for node in nodes:
        for route in _routes(node, depth):
            for bend in (slot for slot in route if isinstance(slot, Bend)):
                links[bend] = []
                columns[bend.layer].append(bend)
            for left, right in pairwise(route):
                links[left].append(right)
                links[right].append(left)
    return columns, links


def _untangle(columns: list[list[Slot]], links: Mapping[Slot, Sequence[Slot]]) -> None:
    """Order each layer by where its neighbours stand, sweeping to and fro, so that few edges cross."""
    for sweep in range(_SWEEPS):
        path = list(pairwise(columns if sweep % 2 == 0 else columns[::-1]))
        for fixed, moving in path:
            rank = {slot: place for place, slot in enumerate(fixed)}
            own = {slot: place for place, slot in enumerate(moving)}
            moving.sort(key=lambda slot: _mean([rank[other] for other in links[slot] if other in rank], own[slot]))


def _places(columns: Sequence[Sequence[Slot]], links: Mapping[Slot, Sequence[Slot]]) -> dict[Slot, tuple[float, float]]:
    """Give each slot its left end and middle: as near to its neighbours' as the others in its layer let it."""
    y: dict[Slot, float] = {slot: i * (HEIGHT + GAP_Y) for column in columns for i, slot in enumerate(column)}
    halves = [[_half(slot) for slot in column] for column in columns]
    height = max((2 * sum(column) + GAP_Y * (len(column) - 1) for column in halves), default=0.0)
    both = list(zip(columns, halves, strict=True))
    for sweep in range(_SWEEPS):
        for column, own in both if sweep % 2 == 0 else both[::-1]:
            wanted = [_mean([y[other] for other in links[slot]], y[slot]) for slot in column]
            y.update(zip(column, _spread(wanted, own, height), strict=True))
    return {
        slot: (MARGIN + layer * (WIDTH + GAP_X), MARGIN + y[slot])
        for layer, column in enumerate(columns)
        for slot in column
    }


def _half(slot: Slot) -> float:
    return HEIGHT / 2 if isinstance(slot, str) else 0.0


def _spread(wanted: Sequence[float], halves: Sequence[float], height: float) -> list[float]:
    """Return middles in the same order near to the wanted ones: none overlaps the next, all lie within `height`."""
    placed = list(wanted)
    for i, half in enumerate(halves):
        placed[i] = max(placed[i], placed[i - 1] + halves[i - 1] + GAP_Y + half if i else half)
    shift = _mean([want - place for want, place in zip(wanted, placed, strict=True)], 0.0)
    placed = [place + shift for place in placed]
    for i, half in enumerate(halves):
        placed[i] = max(placed[i], placed[i - 1] + halves[i - 1] + GAP_Y + half if i else half)
    floor = height
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], floor - halves[i])
        floor = placed[i] - halves[i] - GAP_Y
    return placed


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """Return an SVG path from the right side of the first box through the slots to the left side of the last."""
    (x, y), *rest = points
    x += WIDTH
    path = [f"M{x:g},{y:.1f}"]
    for i, (left, to) in enumerate(rest):
        bend = (left - x) / 2
        path.append(f"C{x + bend:g},{y:.1f} {left - bend:g},{to:.1f} {left:g},{to:.1f}")
        x, y = left, to
        if i < len(rest) - 1:
            x += WIDTH
            path.append(f"H{x:g}")
    return "".join(path)
