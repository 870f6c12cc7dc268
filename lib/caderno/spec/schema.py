"""The JSON Schema of a pipeline file, by which editors complete and check it."""

from __future__ import annotations

import json

from caderno.spec.file import PipelineFile

NAME = "pipeline.schema.json"  # in params/; the first line of each pipeline names it
HEADER = f"# yaml-language-server: $schema={NAME}"


def pipeline_schema() -> str:
    """Return the schema as the text of its file."""
    return json.dumps(PipelineFile.model_json_schema(), indent=1, ensure_ascii=False) + "\n"
