"""Who is measured: ways to serve one MLflow model from its folder, ours and others'."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import served

_BINARIES = str(Path(sys.executable).parent)  # MLflow starts uvicorn by its name


@dataclass(frozen=True)
class Service:
    """A way to serve the model: its command for a port, where to ask it, and how it says and is told rows."""

    name: str
    command: Callable[[int], list[str]]
    path: str
    request: Callable[[pd.DataFrame], bytes]
    answer: Callable[[Any], list[list[float]]]
    environment: Callable[[int], Mapping[str, str]] = lambda _: {}


def caderno(model: Path, name: str, *options: str) -> Service:
    """Return this project's service."""
    serve = [sys.executable, "-m", "caderno.cli", "serve", "--model", f"{served.NAME}={model}"]
    return Service(
        name,
        lambda port: [*serve, "--port", str(port), *options],
        f"/v1/models/{served.NAME}:predict",
        served.instances,
        lambda said: said["predictions"],
    )


def mlflow(model: Path) -> Service:
    """Return MLflow's scoring server, from this project's environment."""
    serve = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model), "--env-manager", "local"]
    return Service(
        "mlflow models serve",
        lambda port: [*serve, "--port", str(port)],
        "/invocations",
        served.dataframe_split,
        lambda said: said["predictions"],
        lambda _: {"PATH": f"{_BINARIES}{os.pathsep}{os.environ['PATH']}"},
    )


def mlserver(model: Path, folder: Path, binaries: Path, together: int = 0) -> Service:
    """Return MLServer with one worker, as it comes; or with its adaptive batching of so many rows, and 10 ms."""
    folder.mkdir(parents=True)
    settings = {
        "name": served.NAME,
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "parameters": {"uri": str(model)},
        **({"max_batch_size": together, "max_batch_time": 0.01} if together else {}),
    }
    (folder / "model-settings.json").write_text(json.dumps(settings), "utf-8")

    def environment(port: int) -> dict[str, str]:
        ports = {f"MLSERVER_{name}_PORT": str(free()) for name in ("GRPC", "METRICS")}
        return {"MLSERVER_HTTP_PORT": str(port), "MLSERVER_HOST": "127.0.0.1", **ports}

    return Service(
        "MLServer, batching" if together else "MLServer",
        lambda _: [str(binaries / "mlserver"), "start", str(folder)],
        f"/v2/models/{served.NAME}/infer",
        served.tensors,
        lambda said: [said["outputs"][0]["data"]],
        environment,
    )


BENTO = """
from typing import Any
import bentoml
import mlflow
import pandas as pd


@bentoml.service(workers=1)
class Flights:
    def __init__(self) -> None:
        self.model = mlflow.pyfunc.load_model("MODEL")

    @bentoml.apiBATCHING
    def predict(self, rows: list[dict[str, Any]]) -> list[list[float]]:
        return self.model.predict(pd.DataFrame(rows)).tolist()
"""


def bentoml(model: Path, folder: Path, binaries: Path, together: int = 0) -> Service:
    """Return BentoML around the same model; or with its adaptive batching of so many rows."""
    folder.mkdir(parents=True)
    batching = f"(batchable=True, max_batch_size={together})" if together else ""
    (folder / "service.py").write_text(BENTO.replace("MODEL", str(model)).replace("BATCHING", batching), "utf-8")
    serve = [str(binaries / "bentoml"), "serve", "service:Flights", "--working-dir", str(folder)]
    home = {"BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    return Service(
        "BentoML, batching" if together else "BentoML",
        lambda port: [*serve, "--host", "127.0.0.1", "--port", str(port)],
        "/predict",
        served.named,
        lambda said: said,
        lambda _: home,
    )


GUNICORN = """
from pathlib import Path
from caderno.serve.answering import Service
from caderno.serve.app import create_app
from caderno.serve.batching import Settings
from caderno.serve.shelf import Shelf
from caderno.serve.sources import Folder


def application():
    shelf = Shelf([Folder("NAME", Path("MODEL"))], Settings())
    shelf.refresh()
    return create_app(Service(shelf, 100_000), 64 * 1024**2)
"""


def gunicorn(model: Path, folder: Path, threads: int) -> Service:
    """Return this project's application behind gunicorn's threads instead of waitress's."""
    folder.mkdir(parents=True)
    (folder / "front.py").write_text(GUNICORN.replace("NAME", served.NAME).replace("MODEL", str(model)), "utf-8")
    serve = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", str(threads), "--workers", "1"]
    return Service(
        f"gunicorn, {threads} threads",
        lambda port: [*serve, "--chdir", str(folder), "--bind", f"127.0.0.1:{port}", "front:application()"],
        f"/v1/models/{served.NAME}:predict",
        served.instances,
        lambda said: said["predictions"],
    )


def free() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
