"""The processes of the models: `python -P predictor.py`, with a socket as standard input.

The first process imports what models need, and forks a loader for each version; that loads its model once and forks
workers, which answer. So a version is there in a moment, what they share is in memory once, a worker that dies, hangs
or leaks is replaced within milliseconds, and no native thread pool outlives a fork. Nothing of the project is here, as
in any other place where the model is loaded.

Each of the first two takes packets on its socket: `f`, an argument, and a socket for the new process → its number; `k`
and a number → that process is gone. A loader's first packet says {"ready": …} or {"error": …}. A worker takes pickled
requests {"frames": [table, …], …}, column by column, and says {"outputs": […], "seconds": s} in JSON.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import gc
import os
import pickle
import signal
import socket
import struct
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PID = struct.Struct("!i")
PACKET = 1 << 16  # bytes of a packet at most
_PDEATHSIG = 1
_LONGEST = 500  # characters of an error's message
_GRACE = 5.0  # seconds in which processes end by themselves
_FEW = 4  # columns that are put between a block of numbers faster than a table is made of single ones


def main() -> None:
    """Import what models need, and fork loaders until the service is gone."""
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # a model that prints speaks to the service's log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which ends this
    import mlflow.pyfunc
    import orjson  # noqa: F401 - here once

    with contextlib.suppress(ImportError):
        import mlflow.sklearn  # noqa: F401 - here once

    _forking(control, _load)


def _forking(control: socket.socket, born: Callable[[socket.socket, str], None]) -> None:
    """Fork and end processes as the service asks, until it closes its end."""
    gc.collect()
    gc.freeze()  # pages that processes share stay shared
    alive: set[int] = set()
    while True:
        packet, files, _, _ = socket.recv_fds(control, PACKET, 1)
        for pid in list(alive):  # whoever ended meanwhile
            if os.waitpid(pid, os.WNOHANG)[0]:
                alive.discard(pid)
        if packet[:1] == b"f":
            pid = os.fork()
            if pid == 0:
                control.close()
                born(socket.socket(fileno=files[0]), packet[1:].decode())
                os._exit(0)
            os.close(files[0])
            alive.add(pid)
            control.send(PID.pack(pid))
        elif packet[:1] == b"k":
            pid = PID.unpack(packet[1:])[0]
            if pid in alive:  # not waited for yet, so the number is still its own
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                alive.discard(pid)
        else:
            _end(alive)


def _end(alive: set[int]) -> None:
    """End with all that was forked: they know that the service is gone, too, but some may hang."""
    until = time.monotonic() + _GRACE
    while alive:
        late = time.monotonic() > until
        for pid in list(alive):
            if late:
                os.kill(pid, signal.SIGKILL)
            if os.waitpid(pid, 0 if late else os.WNOHANG)[0]:
                alive.discard(pid)
        time.sleep(0.01)
    os._exit(0)


def _load(control: socket.socket, folder: str) -> None:
    """Load a model, say how that went, and fork workers."""
    try:
        model = Model(folder)
        told: dict[str, Any] = {"ready": {"classes": model.classes, "seconds": model.seconds}}
    except BaseException as error:
        control.send(_json({"error": _text(error)}))
        return
    control.send(_json(told))
    _forking(control, lambda answers, _: _work(Connection(answers.detach()), model))


def _work(pipe: Connection, model: Model) -> None:
    """Answer requests until the service closes its end."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)  # a loader that is killed takes its workers along
    with contextlib.suppress(EOFError, OSError):
        while True:
            request = pickle.loads(pipe.recv_bytes())  # noqa: S301 - from the service that started this
            began = time.perf_counter()
            try:
                said = model.example() if request.get("example") else model.answer(**request)
            except Exception as error:
                said = {"error": _text(error)}
            said["seconds"] = time.perf_counter() - began
            pipe.send_bytes(_json(said))


