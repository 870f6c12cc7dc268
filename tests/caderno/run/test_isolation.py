"""A warm kernel is told from a cold one by nothing but its speed.

One notebook does all that it can to leave traces; then others look for them. All run warm and cold, one after the
other in one run each, and what a probe finds must be the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from workshop import Workshop, code

from caderno.plan.records import TaskRecord

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(sys.platform != "linux", reason="warm kernels are Linux's"),
]

IMPORTS = "import matplotlib\nimport numpy\nimport pandas\nimport sklearn.linear_model"
DIRTY = """
import atexit, builtins, gc, json, locale, logging, os, random, signal, socket, sys, threading, time, warnings
import matplotlib, numpy, pandas
os.environ["LEFT"] = "x"; os.environ["TZ"] = "Asia/Tokyo"; time.tzset(); os.chdir("/"); os.umask(0)
sys.path.insert(0, "/left"); sys.argv.append("left"); sys.setrecursionlimit(5000); sys.setswitchinterval(0.01)
pandas.left = 1; pandas.options.display.max_rows = 7; pandas.read_csv = None; builtins.left = 1
import calendar; calendar.monthrange = None
matplotlib.rcParams["font.size"] = 77; numpy.random.seed(1); random.seed(1); numpy.seterr(all="raise")
numpy.set_printoptions(precision=1)
warnings.simplefilter("ignore"); logging.getLogger().setLevel(1)
signal.signal(signal.SIGUSR1, lambda *_: None); signal.setitimer(signal.ITIMER_REAL, 1000)
gc.disable(); threading.stack_size(1 << 20); socket.setdefaulttimeout(3)
kept = open("/dev/zero"); held = os.open("/dev/zero", os.O_RDONLY)
sys.modules["left"] = sys
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
"""

# What a probe looks at: an expression, with statements before its last line. Most are equal to a cold kernel's.
SAME = {  # the parts of one are divided by '; '
    "environment": "{k: v for k, v in os.environ.items() if k not in VARYING}",
    "timezone": "time.tzname",
    "folder": "os.getcwd()",
    "umask": "mask = os.umask(0o22); os.umask(mask); mask",
    "path": "sys.path",
    "main": "[sys.modules['__main__'].__name__, __name__, sorted(n for n in dir() if n.startswith('_'))]",
    "interpreter": "[sys.getrecursionlimit(), sys.getswitchinterval(), sys.executable, sys.flags.hash_randomization]",
    "module": "import pandas; [hasattr(pandas, 'left'), pandas.options.display.max_rows, callable(pandas.read_csv)]",
    "standard library": "import builtins, calendar; "
    "[callable(calendar.monthrange), hasattr(builtins, 'left'), 'left' in sys.modules]",
    "rcparams": "import matplotlib; [matplotlib.rcParams['font.size'], matplotlib.get_backend()]",
    "numpy": "import numpy; [numpy.geterr(), numpy.get_printoptions()['precision']]",
    "warnings": "import warnings; sorted(str(f) for f in warnings.filters)",
    "logging": "import logging; logging.getLogger().level",
    "signals": "import signal; {s.name: str(signal.getsignal(s)).split(' at ')[0] for s in signal.valid_signals()"
    " if isinstance(s, signal.Signals)}",
    "timer": "import signal; signal.getitimer(signal.ITIMER_REAL)[0]",
    "descriptors": "sorted({os.readlink(f'/proc/self/fd/{n}').split(':')[0] for n in os.listdir('/proc/self/fd')"
    " if os.path.exists(f'/proc/self/fd/{n}')} & {'/dev/zero'})",
    "streams": "[os.path.basename(os.readlink(f'/proc/self/fd/{n}')) for n in (1, 2)]",
    "garbage": "import gc; [gc.isenabled(), gc.get_threshold()]",
    "threads": "import threading, socket; [threading.stack_size(), socket.getdefaulttimeout(), "
    "sorted(type(t).__name__ for t in threading.enumerate() if type(t).__name__ != 'ParentPollerUnix')]",
    "session": "os.getsid(0) == os.getpid() == os.getpgid(0)",
    "locale": "import locale; [locale.getlocale(), sys.getfilesystemencoding(), sys.stdout.encoding]",
    "shell": "[type(get_ipython()).__name__, get_ipython().history_manager.session_number > 0]",
    "debugger": "import traitlets; traitlets.__file__ in get_ipython().kernel.debugger.kernel_modules",
    "history": "history = get_ipython().history_manager; "
    "[history.hist_file, list(history.search('*sys.path' + '.insert*'))]",
    "openmp": "import numpy, sklearn; from threadpoolctl import threadpool_info; "
    "sorted((i['user_api'], i['num_threads']) for i in threadpool_info())",
    "blas": "import numpy; float((numpy.ones((300, 300)) @ numpy.ones((300, 300))).sum())",
    "joblib": "from joblib import Parallel, delayed; Parallel(2)(delayed(abs)(i) for i in (-1, -2))",
    "fork": "import multiprocessing as m; m.get_context('fork').Pool(2).map(abs, [-1, -2])",
    "spawn": "import multiprocessing as m; m.get_context('spawn').Pool(2).map(abs, [-1, -2])",
    "subprocess": "import subprocess as s; "
    "s.run(['sh', '-c', 'echo $LEFT && pwd'], capture_output=True, text=True).stdout",
    "thread": "from concurrent.futures import ThreadPoolExecutor as T; list(T(2).map(abs, [-1, -2]))",
    "asyncio": "import asyncio; x = await asyncio.sleep(0, 3); [x, asyncio.get_running_loop().is_running()]",
    "project module": "import tools; [tools.VALUE, tools.__file__.endswith('lib/tools.py')]",
    "regression": "import numpy, sklearn.linear_model as l; "
    "l.LinearRegression().fit(numpy.arange(6).reshape(3, 2), [1, 2, 4]).coef_.round(6).tolist()",
}
# What must differ from kernel to kernel.
RANDOM = {
    "python": "import random; random.random()",
    "numpy's legacy": "import numpy; numpy.random.rand()",
    "numpy's": "import numpy; numpy.random.default_rng().random()",
    "scipy's": "import scipy.stats; float(scipy.stats.norm.rvs())",
    "uuid": "import uuid; str(uuid.uuid4())",
    "temporary": "import tempfile; tempfile.mktemp()",
}
PROBE = """
import json as real, os, sys, time, json
VARYING = {"MLFLOW_RUN_ID", "CADERNO_TASK_RUN", "JPY_PARENT_PID", "CADERNO_ENGINE"}
found = {}
"""
# What a notebook shows, as its outputs say.
SHOWN = [
    "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    "import pandas\npandas.DataFrame({'a': [1, 2]})",
    "%%bash\necho from bash",
    "%%time\nx = 3",
    "%%capture taken\nprint('hidden')",
    "print('é', end='')\nimport sys\nprint('aside', file=sys.stderr)",
    "import os\nos.write(1, b'raw')\nos.system('echo system')",
    "from tqdm.auto import tqdm\nlist(tqdm(range(3), disable=True))",
    "import ipywidgets\nipywidgets.IntSlider(value=3)",
    "try:\n    input('?')\nexcept Exception as error:\n    print(type(error).__name__)",
    "print('x' * 2_000_000)",
    "from IPython.display import display, Markdown\ndisplay(Markdown('**b**'))",
    "h = display('one', display_id=True)\nh.update('two')",
]


LONG = [
    "import matplotlib.pyplot as plt\nimport numpy as np\nimport pandas as pd\ntotal = 0",
    "total += {n}\nprint('total', total)",
    "pd.DataFrame({{'x': np.arange({n} % 7), 'y': {n}}})",
    "plt.plot([0, {n}], [1, {n}]);",
    "np.random.default_rng({n}).normal(size=3).round(6)",
]


@dataclass(frozen=True)
class Kind:
    """What was found in kernels of one kind: the values of probes by name, the outputs shown, the records."""

    found: dict[str, Any]
    random: list[dict[str, Any]]
    shown: list[Any]
    long: list[Any]
    tags: list[Any]
    records: dict[str, TaskRecord]


@pytest.fixture(scope="module")
def kinds(new_shop: Callable[[], Workshop]) -> dict[str, Kind]:
    return {kind: _probed(new_shop(), kind) for kind in ("cold", "warm")}


def _probed(shop: Workshop, kind: str) -> Kind:
    shop.write("lib/tools.py", "VALUE = 'first'\n")
    shop.notebook("dirty.ipynb", None, DIRTY)
    cells = [_cell(name, source) for name, source in SAME.items()]
    write = "open(made, 'w').write(real.dumps(found, default=str))"
    shop.notebook("probe.ipynb", "made: str = ''", IMPORTS, PROBE, *cells, write)
    randoms = [_cell(name, source) for name, source in RANDOM.items()]
    shop.notebook("random.ipynb", "made: str = ''\nn: int = 0", IMPORTS, PROBE, *randoms, write)
    shop.notebook("shown.ipynb", None, IMPORTS, *SHOWN)
    long = [LONG[0], *(LONG[1 + n % 4].format(n=n) for n in range(199))]
    shop.notebook("long.ipynb", None, *long)
    expected, never = code("raise KeyError('expected')", "raises-exception"), code("raise KeyError", "skip-execution")
    shop.notebook("tags.ipynb", None, expected, "print('after')", never, code("print('gone')", "remove_cell"))
    shop.pipeline("""
        long: {notebook: long.ipynb, after: [dirty]}
        tags: {notebook: tags.ipynb, after: [dirty]}
        dirty: {notebook: dirty.ipynb}
        probe: {notebook: probe.ipynb, after: [dirty], outputs: {made: made.json}}
        random: {notebook: random.ipynb, matrix: {n: [1, 2]}, after: [dirty], outputs: {made: made.json}}
        shown: {notebook: shown.ipynb, after: [dirty]}
    """)
    done = shop.caderno("run", "--kernels", kind, "--jobs", "1")
    assert shop.run_states().pop("tags") == "failed"
    assert "1 failed, 6 succeeded" in done, done.out
    names = ["dirty", "probe", "random[n=1]", "random[n=2]", "shown", "long", "tags"]
    outputs = {
        name: [
            (cell["execution_count"], _joined(cell["outputs"]))
            for cell in json.loads((shop.result(name) / "notebook.ipynb").read_text())["cells"]
            if cell["cell_type"] == "code"
        ]
        for name in names[4:]
    }
    return Kind(
        json.loads((shop.result("probe") / "made.json").read_text().replace(str(shop.root), "ROOT")),
        [json.loads((shop.result(name) / "made.json").read_text()) for name in names[2:4]],
        [shown for _, shown in outputs["shown"][1:]],
        outputs["long"],
        outputs["tags"],
        {name: shop.record(name) for name in names},
    )


def _cell(name: str, source: str) -> str:
    statements, _, value = source.rpartition("; ")
    return f"{statements}\nfound[{name!r}] = {value}"


# Not compared, since it differs and should: standard input, which is empty at once in a warm kernel, and the thread by
# which a cold one looks whether the engine is still there.


def test_the_kernels_were_of_the_kind_that_was_asked_for(kinds: dict[str, Kind]) -> None:
    for kind, probed in kinds.items():
        assert {record.kernel for record in probed.records.values()} == {kind}


@pytest.mark.parametrize("name", SAME)
def test_a_probe_finds_in_a_warm_kernel_what_it_finds_in_a_cold_one(kinds: dict[str, Kind], name: str) -> None:
    assert kinds["warm"].found[name] == kinds["cold"].found[name]


def test_a_kernel_keeps_its_history_for_itself(kinds: dict[str, Kind]) -> None:
    assert kinds["warm"].found["history"] == [":memory:", []]


@pytest.mark.parametrize("name", RANDOM)
def test_each_kernel_draws_random_numbers_of_its_own(kinds: dict[str, Kind], name: str) -> None:
    drawn = [one[name] for kind in kinds.values() for one in kind.random]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("place", range(len(SHOWN)), ids=[source.splitlines()[0] for source in SHOWN])
def test_a_cell_shows_in_a_warm_kernel_what_it_shows_in_a_cold_one(kinds: dict[str, Kind], place: int) -> None:
    warm, cold = (_settled(kinds[kind].shown[place]) for kind in ("warm", "cold"))
    assert warm == cold
    if "x = 3" not in SHOWN[place]:
        assert warm or "tqdm" in SHOWN[place] or "capture" in SHOWN[place]


def _joined(outputs: list[Any]) -> list[Any]:
    """Return outputs with what is printed in one piece: it comes in as many as the kernel happens to send."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output["output_type"] == "stream" and output.get("name") == joined[-1].get("name"):
            joined[-1]["text"] = ["".join([*joined[-1]["text"], *output["text"]])]
        else:
            joined.append({**output, "text": ["".join(output["text"])]} if "text" in output else output)
    return joined


