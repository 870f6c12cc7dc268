"""Writing the pipeline entry of notebooks that exist already; whatever is a guess says so in the YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caderno import spec
from caderno.errors import CadernoError, ProjectNotFound
from caderno.project import Project
from caderno.spec import Notebook, yaml
from caderno.spec import notebook as notebooks
from caderno.spec.schema import HEADER, NAME, pipeline_schema
from caderno.start import guess, naming

_HEAD = HEADER + "\nname: {name}\n\ntasks:\n"


@dataclass(frozen=True)
class Options:
    """`pipeline` names the file to write to; `tag` and `copy` allow to touch notebooks; `dry_run` writes nothing."""

    pipeline: str | None = None
    tag: bool = False
    copy: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Adopted:
    """What was written to `file` (relative to the root), and what a person should look at."""

    file: str
    text: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _One:
    task: str
    notebook: Notebook
    target: Path
    paths: list[guess.PathGuess]
    hardcoded: list[guess.Hardcoded]


def adopt(start: Path, files: Sequence[Path], options: Options) -> Adopted:
    """Write an entry for each of `files` into a pipeline of the project around `start`, which is made if need be.

    Raises CadernoError for a notebook that can't be read or lies outside of notebooks/, and InvalidPipeline
    where what was written does not load.
    """
    try:
        project = Project.find(start)
    except ProjectNotFound:
        project = Project(start.resolve())
    name = _pipeline(project, options.pipeline)
    path = project.params / f"{name}.yaml"
    before = path.read_text(encoding="utf-8") if path.exists() else _HEAD.format(name=name)
    known, taken = _known(project, path) if path.exists() else ({}, set())
    notes: list[str] = []
    ones: list[_One] = []
    for file in dict.fromkeys(file.resolve() for file in files):
        target = _target(project, file, options)
        where = target.relative_to(project.notebooks).as_posix()
        if where in known:
            notes.append(f"{where} is the task {known[where]} already: left as it is")
            continue
        task = _free(naming.identifier(target.stem, "task"), taken)
        taken.add(task)
        notebook = _tagged(file, target, project.relative(target), options, notes)
        found = guess.paths(notebook, file.parent, project.root)
        ones.append(_One(task, notebook, target, found, guess.hardcoded(notebook)))
    existed = path.exists()
    entries = "".join(_entry(one, ones, project) for one in ones)
    notes += [note for one in ones for note in _notes(one)]
    text = _inserted(before, entries, project.relative(path)) if entries else before
    if entries and not options.dry_run:
        _write(project, path, text, ones)
        spec.load(project, name)
    return Adopted(project.relative(path), entries if existed else text, tuple(notes))


def _pipeline(project: Project, name: str | None) -> str:
    if name is not None:
        return naming.identifier(name) if name not in project.pipelines() else name
    return spec.choose(project, None) if project.pipelines() else naming.identifier(project.root.name)


def _known(project: Project, path: Path) -> tuple[dict[str, str], set[str]]:
    """Return ({notebook: its task}, all names of tasks) of a pipeline file, be it valid or not."""
    value = yaml.load(path, project.relative(path)).value
    tasks = value.get("tasks") if isinstance(value, dict) else None
    if not isinstance(tasks, dict):
        return {}, set()
    return {str(t["notebook"]): n for n, t in tasks.items() if isinstance(t, dict) and "notebook" in t}, set(tasks)


def _target(project: Project, file: Path, options: Options) -> Path:
    if file.is_relative_to(project.notebooks):
        return file
    target = project.notebooks / file.name
    if not options.copy:
        hint = f"move it to {project.relative(target)}, or let it be copied there: caderno adopt --copy {file.name}"
        raise CadernoError(f"{project.relative(file)} is not under notebooks/, where tasks have their notebooks", hint)
    if target.exists() and target.read_bytes() != file.read_bytes():
        raise CadernoError(f"{project.relative(target)} is there already, and differs", "rename one of the two")
    return target


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _tagged(file: Path, target: Path, name: str, options: Options, notes: list[str]) -> Notebook:
    """Return the notebook; without a `parameters` cell, tag one if that is allowed, else say what could be done."""
    notebook = notebooks.read(file, name)
    if notebook.parameters_cell is not None:
        return notebook
    cell = guess.candidate(notebook)
    if cell is None:
        notes.append(
            f"{name} has no cell tagged `parameters`, nor one of literals that could be: to set anything from the "
            "pipeline, move its paths and numbers into a first cell and tag it"
        )
        return notebook
    if not options.tag:
        notes.append(f"{name} has no cell tagged `parameters`; cell {cell.index + 1} could be it: use --tag")
        return notebook
    content = json.loads(notebook.raw)
    tags = content["cells"][cell.index].setdefault("metadata", {}).setdefault("tags", [])
    tags.append("parameters")
    raw = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if not options.dry_run and target == file:
        file.write_text(raw, encoding="utf-8")
    notes.append(f"{name}: cell {cell.index + 1} {'would be' if options.dry_run else 'is now'} tagged `parameters`")
    cells = tuple(
        notebooks.CodeCell(c.index, c.source, (*c.tags, "parameters") if c.index == cell.index else c.tags, c.tree)
        for c in notebook.cells
    )
    return Notebook(notebook.path, notebook.name, raw, notebook.kernel, notebook.language, cells)


def _entry(one: _One, ones: Sequence[_One], project: Project) -> str:
    """Return the YAML of a task, indented by two spaces."""
    made = {p.path: f"{other.task}.{p.name}" for other in ones if other is not one for p in other.paths if p.written}
    inputs, outputs, open_ = [], [], []
    for path in one.paths:
        if path.written:
            outputs.append(f"{path.name}: {_quoted(path.path.name)} # a guess: a cell writes to it")
        elif path.path in made:
            inputs.append(f"{path.name}: {made[path.path]} # a guess: that notebook writes the same path")
        elif path.path.exists():
            source = project.relative(path.path)
            inputs.append(f"{path.name}: {_quoted(f'file:{source}')} # a guess: the default is a path that is there")
        else:
            open_.append(f"# {path.name}: {_quoted(path.default)} looks like a path, but is not there: an input?")
    lines = [f"  {one.task}:", f"    notebook: {_quoted(one.target.relative_to(project.notebooks).as_posix())}"]
    for section, found in (("inputs", inputs), ("outputs", outputs)):
        if found:
            lines += [f"    {section}:", *(f"      {line}" for line in found)]
    for hard in one.hardcoded:
        lines.append(
            f"    # cell {hard.cell} {hard.verb} {_quoted(hard.text)}: no parameter, so a change of it is not seen"
        )
    others = _order_only(one, ones)
    if others:
        lines.append(f"    after: [{', '.join(others)}] # a guess: it reads what they write, by paths in their cells")
    return "\n".join([*lines, *(f"    {line}" for line in open_)]) + "\n"


def _order_only(one: _One, ones: Sequence[_One]) -> list[str]:
    """Return the tasks that write, by a path in a cell, what `one` reads by such a path."""
    read = {(one.notebook.path.parent / h.text).resolve() for h in one.hardcoded if not h.written}
    read |= {p.path for p in one.paths if not p.written}
    return [
        other.task
        for other in ones
        if other is not one
        and any(h.written and (other.notebook.path.parent / h.text).resolve() in read for h in other.hardcoded)
    ]


def _notes(one: _One) -> list[str]:
    notes = []
    if one.hardcoded:
        shown = ", ".join(h.text for h in one.hardcoded[:3])
        notes.append(
            f"{one.notebook.name} names files in its cells ({shown}): make them parameters, then inputs and outputs"
        )
    if one.target != one.notebook.path and any(not Path(h.text).is_absolute() for h in one.hardcoded):
        notes.append(
            f"{one.target.name} was made for {one.notebook.path.parent}: its relative paths lead elsewhere now"
        )
    return notes


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z][\w./-]*", text) else json.dumps(text, ensure_ascii=False)


def _inserted(before: str, entries: str, name: str) -> str:
    """Return the file's text with `entries` at the end of its block of tasks; all else stays as it is."""
    lines = before.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if re.match(r"tasks:\s*(#.*)?$", line)), None)
    if start is None:
        hint = f"write `tasks:` as a block there, or add by hand:\n{entries}"
        raise CadernoError(f"{name} has no line `tasks:` to write under", hint)
    inside = [i for i in range(start + 1, len(lines)) if re.match(r"\s+[^\s#]", lines[i])]
    outside = next((i for i in range(start + 1, len(lines)) if re.match(r"[^\s#]", lines[i])), len(lines))
    inside = [i for i in inside if i < outside]
    step = re.match(r"\s+", lines[inside[0]]) if inside else None
    if step and step[0] != "  ":
        entries = "".join(step[0] + line[2:] for line in entries.splitlines(keepends=True))
    end = inside[-1] + 1 if inside else start + 1
    head = "".join(lines[:end])
    gap = "" if head.endswith("\n") else "\n"
    return head + gap + ("\n" if inside else "") + entries + "".join(lines[end:])


def _write(project: Project, path: Path, text: str, ones: Sequence[_One]) -> None:
    for folder in (project.notebooks, project.params, project.lib, project.reports):
        folder.mkdir(parents=True, exist_ok=True)
    for one in ones:
        if not one.target.exists():
            one.target.write_text(one.notebook.raw, encoding="utf-8")
    described = project.params / NAME
    if not described.exists():
        described.write_text(pipeline_schema(), encoding="utf-8")
    path.write_text(text, encoding="utf-8")
