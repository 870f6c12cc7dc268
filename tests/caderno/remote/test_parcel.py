"""What comes from a place that others write to is read as a stranger's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from workshop import NewShop, Workshop, record

from caderno.errors import RemoteError
from caderno.plan import digests
from caderno.plan.planner import Planned
from caderno.remote.parcel import LARGEST, packed, unpacked

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(new_shop: NewShop) -> tuple[Workshop, Planned, dict[str, Any]]:
    """A task with a result, a file and a folder, and its parcel."""
    shop = new_shop()
    shop.write("source.csv", "a,b\n")
    shop.notebook("one.ipynb", "source: str = ''\ntext: str = ''\nfolder: str = ''", "text")
    shop.pipeline("""
        one:
          notebook: one.ipynb
          inputs: {source: "file:source.csv"}
          outputs: {text: text.txt, folder: folder}
    """)
    planner = shop.planner()
    (planned,) = planner.plan().tasks
    assert planned.resolved
    staged = planner.store.stage("one", planned.resolved.fingerprint)
    (staged / "text.txt").write_text("hello")
    for name in ("b.txt", "a/z.txt", "a/y/x.txt", "c/w.txt"):
        (staged / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / "folder" / name).write_text(name)
    (staged / "notebook.ipynb").write_text("{}")
    (staged / "beside.bin").write_bytes(b"undeclared, but a part of the result")
    outputs = {}
    for name, path in planned.task.outputs.items():
        digest, size = digests.of_path(staged / path)
        outputs[name] = {"path": path, "digest": digest, "size": size}
    place = planner.store.commit(
        staged,
        record(fingerprint=planned.resolved.fingerprint, outputs=outputs, inputs=planned.resolved.inputs),
    )
    found = planner.store.latest("one")
    assert found
    return shop, planned, json.loads(packed(place, found[0]).model_dump_json())


def opened(made: tuple[Workshop, Planned, dict[str, Any]], parcel: Any) -> Any:
    _, planned, _ = made
    assert planned.resolved
    data = parcel if isinstance(parcel, bytes) else json.dumps(parcel).encode()
    return unpacked(data, "tiny", planned.task, planned.resolved)


def test_a_parcel_lists_all_files_but_those_that_are_made_on_arrival(made: Any) -> None:
    files = {file.path for file in opened(made, made[2]).files}
    assert files == {
        *("text.txt", "notebook.ipynb", "beside.bin"),
        *("folder/b.txt", "folder/a/z.txt", "folder/a/y/x.txt", "folder/c/w.txt"),
    }


def file_of(parcel: dict[str, Any], path: str) -> dict[str, Any]:
    return next(file for file in parcel["files"] if file["path"] == path)


def renamed(path: str) -> Change:
    return lambda parcel: file_of(parcel, "beside.bin").update(path=path)


def of_record(**fields: Any) -> Change:
    return lambda parcel: parcel["record"].update(fields)


def of_output(**fields: Any) -> Change:
    return lambda parcel: parcel["record"]["outputs"]["text"].update(fields)


def of_input(path: str) -> Change:
    return lambda parcel: parcel["record"]["inputs"]["source"][0].update(path=path)


HOSTILE: dict[str, Change] = {
    "a path upwards": renamed("../../../../evil"),
    "a path upwards further on": renamed("folder/../../evil"),
    "an absolute path": renamed("/tmp/evil"),
    "a path of nothing": renamed(""),
    "the folder itself": renamed("."),
    "a path with a hole": renamed("folder//evil"),
    "a path that ends in a slash": renamed("evil/"),
    "a path of Windows": renamed("..\\evil"),
    "a path with a NUL": renamed("evil\0"),
    "the record": renamed("task.json"),
    "the page": renamed("report.html"),
    "a place twice": renamed("text.txt"),
    "a file where a folder is": renamed("folder/a"),
    "a file below a file": renamed("text.txt/evil"),
    "a digest that is a path": lambda parcel: file_of(parcel, "beside.bin").update(digest="../../../../../etc/passwd"),
    "a size below nothing": lambda parcel: file_of(parcel, "beside.bin").update(size=-1),
    "another fingerprint": of_record(fingerprint="ff" * 32),
    "another task": of_record(task="two"),
    "another pipeline": of_record(pipeline="other"),
    "another notebook": of_record(notebook="../evil.ipynb"),
    "a failure": of_record(state="failed"),
    "a run that is a path": of_record(run="../../../evil"),
    "an output elsewhere": of_output(path="../../evil"),
    "an output that is another file": of_output(path="beside.bin"),
    "an output of another digest": of_output(digest="00" * 32),
    "an output of another size": of_output(size=4),
    "an output more": lambda parcel: parcel["record"]["outputs"].update(more=parcel["record"]["outputs"]["text"]),
    "no outputs": of_record(outputs={}),
    "a file of an output missing": lambda parcel: parcel["files"].remove(file_of(parcel, "folder/a/y/x.txt")),
    "a file of an output changed": lambda parcel: file_of(parcel, "folder/a/y/x.txt").update(digest="00" * 32),
    "a file more in an output": renamed("folder/more.txt"),
    "an input that is a path upwards": of_input("../../../etc/passwd"),
    "an input that is an absolute path": of_input("/etc/passwd"),
    "another format": lambda parcel: parcel.update(format=2),
    "a key that nobody knows": lambda parcel: parcel.update(more=1),
    "no record": lambda parcel: parcel.pop("record"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_parcel_is_refused(made: Any, change: Change) -> None:
    parcel = json.loads(json.dumps(made[2]))
    change(parcel)
    assert parcel != made[2]
    with pytest.raises(RemoteError):
        opened(made, parcel)


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[]", b"\xff\xfe", b"{" * 100_000, b" " * (LARGEST + 1)])
def test_what_is_no_parcel_is_refused(made: Any, data: bytes) -> None:
    with pytest.raises(RemoteError, match=r"can't be read|is longer"):
        opened(made, data)


def test_a_result_that_is_not_what_its_record_says_is_not_sent(new_shop: NewShop) -> None:
    shop = new_shop()
    shop.notebook("one.ipynb", "text: str = ''", "text")
    shop.pipeline("one: {notebook: one.ipynb, outputs: {text: text.txt}}")
    shop.settle()
    found = shop.store.latest("one")
    assert found
    (found[1] / "text.txt").write_text("tampered with")
    with pytest.raises(RemoteError, match="output text are not those of its record"):
        packed(found[1], found[0])