class Model:
    """A loaded model and how it is asked."""

    def __init__(self, folder: str) -> None:
        import mlflow

        began = time.perf_counter()
        self._folder = folder
        known = mlflow.models.Model.load(folder)
        self._metadata = known
        native = known.flavors.get("sklearn")
        function = known.flavors.get("python_function", {})
        if native:  # asked without MLflow between: the service has checked the input against the signature
            self._model = mlflow.sklearn.load_model(folder)
            self._ask = getattr(self._model, function.get("predict_fn", "predict"))
        else:
            self._model = mlflow.pyfunc.load_model(folder)
            self._ask = self._model.predict
        classes = getattr(self._model, "classes_", None)
        self.classes = None if classes is None else [str(one) for one in classes]
        self.seconds = time.perf_counter() - began

    def answer(
        self, frames: list[Any], kinds: dict[str, str] | None = None, params: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the outputs for all frames at once, as a list of (name, kind, values)."""
        taken = _joined(frames, kinds)
        return _outputs(self._ask(taken, params=params) if params else self._ask(taken))

    def example(self) -> dict[str, Any]:
        """Return the outputs for the model's own input example, of which there may be none."""
        example = self._metadata.load_input_example(self._folder)
        return {"outputs": []} if example is None else _outputs(self._ask(example))


def _joined(frames: list[Any], kinds: dict[str, str] | None) -> Any:
    """Return the frames below each other, as the model takes them: a table with `kinds`, else an array, or as sent."""
    import numpy as np
    import pandas as pd

    first = frames[0]
    if kinds is None:
        return first if len(frames) == 1 else np.concatenate(frames)
    if isinstance(first, dict) and kinds and next(iter(kinds.values())).startswith("tensor:"):
        return {
            name: np.concatenate([np.asarray(frame[name], kind.removeprefix("tensor:")) for frame in frames])
            for name, kind in kinds.items()
        }
    columns = first if len(frames) == 1 else {n: [value for frame in frames for value in frame[n]] for n in kinds}
    numbers = [name for name, kind in kinds.items() if kind == "float64"]
    if len(kinds) - len(numbers) > min(_FEW, len(numbers)):
        return pd.DataFrame({name: _column(columns[name], kind) for name, kind in kinds.items()})
    block = np.array([columns[name] for name in numbers], "float64")
    table = pd.DataFrame(block.T, columns=numbers, copy=False)
    for place, (name, kind) in enumerate(kinds.items()):
        if kind != "float64":
            table.insert(place, name, _column(columns[name], kind))
    return table


def _column(values: Any, kind: str) -> Any:
    import numpy as np
    import pandas as pd

    if kind == "str":
        return pd.Series(values, dtype="str" if pd.__version__ >= "3" else object)
    if kind == "infer":
        return values
    if kind == "object":
        return pd.Series(values, dtype=object)
    return np.asarray(values, kind)


def _outputs(predicted: Any) -> dict[str, Any]:
    """Return what a model gave as (name, kind, values), a value a row; the name is None where it has none.

    `by_name`: it gave an object of outputs, not a table of them.
    """
    import pandas as pd

    if isinstance(predicted, pd.Series):
        predicted = pd.DataFrame(predicted)
    if isinstance(predicted, pd.DataFrame):
        return {"outputs": [_output(str(name), predicted[name]) for name in predicted]}
    if isinstance(predicted, dict):
        return {"outputs": [_output(str(name), values) for name, values in predicted.items()], "by_name": True}
    return {"outputs": [_output(None, predicted)]}


def _output(name: str | None, given: Any) -> tuple[str | None, str, Any]:
    import numpy as np
    import pandas as pd

    try:
        values = np.asarray(given)
    except ValueError:  # lists of different lengths
        return name, "bytes", list(given)
    if values.dtype.kind in "biuf":
        return name, str(values.dtype), values if values.ndim else values.item()
    if isinstance(given, pd.Series):
        return name, "bytes", given.astype(object).where(given.notna(), None).tolist()
    if isinstance(given, list):  # as it is: NumPy makes texts of numbers that stand beside texts
        return name, "bytes", given
    return name, "bytes", (values.astype(str) if values.dtype.kind in "mM" else values).tolist()


def _json(said: Any) -> bytes:
    import orjson

    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(_whole(said), option=options, default=_plain)
    except TypeError as error:
        return orjson.dumps({"error": f"the model's answer can't be told in JSON: {error}", "seconds": 0.0})


def _plain(value: Any) -> Any:
    """Return what JSON has no word for: bytes as base64, times as ISO 8601 has them, of all else its text."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _whole(said: Any) -> Any:
    """Return what is said with arrays as orjson takes them: whole, and of one of its types."""
    import numpy as np

    if isinstance(said, dict) and "outputs" in said:
        made = [
            (name, kind, np.ascontiguousarray(values, "float64" if kind == "float16" else None))
            if isinstance(values, np.ndarray)
            else (name, kind, values)
            for name, kind, values in said["outputs"]
        ]
        return {**said, "outputs": made}
    return said


def _text(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0][:_LONGEST]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


if __name__ == "__main__":
    main()
