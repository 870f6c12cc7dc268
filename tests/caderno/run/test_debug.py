"""A failed task once more, its kernel kept for a console."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from jupyter_client import BlockingKernelClient
from workshop import Workshop, ended

pytestmark = pytest.mark.kernel


@pytest.fixture
def failing(shop: Workshop) -> Workshop:
    shop.notebook("make.ipynb", "made: str = ''", "open(made, 'w').write('41')")
    shop.notebook("train.ipynb", "made: str = ''\nseed: int = 1\nout: str = ''", "n = int(open(made).read())",
                  "if seed == 1:\n    1 / (n - 41)\nopen(out, 'w').write('x')")  # fmt: skip
    shop.pipeline("""
        make: {notebook: make.ipynb, outputs: {made: made.txt}}
        train: {notebook: train.ipynb, inputs: {made: make.made}, outputs: {out: deep/er/out.txt}}
    """)
    return shop


def connection(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield what the command prints, until it names the kernel's connection file, which comes last."""
    assert process.stdout
    for line in process.stdout:
        yield line
        if match := re.search(r"--existing (\S+)", line):
            yield match[1]
            return


def test_the_kernel_waits_at_the_failing_cell_until_it_is_ended(failing: Workshop) -> None:
    assert failing.caderno("run").code == 1
    before = sorted(path.name for path in failing.store.home("train").iterdir())
    process = failing.start("debug", "train")
    *said, file = connection(process)
    assert "✗ train failed in notebooks/train.ipynb, cell 3" in "".join(said)
    assert "ZeroDivisionError: division by zero" in "".join(said)
    client = BlockingKernelClient(connection_file=file)
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=30)
    outputs: list[str] = []
    client.execute_interactive(
        "print(n + 1, seed)",
        timeout=30,
        output_hook=lambda message: outputs.append(message["content"].get("text", "")),
    )
    client.stop_channels()
    assert "".join(outputs) == "42 1\n"
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 1
    assert "Traceback" not in done
    assert not [kernel for kernel in kernels if kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE]
    assert not Path(file).exists()
    assert sorted(path.name for path in failing.store.home("train").iterdir()) == before
    run = failing.mlflow_runs()[-1]
    assert run.info.status == "FAILED"
    assert run.data.tags["caderno.debug"] == "true"


def test_a_task_that_succeeds_this_time_leaves_no_result(failing: Workshop) -> None:
    assert failing.caderno("run", "make").code == 0
    done = failing.caderno("debug", "train", "-p", "train.seed=2")
    assert done.code == 0
    assert "train ran to its end" in done
    assert failing.plan("train").to_run == 1


def test_upstream_must_be_there(failing: Workshop) -> None:
    done = failing.caderno("debug", "train")
    assert done.code == 2
    assert "train needs results that are not there: make\n  run: caderno run make" in done