def _settled(outputs: Any) -> Any:
    """Return outputs without what differs from one run to the next."""
    text = json.dumps(outputs)
    if "CPU times" in text:
        return [output["name"] for output in outputs]
    if "widget-view" in text:
        return [sorted(output["data"]) for output in outputs]
    return json.loads(text)


def test_a_notebook_of_200_cells_has_the_same_outputs(kinds: dict[str, Kind]) -> None:
    warm, cold = kinds["warm"].long, kinds["cold"].long
    assert len(warm) == 200
    assert warm == cold
    assert sum(bool(outputs) for _, outputs in warm) >= 199
    assert sum("image/png" in output.get("data", {}) for _, outputs in warm for output in outputs) > 40


def test_tags_mean_what_they_mean_to_papermill(kinds: dict[str, Kind]) -> None:
    """It runs on after an expected error, and counts the task as failed all the same."""
    for kind in kinds.values():
        (raised,), (after,), never, gone = (outputs for _, outputs in kind.tags)
        assert (raised["ename"], raised["evalue"]) == ("KeyError", "'expected'")
        assert ["".join(after["text"]), never, "".join(gone[0]["text"])] == ["after\n", [], "gone\n"]
        failure = kind.records["tags"].failure
        assert failure
        assert (failure.kind, failure.message) == ("KeyError", "'expected'")
