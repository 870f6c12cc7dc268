"""Everything that can be known to be wrong before anything runs: pipelines with each profile, and all notebooks."""

from __future__ import annotations

from dataclasses import dataclass

from caderno.errors import InvalidPipeline, Problem
from caderno.project import Project
from caderno.spec import notebook as notebooks
from caderno.spec.loading import load


@dataclass(frozen=True)
class Checked:
    """How much was looked at, and every problem found, each once."""

    pipelines: int
    notebooks: int
    problems: tuple[Problem, ...]


def check(project: Project) -> Checked:
    """Load each pipeline, alone and with each profile, and read each notebook under notebooks/; run nothing."""
    problems: dict[Problem, None] = {}
    profiles = [None, *(path.stem for path in sorted(project.profiles.glob("*.yaml")))]
    pipelines = project.pipelines()
    for name in pipelines:
        for profile in profiles:
            try:
                load(project, name, profile)
            except InvalidPipeline as error:
                problems.update(dict.fromkeys(error.problems))
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
    return Checked(len(pipelines), len(found), tuple(problems))
