"""What a task prints: kept as it comes, whole lines, without secrets; and followed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from workshop import Workshop, ended, until

from caderno.run.log import Log, follow
from caderno.run.masking import Mask

SECRET = "correct-horse"


def written(path: Path, *pieces: str) -> list[str]:
    with Log(path, Mask.of({"API_TOKEN": SECRET, "PRIVATE_KEY": "first-line-of-it\nsecond-line-of-it"})) as log:
        for piece in pieces:
            log.write(piece)
    return path.read_text().splitlines()


def test_lines_are_whole_however_they_come(tmp_path: Path) -> None:
    assert written(tmp_path / "log", "one\ntw", "o\n", "three") == ["one", "two", "three"]


def test_a_secret_is_hidden_also_where_it_comes_in_pieces(tmp_path: Path) -> None:
    lines = written(tmp_path / "log", f"a {SECRET[:5]}", f"{SECRET[5:]} b\n", "first-line-of-it\nsecond-line-of-it\n")
    assert lines == ["a *** b", "***", "***"]


def test_of_a_progress_bar_the_last_state_is_kept(tmp_path: Path) -> None:
    states = [f"\r{percent} %" for percent in range(101)]
    assert written(tmp_path / "log", *states, "\n", "after\r\n") == ["100 %", "after"]


def test_control_sequences_do_not_reach_the_readers_terminal(tmp_path: Path) -> None:
    assert written(tmp_path / "log", "\x1b[31mred\x1b[0m\x1b]0;title\x07\n") == ["red"]


def test_a_log_is_followed_through_a_second_try_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.part" / "log.txt"
    path.parent.mkdir()
    path.write_text("first\n")
    running = threading.Event()
    running.set()
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.extend(follow(path, running.is_set)))
    reader.start()
    until(lambda: "first\n" in "".join(seen))
    with path.open("a") as file:
        file.write("more\n")
    until(lambda: "more\n" in "".join(seen))
    again = path.with_name("new")
    again.write_text("second\n")
    again.rename(path)
    until(lambda: "second\n" in "".join(seen))
    path.parent.rename(tmp_path / "a")
    time.sleep(0.5)
    running.clear()
    reader.join(10)
    assert "".join(seen) == "first\nmore\n── tried again\nsecond\n"


@pytest.mark.kernel
def test_the_log_of_a_task_is_followed_while_it_runs_and_kept_after(shop: Workshop) -> None:
    shop.notebook("slow.ipynb", "", "print('begun')\nimport sys, time; print('aside', file=sys.stderr)",
                  "from pathlib import Path\nwhile not Path('../go').exists(): time.sleep(.05)\nprint('gone on')",
                  "print(f'{6 * 7}')\n1 / 0")  # fmt: skip
    shop.pipeline("slow: {notebook: slow.ipynb}")
    run = shop.start("run")
    until(lambda: shop.store.running("slow"))
    assert shop.store.running("slow")
    until(lambda: "begun" in shop.caderno("log", "slow").out)
    follower = shop.start("log", "-f", "slow")
    shop.write("go", "")
    out, _ = follower.communicate(timeout=60)
    assert ended(run).code == 1
    assert out.splitlines()[:6] == ["── cell 1 of 3", "begun", "aside", "── cell 2 of 3", "gone on", "── cell 3 of 3"]
    assert "42\n" in out
    assert "ZeroDivisionError: division by zero" in out
    assert shop.store.running("slow") is None
    after = shop.caderno("log", "slow")
    assert after.out == out
    assert after.code == 0


def test_a_task_without_a_log_says_so(shop: Workshop) -> None:
    shop.notebook("a.ipynb", "made: str = ''", "1")
    shop.pipeline("a: {notebook: a.ipynb, outputs: {made: made.txt}}")
    done = shop.caderno("log", "a")
    assert done.code == 2
    assert "a has not been run yet\n  run: caderno run a" in done
    shop.settle()
    done = shop.caderno("log", "a")
    assert done.code == 2
    assert "a has no log.txt" in done
