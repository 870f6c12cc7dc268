"""All pipelines of a project, the broken ones among them."""

from __future__ import annotations

from pathlib import Path

from caderno_airflow.description import Pipeline
from caderno_airflow.folder import each


def pipeline(folder: Path, name: str, schedule: str = "schedule: '@daily'") -> None:
    (folder / "params").mkdir(exist_ok=True)
    (folder / f"params/{name}.yaml").write_text(f"name: {name}\n{schedule}\ntasks: {{a: {{notebook: a.ipynb}}}}\n")


def test_what_is_broken_costs_no_other_pipeline(tmp_path: Path) -> None:
    for name in ("good", "refused", "fine"):
        pipeline(tmp_path, name)
    pipeline(tmp_path, "unscheduled", "")
    pipeline(tmp_path, "broken", "schedule: [")
    (tmp_path / "params/folder.yaml").mkdir()
    (tmp_path / "params/bytes.yaml").write_bytes(b"schedule: \xff\xfe\n")
    (tmp_path / "params/deep.yaml").write_text(f"schedule: {'[' * 5000}")

    def make(one: Pipeline) -> str:
        if one.name == "refused":
            raise ValueError("not by me")
        return one.name.upper()

    made, problems = each(tmp_path, make)
    assert made == {"good": "GOOD", "fine": "FINE"}
    places = [problem.partition(": ")[0] for problem in problems]
    assert places == [
        "params/broken.yaml:4",
        "params/bytes.yaml",
        "params/deep.yaml:1",
        "params/folder.yaml",
        "params/refused.yaml:2",
    ]


def test_one_pipeline_can_be_looked_at_alone(tmp_path: Path) -> None:
    pipeline(tmp_path, "good")
    pipeline(tmp_path, "broken", "schedule: [")
    assert each(tmp_path, lambda one: one.name, "good") == ({"good": "good"}, [])
