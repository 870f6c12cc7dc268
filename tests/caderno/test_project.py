from __future__ import annotations

from pathlib import Path

import pytest
from workshop import Workshop

from caderno.errors import ProjectNotFound, UnknownName
from caderno.project import Project


def test_a_project_is_found_from_any_folder_in_it(shop: Workshop) -> None:
    shop.pipeline("one: {notebook: one.ipynb}")
    deep = shop.root / "notebooks/etl/deep"
    deep.mkdir(parents=True)
    for folder in (shop.root, shop.root / "lib", deep):
        assert Project.find(folder) == shop.project


def test_the_nearest_project_is_taken(shop: Workshop) -> None:
    shop.pipeline("one: {notebook: one.ipynb}")
    shop.write("notebooks/inner/params/other.yaml", "")
    assert Project.find(shop.root / "notebooks/inner").root == shop.root / "notebooks/inner"


def test_a_folder_params_without_a_pipeline_is_no_project(tmp_path: Path) -> None:
    (tmp_path / "params").mkdir()
    (tmp_path / "params/README.md").write_text("")
    with pytest.raises(ProjectNotFound, match="no project here"):
        Project.find(tmp_path)


def test_a_link_to_a_project_is_the_project(shop: Workshop, tmp_path: Path) -> None:
    shop.pipeline("one: {notebook: one.ipynb}")
    (tmp_path / "link").symlink_to(shop.root)
    assert Project.find(tmp_path / "link/notebooks") == shop.project


def test_pipelines_and_profiles_are_known_by_their_files(shop: Workshop) -> None:
    shop.pipeline("one: {notebook: one.ipynb}")
    shop.pipeline("one: {notebook: one.ipynb}", name="another")
    shop.write("params/profiles/smoke.yaml", "")
    assert list(shop.project.pipelines()) == ["another", "tiny"]
    assert shop.project.profile_file("smoke").name == "smoke.yaml"
    with pytest.raises(UnknownName, match="did you mean 'tiny'"):
        shop.project.pipeline_file("tiyn")
    with pytest.raises(UnknownName, match="did you mean 'smoke'"):
        shop.project.profile_file("smok")


def test_paths_are_written_from_the_root_with_slashes(shop: Workshop, tmp_path: Path) -> None:
    assert shop.project.relative(shop.root / "data/x.csv") == "data/x.csv"
    assert shop.project.relative(tmp_path / "x.csv") == (tmp_path / "x.csv").as_posix()
