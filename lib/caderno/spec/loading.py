"""From a pipeline file and its notebooks to tasks: every matrix unfolded, every name and type checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

from caderno.errors import InvalidPipeline, Problem, did_you_mean
from caderno.project import Project
from caderno.spec import notebook as notebooks
from caderno.spec import types, yaml
from caderno.spec.day import NeedsDay, WrongTemplate, fill
from caderno.spec.file import FromOutput, PipelineFile, TaskFile, validate
from caderno.spec.gating import check_gate
from caderno.spec.matrix import UNKNOWN, axes_text, task_id, unfold
from caderno.spec.notebook import UNSET, Notebook
from caderno.spec.pipeline import (
    MODEL_KIND,
    FromFile,
    FromPrevious,
    FromTask,
    FromUrl,
    InputSpec,
    OpenAxis,
    Pipeline,
    Source,
    Task,
)
from caderno.spec.surroundings import check_surroundings
from caderno.spec.yaml import Document, Key


def choose(project: Project, name: str | None) -> str:
    """Return the pipeline to use: the one named, else the only one, else the one marked `default: true`."""
    known = project.pipelines()
    if name is not None:
        project.pipeline_file(name)
        return name
    if len(known) == 1:
        return next(iter(known))
    marked = [stem for stem, path in known.items() if _is_default(project, path.stem)]
    if len(marked) == 1:
        return marked[0]
    listed = ", ".join(known)
    reason = "several are marked `default: true`" if marked else "none is marked `default: true`"
    raise InvalidPipeline([Problem("params/", f"several pipelines ({listed}), and {reason}", "use --pipeline NAME")])


def _is_default(project: Project, name: str) -> bool:
    path = project.pipeline_file(name)
    value = yaml.load(path, project.relative(path)).value
    return isinstance(value, dict) and value.get("default") is True


def load(
    project: Project,
    name: str,
    profile: str | None = None,
    overrides: Sequence[tuple[str, str]] = (),
    day: date | None = None,
) -> Pipeline:
    """Load the pipeline `name`, the profile laid over it and then each override ("train.seed", "7").

    `day` is what {{ ds }} stands for; without it parameters that name it keep their notebook's defaults.

    Raises InvalidPipeline with every problem found in the file and its notebooks.
    """
    path = project.pipeline_file(name)
    document = yaml.load(path, project.relative(path))
    if profile is not None:
        overlay = project.profile_file(profile)
        document = document.overlaid(yaml.load(overlay, project.relative(overlay)))
    for target, text in overrides:
        document = document.overlaid(_override(document, target, text))
    file = validate(document)
    if file.name != name:
        where = document.where(("name",))
        raise InvalidPipeline([Problem(where, f"is named {file.name!r}, its file {name}.yaml", "make the two equal")])
    read = {task: _notebook(project, document, task, written) for task, written in file.tasks.items()}
    return _Unfolder(project, document, file, read, {}, day).pipeline(profile)


def _override(document: Document, target: str, text: str) -> Document:
    """Return the overlay for `-p target=text`: a task's parameter or input, or a parameter of the pipeline."""
    value = yaml.scalar(text)
    task, dot, parameter = target.rpartition(".")
    tree: Any = {"params": {parameter: value}}
    key: Key = ("params", parameter)
    if dot:
        tasks = validate(document).tasks
        if task not in tasks:
            raise InvalidPipeline([Problem(f"-p {target}", f"there is no task {task!r}", did_you_mean(task, tasks))])
        section = "inputs" if parameter in tasks[task].inputs else "params"
        tree, key = {"tasks": {task: {section: {parameter: value}}}}, ("tasks", task, section, parameter)
    return Document(tree, {key: (f"-p {target}={text}", 0)})


def _notebook(project: Project, document: Document, name: str, task: TaskFile) -> Notebook | tuple[Problem, ...]:
    """Return a task's notebook, or what is wrong with it."""
    path = project.notebooks / task.notebook
    if not path.is_file():
        known = [p.relative_to(project.notebooks).as_posix() for p in project.notebooks.rglob("*.ipynb")]
        hint = did_you_mean(task.notebook, known, "notebook")
        where = document.where(("tasks", name, "notebook"))
        return (Problem(where, f"there is no notebooks/{task.notebook}", hint),)
    try:
        return notebooks.read(path, project.relative(path))
    except InvalidPipeline as error:
        return error.problems


