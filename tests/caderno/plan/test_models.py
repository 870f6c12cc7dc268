from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from caderno.plan import digests, models

TRAIN = """
import sys
import numpy as np
import skops.io
from sklearn.ensemble import RandomForestClassifier
kept = [object() for _ in range(int(sys.argv[2]))]  # it lies elsewhere in memory
table = np.arange(40.0).reshape(20, 2)
forest = RandomForestClassifier(3, random_state=int(sys.argv[3])).fit(table, table[:, 0] > 19)
skops.io.dump(forest, sys.argv[1])
"""


def trained(file: Path, objects: int, seed: int) -> Path:
    file.parent.mkdir()
    subprocess.run([sys.executable, "-c", TRAIN, str(file), str(objects), str(seed)], check=True)
    return file


def test_a_forest_trained_in_two_processes_has_one_digest_and_another_forest_another_one(tmp_path: Path) -> None:
    one, other = trained(tmp_path / "1/model.skops", 1, 0), trained(tmp_path / "2/model.skops", 100_000, 0)
    third = trained(tmp_path / "3/model.skops", 1, 1)
    assert one.read_bytes() != other.read_bytes()
    assert digests.of_path(one)[0] == digests.of_path(other)[0] != digests.of_path(third)[0]
    assert digests.of_path(one.parent)[0] == digests.of_path(other.parent)[0]


def test_arrays_and_their_places_count(tmp_path: Path) -> None:
    found = set()
    for place, (schema, arrays) in enumerate(
        [
            ('"file": "11.npy", "file": "22.npy"', {"11.npy": "a", "22.npy": "b"}),
            ('"file": "33.npy", "file": "44.npy"', {"44.npy": "b", "33.npy": "a"}),  # the same
            ('"file": "11.npy", "file": "22.npy"', {"11.npy": "b", "22.npy": "a"}),
            ('"file": "11.npy", "file": "11.npy"', {"11.npy": "a", "22.npy": "b"}),
            ('"file": "11.npy", "file": "22.npy"', {"11.npy": "a"}),
        ]
    ):
        file = tmp_path / f"{place}.skops"
        with zipfile.ZipFile(file, "w") as archive:
            for name, text in {**arrays, "schema.json": schema}.items():
                archive.writestr(name, text)
        found.add(models.of_skops(file))
    assert len(found) == 4


def test_what_only_has_such_a_name_counts_byte_by_byte(tmp_path: Path) -> None:
    (tmp_path / "x.skops").write_text("no archive")
    assert models.of_skops(tmp_path / "x.skops") == digests.of_file(tmp_path / "x.skops")


def test_an_archive_that_can_not_be_unpacked_counts_byte_by_byte(tmp_path: Path) -> None:
    path = tmp_path / "broken.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("schema.json", "{}" * 1000)
    content = bytearray(path.read_bytes())
    content[45:55] = b"\xff" * 10
    path.write_bytes(content)
    assert models.of_skops(path) == digests.of_file(path)
