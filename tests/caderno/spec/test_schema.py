"""The schema that editors use, the reference that people read, and the code say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from caderno.spec import yaml
from caderno.spec.file import GateFile, MatrixFile, PipelineFile, TaskFile
from caderno.spec.schema import HEADER, NAME, pipeline_schema

ROOT = Path(__file__).parents[3]
PARAMS = ROOT / "params"


def test_the_schema_beside_the_pipelines_is_that_of_the_code() -> None:
    assert (PARAMS / NAME).read_text() == pipeline_schema(), "run: caderno schema > params/pipeline.schema.json"


def test_each_pipeline_names_the_schema_and_follows_it() -> None:
    for path in PARAMS.glob("*.yaml"):
        assert path.read_text().startswith(HEADER + "\n")
        jsonschema.validate(yaml.load(path, path.name).value, json.loads(pipeline_schema()))


@pytest.mark.parametrize(
    ("task", "valid"),
    [
        ({"timeout": "20m"}, True),
        ({"timeout": 90}, True),
        ({"timeout": "soon"}, False),
        ({"matrix": {"model": ["a", 1, True], "exclude": [{"model": "a"}]}}, True),
        ({"matrix": {"model": []}}, False),
        ({"notebok": "a"}, False),
        ({"inputs": {"a": ["x.y", "file:z"]}}, True),
        ({"env": ["A B"]}, False),
    ],
)
def test_the_schema_admits_what_the_code_admits(task: dict[str, object], valid: bool) -> None:
    file = {"name": "one", "tasks": {"a": {"notebook": "a.ipynb", **task}}}
    errors = list(jsonschema.Draft202012Validator(json.loads(pipeline_schema())).iter_errors(file))
    assert (not errors) == valid, errors


@pytest.mark.parametrize(
    ("title", "model"),
    [("Keys of a pipeline", PipelineFile), ("Keys of a task", TaskFile), ("Keys of the gate", GateFile)],
    ids=["pipeline", "task", "gate"],
)
def test_the_reference_has_each_key_with_an_example_and_no_other(title: str, model: type[PipelineFile]) -> None:
    section = (PARAMS / "README.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.+) \| (.+) \|$", section, re.M)
    keys = {key for key, _, _ in rows}
    inner = {f"matrix.{key}" for key in MatrixFile.model_fields} if model is TaskFile else set()
    assert keys == {*model.model_fields, *inner}
    for key, _, example in rows:
        shown = re.search(r"`(.+)`", example)
        assert (shown and shown[1].startswith(f"{key.rpartition('.')[2]}:")) or key == "tasks", key
