from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from caderno.plan import digests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file and one in a folder below."""
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/a.csv").write_text("1")
    (tmp_path / "in/deep/b.csv").write_text("22")
    return tmp_path / "in"


def test_a_files_digest_is_sha_256_of_its_content(folder: Path) -> None:
    assert digests.of_path(folder / "a.csv") == (hashlib.sha256(b"1").hexdigest(), 1)


def test_a_json_values_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digests.of_json({"a": 1, "b": [1, 2]}) == digests.of_json({"b": [1, 2], "a": 1})
    assert digests.of_json([1, 2]) != digests.of_json([2, 1])
    assert len({digests.of_json(value) for value in (1, 1.0, "1", True, None, [1])}) == 6


def test_a_folders_size_is_that_of_its_files(folder: Path) -> None:
    assert digests.of_path(folder)[1] == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a.csv").write_text("2"),
        lambda folder: (folder / "a.csv").rename(folder / "c.csv"),
        lambda folder: (folder / "deep/b.csv").rename(folder / "b.csv"),
        lambda folder: (folder / "deep/b.csv").unlink(),
        lambda folder: (folder / "deep/c.csv").write_text(""),
    ],
)
def test_a_folders_digest_changes_with_names_places_and_contents(folder: Path, change: object) -> None:
    before = digests.of_path(folder)[0]
    assert callable(change)
    change(folder)
    assert digests.of_path(folder)[0] != before


def test_a_folders_digest_does_not_depend_on_where_it_stands_nor_on_times(folder: Path) -> None:
    before = digests.of_path(folder)
    os.utime(folder / "a.csv", (1, 1))
    moved = folder.rename(folder.with_name("elsewhere"))
    assert digests.of_path(moved) == before


def test_a_linked_file_counts_by_its_content(folder: Path) -> None:
    target = folder.with_name("target.csv")
    target.write_text("1")
    (folder / "link.csv").symlink_to(target)
    before = digests.of_path(folder)[0]
    target.write_text("2")
    assert digests.of_path(folder)[0] != before


def test_a_linked_folder_counts_by_its_content(folder: Path) -> None:
    target = folder.with_name("target")
    target.mkdir()
    (target / "c.csv").write_text("1")
    (folder / "link").symlink_to(target)
    before = digests.of_path(folder)[0]
    (target / "c.csv").write_text("2")
    assert digests.of_path(folder)[0] != before


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "deep/up").symlink_to(folder)
    (folder / "deep/again").symlink_to(folder / "deep")
    assert digests.of_path(folder)[1] == 3


def test_a_link_that_leads_nowhere_is_no_error(folder: Path) -> None:
    """Some editors lock a file by such a link beside it."""
    (folder / ".#a.csv").symlink_to("someone@here.1234:1")
    assert digests.of_path(folder)[1] == 3


def test_what_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digests.of_path(tmp_path / "nowhere")


def described(folder: Path, run: str, flavor: int = 1) -> str:
    """The digest of a model's folder, as MLflow describes it: a long value goes on in the next line."""
    place = "/".join([run] * 3) + " " + "x" * 80
    lines = [f"artifact_path: /some/{place}\n  /artifacts", f"flavors:\n  x: {flavor}", f"model_id: m-{run}"]
    lines += [f"model_uuid: m-{run}", f"run_id: {run}", "signature:\n  run_id: kept", f"utc_time_created: {run}"]
    (folder / "MLmodel").write_text("\n".join(lines) + "\n")
    return digests.of_path(folder)[0]


def test_a_model_that_is_trained_again_has_the_same_digest_whatever_ids_and_places_mlflow_gives_it(
    folder: Path,
) -> None:
    once = described(folder, "one")
    assert described(folder, "other") == once
    assert described(folder, "other", flavor=2) != once
    text = (folder / "MLmodel").read_text()
    described(folder, "one")
    assert "kept" in text
    (folder / "MLmodel").write_text((folder / "MLmodel").read_text().replace("kept", "else"))
    assert digests.of_path(folder)[0] != once
