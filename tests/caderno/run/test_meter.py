"""What a task and each of its cells took, and the limit of its memory."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from workshop import Workshop

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux only")]

M = 1_000_000
CHILD = f"import time; x = b'x' * {120 * M}; [None for _ in iter(lambda: time.process_time() < 0.7, False)]"
CELLS = [
    "import subprocess, sys, time\nx = 1",
    f"held = bytearray({150 * M})\nfor i in range(0, len(held), 4096): held[i] = 1",
    "del held",
    "end = time.process_time() + 0.6\nwhile time.process_time() < end: pass",
    f"subprocess.run([sys.executable, '-c', {CHILD!r}])",
    "y = 1",
]


@pytest.fixture(scope="module", params=["warm", pytest.param("cold", marks=pytest.mark.slow)])
def measured(new_shop: Callable[[], Workshop], request: pytest.FixtureRequest) -> Workshop:
    shop = new_shop()
    shop.notebook("one.ipynb", None, *CELLS)
    shop.pipeline("one: {notebook: one.ipynb}")
    done = shop.caderno("run", "--kernels", request.param)
    assert done.code == 0, done.out
    return shop


def test_the_peak_of_a_cell_is_its_own(measured: Workshop) -> None:
    first, holds, frees, _, child, last = (cell.peak or 0 for cell in measured.record("one").cells)
    assert holds - first > 140 * M
    assert frees < holds + 5 * M
    assert last < holds - 100 * M
    assert child - last > 80 * M


def test_processor_time_counts_what_a_cell_started(measured: Workshop) -> None:
    cpu = [cell.cpu or 0.0 for cell in measured.record("one").cells]
    assert cpu[3] >= 0.5
    assert cpu[4] >= 0.4
    assert cpu[5] < 0.3


def test_the_task_has_the_sum_and_the_peak(measured: Workshop) -> None:
    record = measured.record("one")
    assert record.cpu
    assert record.cpu >= sum(cell.cpu or 0.0 for cell in record.cells) - 0.1
    assert record.peak == max(cell.peak or 0 for cell in record.cells)
    assert "of processor" in measured.caderno("show", "one")
    assert "of memory" in (measured.result("one") / "report.html").read_text()


@pytest.mark.parametrize("kind", ["warm", pytest.param("cold", marks=pytest.mark.slow)])
def test_a_task_over_its_memory_is_ended_and_says_where_and_how_much(shop: Workshop, kind: str) -> None:
    grows = f"import time\nkept = []\nwhile True:\n    kept.append(b'x' * {10 * M})\n    time.sleep(0.02)"
    shop.notebook("grows.ipynb", None, "import time", grows, "after = 1")
    shop.notebook("child.ipynb", None, f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {grows!r}])")
    shop.pipeline("""
        grows: {notebook: grows.ipynb, memory: 700M, timeout: 60s}
        child: {notebook: child.ipynb, memory: 700M, timeout: 60s}
    """)
    done = shop.caderno("run", "--kernels", kind)
    assert done.code == 1
    for task, number in (("grows", 2), ("child", 1)):
        failure = shop.outcome(task)
        assert failure.kind == "out of memory"
        assert "MB of memory, and may take 700 MB" in failure.message
        assert failure.number == number
    assert done.out.count("out of memory: stopped: it took") >= 2


def test_an_amount_of_memory_that_is_none_is_told_with_its_line(shop: Workshop) -> None:
    shop.notebook("one.ipynb", None, "1")
    shop.pipeline("one: {notebook: one.ipynb, memory: much}")
    done = shop.caderno("plan")
    assert done.code == 2
    assert "params/tiny.yaml:3: tasks.one.memory: an amount of memory is a number with a unit, such as 500M" in done
