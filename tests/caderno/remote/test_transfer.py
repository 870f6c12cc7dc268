"""Files of results on their way: resumed, checked, and never seen in part. No kernel runs here."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remotes import S3, Shared, outputs, settled
from workshop import NewShop, Workshop, until

from caderno.errors import RemoteError, Stopped
from caderno.plan.planner import Planned
from caderno.plan.records import TaskRecord
from caderno.remote import Elsewhere

BIG = os.urandom(40_000_000)  # more than two chunks
Machines = Callable[[Callable[[Workshop], Workshop]], list[Workshop]]

PUSH = """
import sys
from pathlib import Path
from caderno.plan.store import read_record
from caderno.remote import Elsewhere, Files
url, root, place = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
remote = Elsewhere("tiny", url, lambda: Files(url, "tiny", root))
print("ready", flush=True)
remote.push(place, read_record(place), lambda: False)
"""


def big_one(shop: Workshop) -> Workshop:
    shop.notebook("one.ipynb", "made: str = 'made.bin'", "made")
    shop.pipeline("one: {notebook: one.ipynb, outputs: {made: made.bin}}")
    return shop


def never() -> bool:
    return False


def sent(shop: Workshop, remote: Elsewhere, content: bytes) -> Path:
    """Give the one task of a project a result and send it; return its place."""
    ((place, record),) = settled(shop, content)
    assert remote.push(place, record, never)
    return place


def looked_up(shop: Workshop, remote: Elsewhere) -> Planned:
    """Return how the one task of a project is planned."""
    planner = shop.planner()
    planner._remote = remote
    return planner.plan().tasks[0]


def pulled(shop: Workshop, remote: Elsewhere, given_up: Callable[[], bool] = never) -> bool:
    """Fetch the one result of a project, into the folder where it is staged."""
    planned = looked_up(shop, remote)
    assert planned.resolved
    assert planned.state == "fetch"
    staged = shop.store.stage("one", planned.resolved.fingerprint, keep=True)
    return remote.pull(planned.resolved.fingerprint, staged, given_up) is not None


def part(shop: Workshop) -> Path:
    (found,) = shop.store.home("one").glob("*.part")
    return found


def test_a_result_arrives_with_all_its_files_and_nothing_else(shared: Shared, machines: Machines) -> None:
    one, two = machines(big_one)
    place = sent(one, shared.elsewhere(one), b"content")
    said: list[str] = []
    remote = shared.elsewhere(two)
    remote.listen(said.append)
    assert pulled(two, remote)
    names = {path.name for path in part(two).rglob("*")}
    assert names == {path.name for path in place.iterdir()} - {"task.json", "report.html"}
    assert (part(two) / "made.bin").read_bytes() == (place / "made.bin").read_bytes()
    assert said == []


def test_a_pull_that_was_stopped_goes_on_from_where_it_was(shared: Shared, machines: Machines) -> None:
    one, two = machines(big_one)
    sent(one, shared.elsewhere(one), BIG)
    chunks = iter([False, False, True])  # after two chunks
    with pytest.raises(Stopped):
        pulled(two, shared.elsewhere(two), lambda: next(chunks))
    (arriving,) = part(two).glob(".*.arriving")
    assert arriving.stat().st_size == 32_000_000
    arriving.chmod(0o600)
    began = arriving.stat().st_ino
    assert pulled(two, shared.elsewhere(two))
    assert (part(two) / "made.bin").stat().st_ino == began, "it was fetched anew"
    assert (part(two) / "made.bin").read_bytes() == b"one" + BIG


def test_what_was_left_and_is_of_no_use_is_fetched_anew(shared: Shared, machines: Machines) -> None:
    one, two = machines(big_one)
    sent(one, shared.elsewhere(one), b"content")
    planned = looked_up(two, shared.elsewhere(two))
    assert planned.resolved
    staged = two.store.stage("one", planned.resolved.fingerprint)
    digest = next(iter(one.record("one").outputs.values())).digest
    (staged / f".{digest}.arriving").write_bytes(b"oth")
    (staged / "made.bin").mkdir()
    (staged / "made.bin" / "left.txt").write_text("by a notebook that was killed")
    (staged / "link").symlink_to("/etc")
    (staged / "far" / "away").mkdir(parents=True)
    assert pulled(two, shared.elsewhere(two))
    assert (staged / "made.bin").read_bytes() == b"onecontent"
    assert {path.name for path in staged.iterdir()} == {"made.bin", "notebook.ipynb"}


@pytest.mark.parametrize("damage", ["other bytes", "shorter", "longer", "gone"])
def test_a_file_that_is_damaged_there_is_told_and_replaced_by_the_next_push(
    shared: Shared, machines: Machines, damage: str
) -> None:
    one, two = machines(big_one)
    place = sent(one, shared.elsewhere(one), b"content")
    record = one.record("one")
    digest = record.outputs["made"].digest
    remote = shared.elsewhere(two)
    fs, root = _inside(remote, two)
    path = f"{root}/one/{record.fingerprint}/{digest}"
    content = {"other bytes": b"onecontenT", "shorter": b"one", "longer": b"onecontent and more"}.get(damage)
    if content is None:
        fs.rm_file(path)
    else:
        fs.pipe_file(path, content)
    said: list[str] = []
    remote.listen(said.append)
    if damage == "longer":  # no more is read than the record says
        assert pulled(two, remote)
        return
    assert not pulled(two, remote)
    assert len(said) == 1
    assert said[0].startswith("one can't be fetched from")
    assert "and is computed" in said[0]
    assert looked_up(two, remote).state == "run"
    assert remote.push(place, record, never)  # as the one who computed it instead
    assert pulled(two, shared.elsewhere(two))


def _inside(remote: Elsewhere, shop: Workshop) -> tuple[Any, str]:
    """Return the file system of a place and its root."""
    remote.ready()
    place: Any = remote._place
    return place._fs, place._root


def test_what_is_there_is_not_sent_again(s3: S3, new_shop: NewShop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    shop = big_one(new_shop())
    shared = Shared(f"{s3.url}/again", s3.variables)
    place = sent(shop, shared.elsewhere(shop), b"content")
    record = shop.record("one")
    before = len(s3.requests())
    assert shared.elsewhere(shop).push(place, record, never) is None
    assert [one.split()[0] for one in s3.requests()[before:]] == ["GET"]
    s3.fs().rm_file(f"{s3.url}/again/tiny/one/{record.fingerprint}.json")
    before = len(s3.requests())
    assert shared.elsewhere(shop).push(place, record, never) == 0
    put = [one for one in s3.requests()[before:] if one.startswith("PUT")]
    assert len(put) == 1, "only the parcel was missing"
    assert put[0].endswith(".json")


def test_a_plan_lists_once_a_task_and_reads_only_what_is_there(
    s3: S3, new_shop: NewShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    shared = Shared(f"{s3.url}/listing", s3.variables)

    def wide(shop: Workshop) -> Workshop:
        shop.notebook("one.ipynb", "n: int = 0\nmade: str = 'made.bin'", "made")
        numbers = list(range(40))
        shop.pipeline(f"one: {{notebook: one.ipynb, matrix: {{n: {numbers}}}, outputs: {{made: made.bin}}}}")
        return shop

    one, two = wide(new_shop()), wide(new_shop())
    remote = shared.elsewhere(one)
    for place, record in settled(one, b"")[:30]:
        remote.push(place, record, never)
    before = len(s3.requests())
    planner = two.planner()
    planner._remote = shared.elsewhere(two)
    assert sorted(one.state for one in planner.plan().tasks) == ["fetch"] * 30 + ["run"] * 10
    asked = [one.split()[0] for one in s3.requests()[before:]]
    assert asked == ["GET"] * 31


def test_a_push_that_is_killed_leaves_nothing_that_looks_whole(shared: Shared, machines: Machines) -> None:
    one, two = machines(big_one)
    ((place, _),) = settled(one, BIG)
    command = [sys.executable, "-c", PUSH, shared.url, str(one.root), str(place)]
    environment = one.environment(PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    rng = random.Random(7)
    for _ in range(8):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.0, 1.2))
        process.kill()
        process.communicate()
        remote = shared.elsewhere(two)
        if looked_up(two, remote).state == "fetch":
            assert pulled(two, remote), "it looked whole"
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert pulled(two, shared.elsewhere(two))
    assert (part(two) / "made.bin").read_bytes() == b"one" + BIG


def test_two_that_send_different_results_of_one_fingerprint_do_not_mix_them(shared: Shared, machines: Machines) -> None:
    one, two = machines(big_one)
    first, second = settled(one, b"1" * 8_000_000), settled(two, b"2" * 8_000_000)
    for _ in range(3):
        start = threading.Barrier(2)
        threads = []
        for shop, ((place, record),) in ((one, first), (two, second)):
            threads.append(threading.Thread(target=_send_anew, args=(shared.elsewhere(shop), place, record, start)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        third = big_one(Workshop(one.root.with_name(f"third {os.urandom(3).hex()}"), one.variables))
        assert pulled(third, shared.elsewhere(third))
        assert (part(third) / "made.bin").read_bytes() in (b"one" + b"1" * 8_000_000, b"one" + b"2" * 8_000_000)


def _send_anew(remote: Elsewhere, place: Path, record: TaskRecord, start: threading.Barrier) -> None:
    start.wait()
    remote.push(place, record, never, anew=True)


def test_a_run_that_is_killed_while_it_fetches_is_taken_up_by_the_next(shared: Shared, machines: Machines) -> None:
    one, two = machines(big_one)
    sent(one, shared.elsewhere(one), BIG * 3)
    rng = random.Random(11)
    seen = []
    for _ in range(6):
        process = two.start("run")
        until(lambda process=process: process.poll() is not None or any(two.store.home("one").glob("*.part/.*")))
        time.sleep(rng.uniform(0.0, 0.1))
        process.kill()
        process.communicate()
        places = [*two.store.home("one").glob("*.part/.*.arriving"), *two.store.home("one").glob("*/made.bin")]
        seen.append(max((path.stat().st_size for path in places), default=0))
    done = two.caderno("run")
    assert done.code == 0, done.out
    assert two.run_states()["one"] in ("fetched", "cached")
    assert seen == sorted(seen), "what had arrived was fetched anew"
    assert outputs(two) == outputs(one)
    assert not list(two.store.home("one").glob("*.part"))


def test_a_server_that_dies_in_the_middle_is_told_and_the_task_is_computed(
    tmp_path: Path, new_shop: NewShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = S3(tmp_path)
    server.start()
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    shared = Shared(server.url, server.variables)
    one, two = (shared.joined(big_one(new_shop())) for _ in range(2))
    try:
        sent(one, shared.elsewhere(one), BIG)
        remote = shared.elsewhere(two)
        said: list[str] = []
        remote.listen(said.append)
        chunks = 0

        def given_up() -> bool:
            nonlocal chunks
            chunks += 1
            if chunks == 2:
                server.stop()
            return False

        assert not pulled(two, remote, given_up)
    finally:
        server.stop()
    assert len(said) == 1
    assert "does not answer" in said[0]
    assert looked_up(two, remote).state == "run"
    assert len(said) == 1, "it is said once"
    with pytest.raises(RemoteError):
        remote.push(one.result("one"), one.record("one"), never)
