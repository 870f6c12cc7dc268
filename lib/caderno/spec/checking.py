"""Everything that can be known to be wrong before anything runs: pipelines with each profile, and all notebooks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from caderno.errors import InvalidPipeline, Problem
from caderno.project import Project
from caderno.spec import notebook as notebooks
from caderno.spec import yaml
from caderno.spec.loading import load


@dataclass(frozen=True)
class Checked:
    """How much was looked at, every problem found, each once, and notes on what is no problem."""

    pipelines: int
    notebooks: int
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()


def check(project: Project) -> Checked:
    """Load each pipeline, alone and with each profile, and read each notebook under notebooks/; run nothing."""
    pipelines = project.pipelines()
    problems: dict[Problem, None] = {}
    for name in pipelines:
        problems.update(dict.fromkeys(_problems_of(project, name, None)))
    for path in sorted(project.profiles.glob("*.yaml")):
        problems.update(dict.fromkeys(_profile_problems(project, path.stem)))
    notes = []
    found = [path for path in sorted(project.notebooks.rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts]
    for path in found:
        name = project.relative(path)
        try:
            notebook = notebooks.read(path, name)
        except InvalidPipeline as error:
            problems.update(dict.fromkeys(error.problems))
            continue
        for cell in notebook.cells:
            if notebook.is_python and cell.tree is None and cell.source.strip():
                problems[Problem(f"{name}, cell {cell.index + 1}", "is not valid Python")] = None
        if any(cell.get("outputs") for cell in json.loads(notebook.raw)["cells"]):
            notes.append(Problem(name, "holds outputs; out of git with them: nbstripout"))
    return Checked(len(pipelines), len(found), tuple(problems), tuple(notes))


def _problems_of(project: Project, pipeline: str, profile: str | None) -> tuple[Problem, ...]:
    try:
        load(project, pipeline, profile)
    except InvalidPipeline as error:
        return error.problems
    return ()


def _profile_problems(project: Project, profile: str) -> list[Problem]:
    """Return what is wrong in a profile: it must fit one pipeline, and each other that has all of its tasks."""
    found = {name: _problems_of(project, name, profile) for name in project.pipelines()}
    fits = any(not problems for problems in found.values())
    meant = _tasks_in(project.profile_file(profile), project)
    return [
        problem
        for name, problems in found.items()
        if not fits or meant <= _tasks_in(project.pipeline_file(name), project)
        for problem in problems
    ]


def _tasks_in(path: Path, project: Project) -> set[str]:
    try:
        value = yaml.load(path, project.relative(path)).value
    except InvalidPipeline:
        return set()
    tasks = value.get("tasks") if isinstance(value, dict) else None
    return set(tasks) if isinstance(tasks, dict) else set()
