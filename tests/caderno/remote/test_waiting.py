"""A remote that is waited for (CADERNO_REMOTE_WAIT): for who runs a pipeline task by task, on several machines."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from workshop import NOTE, NewShop, Workshop, ended, until

pytestmark = pytest.mark.kernel
HELD = f"{NOTE}\nimport time\nnote('begun')\nwhile not Path('../go').exists():\n    time.sleep(0.02)"


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "share").mkdir()
    return tmp_path / "share"


@pytest.fixture
def pair(share: Path, new_shop: NewShop) -> list[Workshop]:
    """Two machines, whose task waits in its middle until there is a file `go`."""
    made = []
    for shop in (new_shop(), new_shop()):
        shop.notebook("one.ipynb", "made: str = 'made.txt'", HELD, "Path(made).write_text('it')")
        shop.pipeline("one: {notebook: one.ipynb, outputs: {made: made.txt}}", f"remote: {share}\n")
        made.append(shop)
    return made


def test_what_is_made_while_the_remote_is_away_is_sent_when_it_is_back(share: Path, pair: list[Workshop]) -> None:
    one, two = pair
    process = one.start("run", env={"CADERNO_REMOTE_WAIT": "2m"})
    until(lambda: one.calls() == ["begun"])
    away = share.rename(share.with_name("away"))
    one.write("go", "")
    until(lambda: one.finished("one"))
    time.sleep(2)
    assert process.poll() is None, "it ended without waiting"
    away.rename(share)
    done = ended(process)
    assert done.code == 0, done.out
    assert "it is waited for, 120 s" in done
    assert "1 to fetch" in two.caderno("plan")


def test_a_run_whose_results_can_not_be_sent_in_time_fails_and_the_next_one_sends_them(
    share: Path, pair: list[Workshop]
) -> None:
    one, two = pair
    process = one.start("run", env={"CADERNO_REMOTE_WAIT": "1s"})
    until(lambda: one.calls() == ["begun"])
    away = share.rename(share.with_name("away"))
    one.write("go", "")
    done = ended(process)
    assert done.code == 1, done.out
    assert "results could not be sent to" in done
    away.rename(share)
    again = one.caderno("run", env={"CADERNO_REMOTE_WAIT": "1s"})
    assert again.code == 0, again.out
    assert one.calls() == ["begun"]
    assert "1 to fetch" in two.caderno("plan")


def test_a_wait_that_is_no_duration_is_wrong_input(pair: list[Workshop]) -> None:
    done = pair[0].caderno("plan", env={"CADERNO_REMOTE_WAIT": "soon"})
    assert done.code == 2
    assert "CADERNO_REMOTE_WAIT='soon' is no duration" in done
