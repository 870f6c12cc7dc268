"""One version of a model in processes of its own: `python -P predictor.py FOLDER`, with a socket as standard input.

The first process loads the model once and forks workers, which answer: so a worker that dies, hangs or leaks is
replaced within milliseconds, and the native thread pools of none outlive a fork. Nothing of the project is here, as in
any other place where the model is loaded. The service speaks by pickled requests; answers are JSON.

    loader, by its socket:  {"ready": …} or {"error": …} as one message; then `w` with a socket → the pid of a worker
                            that serves it, `k` and a pid → that worker is gone
    worker, by its socket:  {"frames": [table, …]}: for each table, column by column → {"outputs": […], "seconds": s}
"""

from __future__ import annotations

import base64
import ctypes
import gc
import os
import pickle
import signal
import socket
import struct
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

_PDEATHSIG = 1
_LONGEST = 500  # characters of an error's message
_PID = struct.Struct("!i")


def main() -> None:
    """Load the model in the folder that the command line names, and fork workers until the service is gone."""
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # a model that prints speaks to the service's log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which ends this
    pipe = Connection(os.dup(control.fileno()))
    try:
        model = Model(sys.argv[1])
        told: dict[str, Any] = {"ready": {"classes": model.classes, "flavor": model.flavor, "seconds": model.seconds}}
    except BaseException as error:
        _send(pipe, {"error": _text(error)})
        return
    _send(pipe, told)
    gc.collect()
    gc.freeze()  # pages that workers share stay shared
    _fork(control, pipe, model)


def _fork(control: socket.socket, pipe: Connection, model: Model) -> None:
    """Fork and end workers as the service asks, until it closes its end."""
    alive: set[int] = set()
    while True:
        command, files, _, _ = socket.recv_fds(control, 1, 1)
        for pid in list(alive):  # whoever ended meanwhile
            if os.waitpid(pid, os.WNOHANG)[0]:
                alive.discard(pid)
        if command == b"w":
            pid = os.fork()
            if pid == 0:
                control.close()
                pipe.close()
                _work(Connection(files[0]), model)
            os.close(files[0])
            alive.add(pid)
            control.sendall(_PID.pack(pid))
        elif command == b"k":
            pid = _PID.unpack(control.recv(_PID.size, socket.MSG_WAITALL))[0]
            if pid in alive:  # not waited for yet, so the number is still its own
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                alive.discard(pid)
        else:
            os._exit(0)  # workers end with this process


def _work(pipe: Connection, model: Model) -> None:
    """Answer requests until the service closes its end."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    try:
        while True:
            request = pickle.loads(pipe.recv_bytes())  # noqa: S301 - from the service that started this
            began = time.perf_counter()
            try:
                said = model.example() if request.get("example") else model.answer(**request)
            except Exception as error:
                said = {"error": _text(error)}
            _send(pipe, {**said, "seconds": time.perf_counter() - began})
    except (EOFError, OSError):
        pass
    os._exit(0)


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
            self.flavor = "sklearn"
            self._model = mlflow.sklearn.load_model(folder)
            self._ask = getattr(self._model, function.get("predict_fn", "predict"))
        else:
            self.flavor = str(function.get("loader_module", "python_function"))
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
    columns = {}
    for name, kind in kinds.items():
        values = [value for frame in frames for value in frame[name]] if len(frames) > 1 else first[name]
        columns[name] = _column(values, kind)
    return pd.DataFrame(columns)


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


def _send(pipe: Connection, said: Any) -> None:
    import orjson

    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    try:
        text = orjson.dumps(_whole(said), option=options, default=_plain)
    except TypeError as error:
        text = orjson.dumps({"error": f"the model's answer can't be told in JSON: {error}", "seconds": 0.0})
    pipe.send_bytes(text)


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