_LONGEST = 200  # bytes of a folder's name; file systems admit 255


class _Unfolder:
    """Unfolds one pipeline file, gathering problems as it goes.

    `read` are the notebooks by task, or what is wrong with them; `values` those of axes that come from outputs,
    as far as they are known.
    """

    def __init__(
        self,
        project: Project,
        document: Document,
        file: PipelineFile,
        read: Mapping[str, Notebook | tuple[Problem, ...]],
        values: Mapping[OpenAxis, Sequence[Any]],
        day: date | None,
    ) -> None:
        self.project = project
        self.document = document
        self.file = file
        self.read = read
        self.values = values
        self.day = day
        self.problems = [problem for found in read.values() if isinstance(found, tuple) for problem in found]
        self.axes = {
            name: unfold(
                task.matrix,
                {axis: found for (owner, axis), found in values.items() if owner == name},
                partial(self._matrix_problem, name),
            )
            for name, task in file.tasks.items()
        }
        self._agreeing: dict[tuple[str, tuple[str, ...]], dict[tuple[Any, ...], list[str]]] = {}
        self.sources = {
            (name, axis): source
            for name, task in file.tasks.items()
            for axis, found in task.matrix.axes.items()
            if isinstance(found, FromOutput) and (source := self._values_source(name, axis, found.output))
        }

    def pipeline(self, profile: str | None) -> Pipeline:
        tasks: dict[str, Task] = {}
        for name, task in self.file.tasks.items():
            notebook = self.read[name]
            if isinstance(notebook, tuple):
                continue
            self._check_names(name, task, notebook)
            self._check_resources(name, task)
            for axes in self.axes[name]:
                unfolded = self._task(name, task, notebook, axes)
                tasks[unfolded.id] = unfolded
        if not any(isinstance(notebook, tuple) for notebook in self.read.values()):
            self._check_shared()
        check_gate(self.file, self._problem)
        check_surroundings(self.project, self.file, self._problem)
        if self.problems:
            raise InvalidPipeline(dict.fromkeys(self.problems))
        ordered = {task_id: tasks[task_id] for task_id in self._order(tasks)}

        def closed(values: Mapping[OpenAxis, Sequence[Any]]) -> Pipeline:
            known = {**self.values, **values}
            return _Unfolder(self.project, self.document, self.file, self.read, known, self.day).pipeline(profile)

        return Pipeline(
            self.file.name,
            self.file.description,
            profile,
            ordered,
            self.file.resources,
            None if self.file.preload is None else tuple(self.file.preload),
            {axis: source for axis, source in self.sources.items() if axis not in self.values},
            self.file.gate,
            self.file.delivery,
            self.file.routes,
            self.file.remote,
            self.day,
            closed,
        )

    def _values_source(self, name: str, axis: str, text: str) -> FromTask | None:
        """Return the output that the values of an axis come from; it must be one, whatever the matrix."""
        key: Key = ("tasks", name, "matrix", axis, "from")
        task, _, output = text.partition(".")
        found, _ = self._from_task(key, task, output, {})
        if len(found) > 1:
            self._problem(key, f"task {task} has a matrix: which of its outputs is meant is not known")
        return found[0] if found and isinstance(found[0], FromTask) else None

    def _check_resources(self, name: str, task: TaskFile) -> None:
        there = self.file.resources
        for resource, amount in task.resources.items():
            key: Key = ("tasks", name, "resources", resource)
            if resource not in there:
                hint = f"give the pipeline resources: {{{resource}: …}}"
                if resource == "cpus":
                    hint = "cpus is a key of the task itself"
                elif there:
                    hint = did_you_mean(resource, there, "resource")
                self._problem(key, f"the pipeline has no resource {resource!r}", hint)
            elif amount > there[resource]:
                self._problem(key, f"takes {amount} of {resource}, and a run has {there[resource]}", "take less")

    def _matrix_problem(self, name: str, key: Key, message: str, hint: str) -> None:
        self._problem(("tasks", name, "matrix", *key), message, hint)

    def _problem(self, key: Key, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.document.where(key), message, hint))

    def _check_names(self, name: str, task: TaskFile, notebook: Notebook) -> None:
        """Check that each name the task hands over is declared, and stands in one section only."""
        if not notebook.is_python:
            return
        seen: dict[str, str] = {}
        for section in ("params", "inputs", "outputs"):
            for parameter in getattr(task, section):
                key = ("tasks", name, section, parameter)
                if task.outputs.get(parameter) == MODEL_KIND and section == "outputs":
                    continue  # the notebook logs it to MLflow under this name; that is no parameter
                if parameter in seen:
                    self._problem(key, f"{parameter!r} of task {name} stands in {seen[parameter]} too", "keep one")
                seen[parameter] = section
                if parameter not in notebook.parameters:
                    self._undeclared(key, parameter, notebook)
        written = " ".join(
            text for value in task.inputs.values() for text in ([value] if isinstance(value, str) else value)
        )
        worked_out = " ".join(re.findall(r"\{\{.*?\}\}", str([*task.params.values(), *self.file.params.values()])))
        for axis in task.matrix.axes:
            used = f"{{{axis}}}" in written or re.search(rf"\b{axis}\b", worked_out)
            if axis not in notebook.parameters and not used:
                self._undeclared(("tasks", name, "matrix", axis), axis, notebook)

    def _undeclared(self, key: Key, parameter: str, notebook: Notebook) -> None:
        if notebook.parameters_cell is None:
            hint = "tag the cell that assigns the parameters with `parameters` (JupyterLab: property inspector)"
            self._problem(
                key, f"{notebook.name} has no cell tagged `parameters`, so it can't receive {parameter}", hint
            )
            return
        hint = did_you_mean(parameter, notebook.parameters, "parameter")
        self._problem(key, f"{notebook.name} declares no parameter {parameter!r}", hint)

    def _check_shared(self) -> None:
        """A parameter of the pipeline that no notebook declares is a typing error."""
        declared = {
            name for notebook in self.read.values() if isinstance(notebook, Notebook) for name in notebook.parameters
        }
        for parameter in self.file.params:
            if parameter not in declared:
                hint = did_you_mean(parameter, declared, "parameter")
                self._problem(("params", parameter), f"no notebook declares a parameter {parameter!r}", hint)

    def _task(self, name: str, task: TaskFile, notebook: Notebook, axes: Mapping[str, Any]) -> Task:
        inputs = {key: self._input(name, key, value, axes) for key, value in task.inputs.items()}
        outputs = {key: self._output(name, key, value, axes) for key, value in task.outputs.items()}
        given = self._given(name, task, notebook, axes)
        self._check_inputs(name, inputs, notebook)
        defaults = {
            key: parameter.default
            for key, parameter in notebook.parameters.items()
            if key not in _paths(task) and parameter.default is not UNSET
        }
        self._check_required(name, task, notebook, given)
        upstream = {source.task for spec in inputs.values() for source in spec.sources if isinstance(source, FromTask)}
        upstream.update(self.sources[name, axis].task for axis in axes if (name, axis) in self.sources)
        for position, other in enumerate(task.after):
            upstream.update(self._after(name, position, other))
        made = Task(
            id=task_id(name, axes),
            name=name,
            axes=axes,
            notebook=notebook,
            params=defaults | given,
            given=given,
            inputs=inputs,
            outputs=outputs,
            models=frozenset(key for key, value in task.outputs.items() if value == MODEL_KIND),
            upstream=tuple(sorted(upstream)),
            where=self.document.where(("tasks", name)),
            retries=task.retries,
            timeout=task.timeout,
            memory=task.memory,
            cold=task.kernel == "cold",
            cpus=task.cpus,
            resources=task.resources,
            on_request=task.on_request,
            strict=self.file.strict if task.strict is None else task.strict,
            env=tuple(sorted({*self.file.env, *task.env})),
        )
        for axis, part in zip(axes, made.folder.split("/")[1:], strict=True):
            if len(part) > _LONGEST:
                key: Key = ("tasks", name, "matrix", axis)
                self._problem(key, f"a value of {axis} is too long: results stand in a folder of its name")
        return made

    def _given(self, name: str, task: TaskFile, notebook: Notebook, axes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters that the pipeline sets: shared, then the matrix's, then the task's own."""
        shared = {key: (value, ("params", key)) for key, value in self.file.params.items()}
        matrix = {key: (value, ("tasks", name, "matrix", key)) for key, value in axes.items()}
        own = {key: (value, ("tasks", name, "params", key)) for key, value in task.params.items()}
        given = {}
        for parameter, (value, key) in (shared | matrix | own).items():
            if parameter in _paths(task):
                continue
            if parameter in notebook.parameters or not notebook.is_python:
                try:
                    given[parameter] = self._converted(key, parameter, fill(value, self.day, axes), notebook)
                except WrongTemplate as error:
                    self._problem(key, f"parameter {parameter!r}: {error}")
                except NeedsDay:
                    pass  # as by hand: the notebook's default
        return given

    def _converted(self, key: Key, parameter: str, value: Any, notebook: Notebook) -> Any:
        declared = notebook.parameters.get(parameter)
        if declared is None or value is UNKNOWN:
            return value
        if declared.default is UNSET and not declared.required:
            hint = "papermill replaces it by a literal: write the default as one, and build the object in a later cell"
            self._problem(key, f"{declared.where}: the default of {parameter!r} is an expression", hint)
        if declared.annotation is None:
            return value
        try:
            return types.convert(value, declared.annotation)
        except types.WrongType as error:
            self._problem(key, f"parameter {parameter!r}: {error}", f"declared in {declared.where}")
            return value

    def _check_inputs(self, name: str, inputs: Mapping[str, InputSpec], notebook: Notebook) -> None:
        """An input's annotation must admit what it will receive: a path, or a list of them."""
        for parameter, spec in inputs.items():
            declared = notebook.parameters.get(parameter)
            if declared is None or declared.annotation is None:
                continue
            try:
                types.convert(["path"] if spec.many else "path", declared.annotation)
                if any(isinstance(source, FromPrevious) for source in spec.sources):
                    types.convert(None, declared.annotation)
            except types.WrongType as error:
                hint = f"declared in {declared.where}; it receives " + ("a list of paths" if spec.many else "a path")
                self._problem(("tasks", name, "inputs", parameter), f"input {parameter!r}: {error}", hint)

    def _check_required(self, name: str, task: TaskFile, notebook: Notebook, given: Mapping[str, Any]) -> None:
        for parameter, declared in notebook.parameters.items():
            if declared.required and parameter not in given and parameter not in _paths(task):
                hint = f"declared without a default in {declared.where}"
                if "{{" in str(task.params.get(parameter, self.file.params.get(parameter))):
                    hint = "it depends on the day of the run: --day 2013-11-05"
                self._problem(("tasks", name), f"task {name} gives no value for {parameter!r}", hint)

    def _input(self, name: str, parameter: str, value: str | list[str], axes: Mapping[str, Any]) -> InputSpec:
        key: Key = ("tasks", name, "inputs", parameter)
        texts = value if isinstance(value, list) else [value]
        sources: list[Source] = []
        many = isinstance(value, list)
        for text in texts:
            found, several = self._sources(name, key, text, axes)
            sources.extend(found)
            many = many or several
        return InputSpec(", ".join(texts), tuple(sources), many)

    def _sources(self, name: str, key: Key, text: str, axes: Mapping[str, Any]) -> tuple[list[Source], bool]:
        kind, colon, rest = text.partition(":")
        if kind == "file" and colon and not rest.startswith("//"):
            return [FromFile(self._formatted(key, rest, axes))], False
        if kind == "previous" and colon:
            outputs = self.file.tasks[name].outputs
            if rest not in outputs:
                self._problem(key, f"task {name} has no output {rest!r}", did_you_mean(rest, outputs, "output"))
            return [FromPrevious(rest)], False
        if "://" in text:
            return [FromUrl(self._formatted(key, text, axes))], False
        task, dot, output = text.partition(".")
        if not dot:
            hint = f"an input is TASK.OUTPUT, file:PATH, previous:OUTPUT or a URL; did you mean 'file:{text}'?"
            self._problem(key, f"{text!r} is no source of an input", hint)
            return [], False
        return self._from_task(key, task, output, axes)

    def _from_task(self, key: Key, task: str, output: str, axes: Mapping[str, Any]) -> tuple[list[Source], bool]:
        if task not in self.file.tasks:
            self._problem(key, f"there is no task {task!r}", did_you_mean(task, self.file.tasks, "task"))
            return [], False
        outputs = self.file.tasks[task].outputs
        if output not in outputs:
            self._problem(key, f"task {task} has no output {output!r}", did_you_mean(output, outputs, "output"))
            return [], False
        matching, many = self._instances(key, task, axes)
        return [FromTask(task_id, output) for task_id in matching], many

    def _instances(self, key: Key, task: str, axes: Mapping[str, Any]) -> tuple[list[str], bool]:
        """Return the instances of `task` that agree with `axes`, and whether it has an axis that we have not."""
        instances = self.axes[task]
        shared = tuple(axis for axis in instances[0] if axis in axes)
        if any(one[axis] is UNKNOWN for one in (axes, *instances) for axis in shared):
            found = [task_id(task, other) for other in instances if _may_agree(axes, other, shared)]
            return found, len(shared) < len(instances[0])
        if (task, shared) not in self._agreeing:  # once for all values: a sweep may feed another of its size
            index = self._agreeing[task, shared] = {}
            for other in instances:
                index.setdefault(tuple(other[axis] for axis in shared), []).append(task_id(task, other))
        agreeing = self._agreeing[task, shared].get(tuple(axes[axis] for axis in shared), [])
        if not agreeing:
            self._problem(key, f"no instance of {task} has {axes_text(axes)}", "give both the same matrix values")
        return agreeing, len(shared) < len(instances[0])

    def _after(self, name: str, position: int, other: str) -> list[str]:
        if other not in self.file.tasks:
            hint = did_you_mean(other, self.file.tasks, "task")
            self._problem(("tasks", name, "after", position), f"there is no task {other!r}", hint)
            return []
        return [task_id(other, axes) for axes in self.axes[other]]

    def _output(self, name: str, parameter: str, path: str, axes: Mapping[str, Any]) -> str:
        key: Key = ("tasks", name, "outputs", parameter)
        if path == MODEL_KIND:
            return parameter
        path = self._formatted(key, path, axes)
        if (
            path.startswith("/")
            or ".." in path.split("/")
            or path in ("", "notebook.ipynb", "report.html", "log.txt", "task.json")
        ):
            self._problem(key, f"output {parameter!r} can't be {path!r}", "give a file name, such as train.parquet")
        return path

    def _formatted(self, key: Key, text: str, axes: Mapping[str, Any]) -> str:
        """Return `text` with {{ … }} worked out, as far as the day is known, and {axis} replaced by the axis' value."""
        try:
            text = str(fill(text, self.day, axes))
        except WrongTemplate as error:
            self._problem(key, str(error))
        except NeedsDay:
            return text

        def value(match: re.Match[str]) -> str:
            if match[1] not in axes:
                self._problem(key, f"{match[0]} is no axis of the matrix", did_you_mean(match[1], axes, "axis"))
            return str(axes.get(match[1], match[0]))

        return re.sub(r"\{(\w+)\}", value, text)

    def _order(self, tasks: Mapping[str, Task]) -> Iterator[str]:
        """Yield the ids so that each stands after its upstream, else as in the file."""
        try:
            yield from TopologicalSorter({task.id: task.upstream for task in tasks.values()}).static_order()
        except CycleError as error:
            circle = list(dict.fromkeys(member.partition("[")[0] for member in error.args[1]))
            path = " → ".join([*circle, circle[0]])
            where = self.document.where(("tasks", circle[0]))
            hint = "take one of these edges out of `inputs` or `after`"
            raise InvalidPipeline([Problem(where, f"the tasks wait for each other: {path}", hint)]) from None


def _may_agree(one: Mapping[str, Any], other: Mapping[str, Any], shared: Sequence[str]) -> bool:
    return all(UNKNOWN in (one[axis], other[axis]) or one[axis] == other[axis] for axis in shared)


def _paths(task: TaskFile) -> set[str]:
    """Return the parameters that receive a path: inputs and outputs, but for models, which go through MLflow."""
    return {*task.inputs, *(name for name, path in task.outputs.items() if path != MODEL_KIND)}
