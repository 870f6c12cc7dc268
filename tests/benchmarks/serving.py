"""The prediction service against named ones, with the same model and the same requests, loaded by wrk.

Each service is a process of its own on a free port, with one OpenMP thread, and answers with what the model says before
it is measured. All stay up and are loaded in turn, over and over, so that a noisy minute hits all of them. Any answer
but 200 under load ends the measurement.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import peers
import psutil
import served
import services
from services import Service

CONNECTIONS = (1, 16, 64)
SECONDS = 5
LARGE = 7  # repetitions of the large request
_TOGETHER = 64  # rows that a peer may batch
_STARTED = 180.0  # seconds for a service to start
_SINGLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
_LUA = """
local file = io.open("BODY", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency)
  local e = summary.errors
  print(string.format('{"rate": %f, "p50": %f, "p99": %f, "wrong": %d}', summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass
class Running:
    """A service that has answered; `seconds` it took from its command to its first answer."""

    service: Service
    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    seconds: float = 0.0

    @classmethod
    def start(cls, service: Service, folder: Path, rows: pd.DataFrame, expected: list[list[float]]) -> Self:
        """Start a service in a folder and wait for its first answer, which must be the model's own."""
        folder.mkdir(parents=True, exist_ok=True)
        port = services.free()
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                service.command(port),
                cwd=folder,
                env={**os.environ, **_SINGLE, **service.environment(port)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        running = cls(service, port, process, folder)
        began, body = time.monotonic(), service.request(rows)
        try:
            running._wait(body, began + _STARTED)
            running.seconds = time.monotonic() - began
            found = service.answer(json.loads(running.ask(body)))
            if not np.allclose(found, expected, rtol=0, atol=1e-12):
                raise SystemExit(f"{service.name} answers {found}, the model itself says {expected}")
        except BaseException:
            running.stop()
            raise
        return running

    def _wait(self, body: bytes, until: float) -> None:
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException, _Refused):
                self.ask(body)
                return
            if self.process.poll() is not None or time.monotonic() > until:
                tail = (self.folder / "log").read_text("utf-8", "replace")[-3000:]
                raise SystemExit(f"{self.service.name} does not answer:\n{tail}")
            time.sleep(0.05)

    def ask(self, body: bytes, path: str | None = None) -> bytes:
        """Return the answer to one request. Raises _Refused unless it is 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request("POST", path or self.service.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
        if response.status != 200:
            raise _Refused(f"{self.service.name} answers {response.status}: {text[:500]!r}")
        return text

    def tree(self) -> list[psutil.Process]:
        """Return all its processes."""
        with contextlib.suppress(psutil.Error):
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def cpu(self) -> float:
        """Return the CPU seconds that its processes have used."""
        return sum(sum(one.cpu_times()[:2]) for one in self.tree())

    def memory(self) -> float:
        """Return the megabytes that its processes hold, what they share counted once."""
        return sum(one.memory_full_info().pss for one in self.tree()) / 1e6

    def stop(self) -> None:
        """End all its processes."""
        every = self.tree()
        self.process.send_signal(signal.SIGTERM)
        for one in psutil.wait_procs(every, 20)[1]:
            with contextlib.suppress(psutil.Error):
                one.kill()
        self.process.wait()


class _Refused(Exception):
    """An answer that is not 200."""


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests a second, milliseconds, and CPU milliseconds of the service for each request."""

    rate: float
    p50: float
    p99: float
    cpu: float


def load(running: Running, script: Path, connections: int, seconds: int = SECONDS) -> Load:
    """Ask one row a request over so many connections. Raises SystemExit where an answer is not 200."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    before = running.cpu()
    done = subprocess.run(
        [*words, f"http://127.0.0.1:{running.port}{running.service.path}"], check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    if found.pop("wrong"):
        raise SystemExit(f"{running.service.name}: not all answers were right over {connections}:\n{done.stdout}")
    cpu = running.cpu() - before
    return Load(**found, cpu=cpu * 1000 / max(found["rate"] * seconds, 1))


@dataclass
class Arena:
    """A model in a folder, what it says itself, and the services that are measured on it."""

    folder: Path
    rows: pd.DataFrame
    expected: list[list[float]]
    running: list[Running] = field(default_factory=list)

    @classmethod
    def prepare(cls, folder: Path) -> Self:
        """Fit the model."""
        served.save(folder / "model")
        rows = served.table(served.ROWS, 7)
        with Own(folder / "model", rows.head(1), folder) as own:
            return cls(folder, rows, own.says)

    @contextlib.contextmanager
    def up(self, services: Sequence[Service], starts: int) -> Iterator[list[Running]]:
        """Start the services, each alone and so many times, the last time to stay; print how long it took."""
        seconds: dict[str, list[float]] = {one.name: [] for one in services}
        running: list[Running] = []
        first = self.rows.head(1)
        try:
            for turn in range(starts):
                for one in services:
                    found = Running.start(one, self.folder / one.name.replace(" ", "_"), first, self.expected)
                    seconds[one.name].append(found.seconds)
                    if turn == starts - 1:
                        running.append(found)
                    else:
                        found.stop()
            for one in running:
                one.seconds = statistics.median(seconds[one.service.name])
            yield running
        finally:
            for one in running:
                one.stop()

    def script(self, service: Service) -> Path:
        """Return wrk's script that asks for one row."""
        place = self.folder / f"{service.name.replace(' ', '_')}.body"
        place.write_bytes(service.request(self.rows.head(1)))
        script = place.with_suffix(".lua")
        script.write_text(_LUA.replace("BODY", str(place)), "utf-8")
        return script


def compete(title: str, arena: Arena, running: Sequence[Running], base: str, repetitions: int) -> None:
    """Load all in turn and print medians; ratios of requests a second are to the service named `base`."""
    scripts = {one.service.name: arena.script(one.service) for one in running}
    for one in running:
        load(one, scripts[one.service.name], 16, 2)  # warms up
    print(f"\n{title}: one row a request (medians of {repetitions} times {SECONDS} s)")
    print(f"  {'':34}{'connections':>12}{'requests/s':>12}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>8}")
    for connections in CONNECTIONS:
        found: dict[str, list[Load]] = {name: [] for name in scripts}
        for _ in range(repetitions):
            for one in running:
                found[one.service.name].append(load(one, scripts[one.service.name], connections))
        rates = {name: statistics.median(one.rate for one in loads) for name, loads in found.items()}
        for name, loads in found.items():
            p50, p99, cpu = (statistics.median(getattr(one, what) for one in loads) for what in ("p50", "p99", "cpu"))
            print(
                f"  {name:34}{connections:12}{rates[name]:12.0f}{rates[name] / rates[base]:8.2f}"
                f"{p50:9.1f}{p99:9.1f}{cpu:8.2f}",
                flush=True,
            )


def footprint(running: Sequence[Running]) -> None:
    """Print how long each took to start, and the memory that it holds after the load."""
    time.sleep(3)
    print(f"\nstart and memory\n  {'':34}{'first answer s':>16}{'memory MB':>12}")
    for one in running:
        print(f"  {one.service.name:34}{one.seconds:16.1f}{one.memory():12.0f}")


OWN = """
import sys, time, json
import mlflow, pandas as pd
model, rows = mlflow.sklearn.load_model(sys.argv[1]), pd.read_pickle(sys.argv[2])
says = model.predict_proba(rows)
print(json.dumps(says[:1].tolist()), flush=True)
for _ in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    model.predict_proba(rows)
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)
"""


class Own:
    """The model in a process of its own, as a worker of a service has it: asked with the table ready."""

    def __init__(self, model: Path, rows: pd.DataFrame, folder: Path) -> None:
        rows.to_pickle(folder / "rows.pickle")
        words = [sys.executable, "-c", OWN, str(model), str(folder / "rows.pickle")]
        self._process = subprocess.Popen(
            words, env={**os.environ, **_SINGLE}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.says: list[list[float]] = self._line()

    def _line(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def seconds(self) -> tuple[float, float]:
        """Return the wall and the CPU seconds that the model takes."""
        assert self._process.stdin
        print("once", file=self._process.stdin, flush=True)
        wall, cpu = self._line()
        return wall, cpu

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def large(arena: Arena, running: Sequence[Running]) -> None:
    """Print how long a request of 10,000 rows takes, and the model alone."""
    alone = "the model alone, the table ready"
    ours, theirs, *_ = running
    whole = served.tensors(arena.rows.fillna(0.5))
    others = [one for one in running if one.service.path.startswith("/v2/")]
    asked = [
        ("caderno serve, row by row (instances)", ours, None, served.instances(arena.rows)),
        ("caderno serve, column by column (inputs)", ours, None, served.inputs(arena.rows)),
        ("caderno serve, tensors, nothing missing", ours, f"/v2/models/{served.NAME}/infer", whole),
        ("mlflow models serve (dataframe_split)", theirs, None, served.dataframe_split(arena.rows)),
        *((f"{one.service.name}, tensors, nothing missing", one, None, whole) for one in others),
    ]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in (alone, *(name for name, *_ in asked))}
    with Own(arena.folder / "model", arena.rows, arena.folder) as own:
        for _ in range(LARGE + 1):
            taken[alone].append(own.seconds())
            for name, one, path, body in asked:
                began, before = time.monotonic(), one.cpu()
                one.ask(body, path)
                taken[name].append((time.monotonic() - began, one.cpu() - before))
    print(f"\na request of {served.ROWS:,} rows (medians of {LARGE})")
    print(f"  {'':46}{'ms':>8}{'ratio':>8}{'CPU ms':>9}{'ratio':>8}")
    base: tuple[float, float] | None = None
    for name, costs in taken.items():
        wall, cpu = (statistics.median(cost[which] * 1000 for cost in costs[1:]) for which in (0, 1))
        base = base or (wall, cpu)
        print(f"  {name:46}{wall:8.0f}{wall / base[0]:8.2f}{cpu:9.0f}{cpu / base[1]:8.2f}")


def report(folder: Path, repetitions: int) -> None:
    """Measure the service against its peers."""
    if not _wrk():
        return
    arena = Arena.prepare(folder)
    model = folder / "model"
    found = [services.caderno(model, "caderno serve"), services.mlflow(model)]
    if binaries := peers.mlserver():
        found.append(services.mlserver(model, folder / "mlserver", binaries))
        found.append(services.mlserver(model, folder / "mlserver-batching", binaries, _TOGETHER))
    if binaries := peers.bentoml():
        found.append(services.bentoml(model, folder / "bentoml", binaries))
        found.append(services.bentoml(model, folder / "bentoml-batching", binaries, _TOGETHER))
    with arena.up(found, repetitions) as running:
        compete("the example's boosting", arena, running, "mlflow models serve", repetitions)
        footprint(running)
        large(arena, running)


def options(folder: Path, repetitions: int) -> None:
    """Measure what the service's options change, and another front."""
    if not _wrk():
        return
    arena = Arena.prepare(folder)
    model = folder / "model"
    rounds = {
        "--batch-window": [services.caderno(model, f"{ms} ms", "--batch-window", str(ms)) for ms in (0, 1, 2, 5)],
        "--threads": [services.caderno(model, f"{n} threads", "--threads", str(n)) for n in (64, 16, 32, 128)],
        "--workers": [services.caderno(model, f"{n} workers", "--workers", str(n)) for n in (1, 2)],
        "the front": [
            services.caderno(model, "waitress, 64 threads"),
            services.gunicorn(model, folder / "gunicorn", 64),
        ],
    }
    for title, found in rounds.items():
        with arena.up(found, 1) as running:
            compete(title, arena, running, found[0].name, repetitions)


def _wrk() -> bool:
    found = shutil.which("wrk") is not None
    if not found:
        print("wrk is lacking (Debian and Ubuntu: apt-get install wrk): the services are not measured")
    return found
