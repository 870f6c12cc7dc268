"""`kill -9` before and after each thing that a step of delivery does: one champion, and a ledger that agrees."""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from deliveries import AUTHOR, BEST, REVIEWER, delivery, last, told
from workshop import PIPELINE, Workshop

from caderno.deliver import decisions, pages
from caderno.deliver import delivery as steps
from caderno.deliver.candidates import best
from caderno.deliver.delivery import Delivery
from caderno.deliver.ledger import Ledger
from caderno.deliver.registry import Registry

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

EFFECTS: list[tuple[Any, str]] = [
    (Ledger, "append"),
    (Registry, "register"),
    (Registry, "point"),
    (Registry, "follow"),
    (decisions, "save"),
    (pages, "write"),
]
STEPS = {
    "release": ["release"],
    "approve": ["approve", "2", "--why", "fine", "--as", str(REVIEWER)],
    "promote": ["promote", "2"],
    "rollback": ["rollback", "--why", "alarms"],
}


def killed_at(moment: int) -> None:
    """Make this process kill itself at a moment, counted over all that it changes."""
    count = iter(range(10_000))

    def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(count) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            if next(count) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for owner, name in EFFECTS:
        setattr(owner, name, deadly(getattr(owner, name)))


def ended(shop: Workshop, arguments: list[str], moment: int) -> bool:
    """Run a command in a child that kills itself at a moment; return whether it came to its end before."""
    child = os.fork()
    if not child:
        os.setsid()
        killed_at(moment)
        done = told(shop, *arguments)
        os._exit(done.code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status == 0


@pytest.fixture(scope="module")
def at(prepared: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workshop]:
    """Gives a project in which the step that is named comes next."""

    def copy(step: str) -> Workshop:
        root = tmp_path_factory.mktemp("killed") / "tiny project"
        shutil.copytree(prepared.root, root, symlinks=True)
        shop = Workshop(root.resolve(), prepared.variables)
        last(shop, BEST)
        if step in ("promote", "rollback"):
            delivery(shop).sign("approve", "2", REVIEWER, "fine")
        if step == "rollback":
            delivery(shop).promote("2", AUTHOR, "", False, "1")
        return shop

    return copy


@pytest.fixture(scope="module")
def measured(at: Callable[[str], Workshop]) -> Iterator[None]:
    """What the gate measures of the next release is measured once: it changes nothing, and takes seconds."""
    shop = at("release")
    there = delivery(shop)
    candidate = best(shop.project, there.store, there.gate)
    with there.files(there.standing().versions["1"]) as champion:
        question = steps.Question(candidate.model, champion, candidate.test, candidate.record.metrics)
        found = steps.measure(shop.project, question, there.gate)
    with patch.object(steps, "measure", lambda *_: found):
        yield


def agree(shop: Workshop) -> Delivery:
    """Assert that ledger, aliases and files agree; return what there is."""
    there = delivery(shop)
    assert there.faults() == []
    assert told(shop, "ledger", "verify").code == 0
    return there


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("step", STEPS)
def test_whatever_is_cut_short_is_completed_or_undone_by_the_next_command(
    at: Callable[[str], Workshop], step: str
) -> None:
    moment, said = 0, 0
    while True:
        shop = at(step)
        before = delivery(shop).standing()
        if ended(shop, STEPS[step], moment):
            break
        assert len(delivery(shop).registry.aliases().get("champion", "")) == 1, "one champion, at every moment"
        listed = told(shop, "models")
        assert listed.code == 0, listed.out
        there = agree(shop)
        after = there.standing()
        assert after.champion in (before.champion, {"promote": "2", "rollback": "1"}.get(step))
        if after.champion != before.champion:
            said += "completed a step that was cut short" in listed
        again = told(shop, *STEPS[step])
        assert again.code == (2 if after.champion != before.champion else 0), again.out
        there = agree(shop)
        now = there.standing()
        assert now.champion == {"promote": "2", "rollback": "1"}.get(step, "1")
        if step == "release":
            assert (now.challenger, now.versions["3"].outcome) == ("3", "promote")
            assert len([row for row in there.ledger.rows() if row.entry.action == "release"]) == 3
            assert len(shop.client().search_model_versions(f"name = '{PIPELINE}'")) == 3
        if step == "approve":
            assert there.lacking("2") == []
        moment += 1
        shutil.rmtree(Path(shop.root).parent)
    assert moment >= {"release": 12, "approve": 6, "promote": 8, "rollback": 6}[step], moment
    if step in ("promote", "rollback"):
        assert said >= 1, "nothing was said of a step that was completed"


def test_of_sixteen_promotions_at_once_exactly_one_wins(at: Callable[[str], Workshop]) -> None:
    shop = at("promote")
    (read, write), (ready, all_ready) = os.pipe(), os.pipe()
    children = []
    for _ in range(16):
        child = os.fork()
        if not child:
            os.close(write)
            there = delivery(shop)
            seen = there.standing().champion
            os.write(all_ready, b".")
            os.read(read, 1)  # all at the same moment, when the pipe is closed
            try:
                there.promote("2", AUTHOR, "", False, seen)
            except steps.Outpaced:
                os._exit(3)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    told_ready = b""
    while len(told_ready) < len(children):
        told_ready += os.read(ready, 16)
    for end in (read, write, ready, all_ready):
        os.close(end)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert codes == [0, *[3] * 15]
    assert agree(shop).standing().champion == "2"
    assert [row.entry.action for row in delivery(shop).ledger.rows()].count("promote") == 2
