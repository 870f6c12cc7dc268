"""Papermill on its own with `--engine caderno-warm`: what it writes, raises and refuses stays its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from workshop import Workshop, code, until

from caderno.run.preload import imported

pytestmark = [pytest.mark.kernel, pytest.mark.skipif(sys.platform != "linux", reason="warm kernels are Linux's")]

NOTEBOOKS: dict[str, list[Any]] = {
    "good": ["import os, sys\nprint(n, os.getcwd().rpartition('/')[2], __name__, sys.argv[0])", "n"],
    "fails": ["one = 1", "def f():\n    return one / 0\nf()", "never = 1"],
    "raises and goes on": [code("1 / 0", "raises-exception"), "print('after')"],
    "skips": [code("1 / 0", "skip-execution"), "print('after')"],
    "asks": ["input('who? ')"],
    "dies": ["import os\nos._exit(3)", "never = 1"],
    "shows": [
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
        "%%bash\necho from bash",
        "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'), display_id='a')\nprint('x' * 100_000)",
    ],
    "is late": ["import time\ntime.sleep(20)"],
}


@pytest.fixture(scope="module")
def papermill(new_shop: Callable[[], Workshop]) -> Callable[..., tuple[int, str, Any]]:
    """Run papermill's command line on one of the notebooks; return exit code, standard error, written notebook."""
    shop = new_shop()
    for name, cells in NOTEBOOKS.items():
        shop.notebook(f"{name}.ipynb", "n: int = 1", *cells)

    def run(name: str, *options: str) -> tuple[int, str, Any]:
        command = [sys.executable, "-m", "papermill", f"{name}.ipynb", "out.ipynb", "-p", "n", "7", *options]
        command += ["--no-progress-bar", "--log-level", "ERROR"]
        done = subprocess.run(
            command,
            cwd=shop.root / "notebooks",
            env=shop.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        return done.returncode, done.stderr, json.loads((shop.root / "notebooks/out.ipynb").read_text())

    return run


def comparable(notebook: Any) -> Any:
    """Return what of an executed notebook is the same each time."""
    for cell in notebook["cells"]:
        cell.pop("id", None)
        if "os._exit" in cell["source"][-1]:
            cell["execution_count"] = None  # the kernel says the number, if it lives long enough
        kept = cell["metadata"].get("papermill", {})
        cell["metadata"]["papermill"] = {name: kept.get(name) for name in ("exception", "status")}
        cell["metadata"].pop("execution", None)
        for output in cell.get("outputs", []):
            output.pop("metadata", None)
    kept = notebook["metadata"]["papermill"]
    notebook["metadata"]["papermill"] = {
        name: kept[name] for name in ("parameters", "exception", "environment_variables")
    }
    text = json.dumps(notebook)
    return json.loads(re.sub(r"ipykernel_\d+/\d+|0x[0-9a-f]+", "", text))


def last_line(error: str) -> str:
    """Return the last line of what was said, but for the kernel's warning of TCP, which warm ones do not use."""
    lines = [line for line in error.strip().splitlines() if not line.startswith("[IPKernelApp] WARNING")]
    return lines[-1] if lines else ""


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_papermill_writes_and_raises_the_same(papermill: Callable[..., tuple[int, str, Any]], name: str) -> None:
    options = ["--execution-timeout", "2"] if name == "is late" else []
    plain_code, plain_error, plain = papermill(name, *options)
    warm_code, warm_error, warm = papermill(name, "--engine", "caderno-warm", *options)
    assert warm_code == plain_code
    assert comparable(warm) == comparable(plain)
    if plain_code:  # of a notebook that succeeds, papermill at times ends with noise of its sockets
        assert last_line(warm_error) == last_line(plain_error)


def test_papermills_api_runs_notebooks_in_kernels_of_one_parent(shop: Workshop) -> None:
    cells = [
        "import os\nfrom pathlib import Path",
        "open('../calls.txt', 'a').write(Path('/proc/self/comm').read_text())",
    ]
    shop.notebook("one.ipynb", "n: int = 1", *cells, "open('../parents', 'a').write(f'{os.getppid()}\\n')")
    program = """
        import sys, papermill
        def run(n):
            return papermill.execute_notebook(
                "notebooks/one.ipynb", f"{n}.ipynb", {"n": n}, engine_name="caderno-warm", cwd="notebooks",
                progress_bar=False)
        for n in range(3):
            run(n)
    """
    shop.write("program.py", program)
    subprocess.run([sys.executable, "program.py"], cwd=shop.root, env=shop.environment(), check=True)
    assert shop.calls() == ["caderno-kernel"] * 3
    assert len(set((shop.root / "parents").read_text().split())) == 1


def test_what_a_notebook_imports_is_found_and_neighbours_are_left_out(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "neighbour.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    cells = [
        "%matplotlib inline\nimport numpy as np, os, neighbour",
        "from sklearn.tree import export_text",
        "np.random.rand()",
    ]
    assert imported(cells) == ["numpy", "sklearn.tree:export_text", "numpy:random"]


def test_a_console_attaches_to_a_warm_kernel(shop: Workshop) -> None:
    """By its connection file, as `jupyter console --existing` does, while papermill runs a cell in it."""
    cells = [
        "import asyncio, sys\nfrom pathlib import Path\nheld = 41",
        "Path('../begun').write_text(next(word for word in sys.argv if word.endswith('kernel.json')))",
        "while not Path('../go').exists():\n    await asyncio.sleep(0.05)",
        "found = seen",
    ]
    shop.notebook("one.ipynb", None, *cells)
    command = [sys.executable, "-m", "papermill", "--engine", "caderno-warm", "one.ipynb", "../out.ipynb"]
    run = subprocess.Popen([*command, "--no-progress-bar"], cwd=shop.root / "notebooks", env=shop.environment())
    until(lambda: (shop.root / "begun").exists(), what="the cell did not start")
    client = BlockingKernelClient(connection_file=(shop.root / "begun").read_text())
    client.load_connection_file()
    client.start_channels()
    asked = client.execute("seen = held + 1")
    shop.write("go", "")
    reply = client.get_shell_msg(timeout=20)
    assert (reply["parent_header"]["msg_id"], reply["content"]["status"]) == (asked, "ok")
    client.stop_channels()
    assert run.wait(30) == 0
    last = json.loads((shop.root / "out.ipynb").read_text())["cells"][-1]
    assert last["metadata"]["papermill"]["status"] == "completed"
