"""What the gate must know: candidate and champion, each in a process of its own, judged on the same test rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from caderno.deliver import smoke, statistics
from caderno.deliver.files import pickles
from caderno.deliver.gate import Evidence
from caderno.deliver.statistics import DESCRIBING, METRICS, Difference, Metric, confidence_of
from caderno.plan.digests import of_path
from caderno.project import Project
from caderno.spec.file import GateFile

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
_ERROR = 0.05  # of all questions to one champion together
_PATIENCE = 600  # seconds for one process
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_BLOCKS = 200  # of independent rows, where those are no units themselves
_CLASSIFIED = {"roc_auc", "brier", "log_loss", *DESCRIBING}  # what takes a probability of an outcome that is 0 or 1


@dataclass(frozen=True)
class Question:
    """Folders of the models, the file of test rows, what the candidate's notebook logged.

    `look` says how many questions were put to this champion, this one included.
    """

    candidate: Path
    champion: Path | None
    rows: Path
    logged: Mapping[str, float]
    look: int = 1


@dataclass(frozen=True)
class Measured:
    """All that was measured; `metrics` and `champion` are by name, `sizes` are rows by slice."""

    evidence: Evidence
    champion: Mapping[str, float]
    rows: int
    units: int
    span: str
    confidence: float
    sizes: Mapping[tuple[str, str], int]
    packaged: Mapping[str, Any]  # of the candidate: size, load_seconds, latency, example, pickles


@dataclass(frozen=True)
class _Rows:
    """The test rows, as far as the gate looks at them: `unit` is None where each is a unit."""

    outcome: Floats
    unit: npt.NDArray[Any] | None
    slices: Mapping[str, npt.NDArray[Any]]


def measure(project: Project, question: Question, gate: GateFile) -> Measured:
    """Load both models, predict, and compare. What fails in that is among `evidence.broken`; nothing is raised.

    The files of the models must have been checked before: they are loaded here.
    """
    with tempfile.TemporaryDirectory(prefix="caderno-gate-") as folder, ThreadPoolExecutor(3) as pool:
        made = Path(folder)
        asked = pool.submit(_packaged, question.candidate, question.rows, made / "candidate.npy")
        other = question.champion and pool.submit(_packaged, question.champion, question.rows, made / "champion.npy")
        contract = gate.contract and pool.submit(_in_contract, project, gate.contract, question.rows)
        said, broken = asked.result(), []
        if "error" in said:
            broken.append(f"the packaged model, in a clean process: {said['error']}")
        if contract and (complaint := contract.result()):
            broken.append(f"contract {gate.contract}: {complaint}")
        champion_said = other.result() if other else {}
        if "error" in champion_said:
            broken.append(f"the champion can't be asked: {champion_said['error']}")
        predictions = [np.load(one) for one in (made / "candidate.npy", made / "champion.npy") if one.exists()]
    packaged = {**said, "size": of_path(question.candidate)[1], "pickles": pickles(question.candidate)}
    broken += _smoke(packaged, gate)
    try:
        rows = _rows(smoke.read(str(question.rows)), gate)
        _check(rows, predictions[:1], gate)
    except (ValueError, OSError) as error:
        nothing = Evidence({}, broken=(*broken, str(error)))
        return Measured(nothing, {}, 0, 0, "", 0.95, {}, packaged)
    return _compared(rows, predictions, question, gate, broken, packaged)


def _compared(
    rows: _Rows,
    predictions: Sequence[Floats],
    question: Question,
    gate: GateFile,
    broken: Sequence[str],
    packaged: Mapping[str, Any],
) -> Measured:
    confidence = confidence_of(question.look, _ERROR)
    found = [_metrics(rows, one, gate) for one in predictions]
    difference, slices, sizes = None, {}, {}
    if len(predictions) == 2:  # candidate and champion
        difference = _difference(rows, predictions, gate.metric, confidence)
        parts = {
            (column, str(value)): rows.slices[column] == value
            for column in gate.slices
            for value in np.unique(rows.slices[column])
        }
        several = 1 - _ERROR / max(1, len(parts))
        for name, chosen in parts.items():
            part = _Rows(rows.outcome[chosen], None if rows.unit is None else rows.unit[chosen], {})
            slices[name] = _difference(part, [one[chosen] for one in predictions], gate.metric, several)
            sizes[name] = int(chosen.sum())
    measured = found[0] if found else {}
    stale = {f"{name}_{end}" for name in measured for end in ("low", "high")}  # intervals on the notebook's own rows
    metrics = {name: value for name, value in question.logged.items() if name not in stale} | measured
    units = None if rows.unit is None else np.unique(rows.unit)
    return Measured(
        Evidence(metrics, difference, slices, tuple(broken)),
        found[1] if len(found) > 1 else {},
        len(rows.outcome),
        len(rows.outcome) if units is None else len(units),
        "" if units is None else f"{units[0]} to {units[-1]}",
        confidence,
        sizes,
        packaged,
    )


def _rows(table: pd.DataFrame, gate: GateFile) -> _Rows:
    """Return what the gate needs of the test rows. Raises ValueError where it is not there."""
    wanted = [gate.outcome, *([gate.unit] if gate.unit else []), *gate.slices]
    for column in wanted:
        if column not in table:
            raise ValueError(f"the test rows have no column {column!r}, which the gate names")
        if table[column].isna().any():
            raise ValueError(f"{int(table[column].isna().sum())} of the test rows have no {column}")
    unit = _coarse(table[gate.unit], "D") if gate.unit else None
    slices = {column: _coarse(table[column], "M") for column in gate.slices}
    return _Rows(table[gate.outcome].to_numpy(float), unit, slices)


def _coarse(column: pd.Series[Any], period: str) -> npt.NDArray[Any]:
    """Return a column's values as text that sorts; moments by day (D) or month (M)."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.strftime("%Y-%m-%d" if period == "D" else "%Y-%m")
    elif pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()
    return column.astype(str).to_numpy(str)


def _check(rows: _Rows, predictions: Sequence[Floats], gate: GateFile) -> None:
    """Raise ValueError where outcomes or predictions don't admit the gate's metric."""
    if gate.metric in _CLASSIFIED and set(np.unique(rows.outcome)) != {0.0, 1.0}:
        raise ValueError(f"{gate.metric} needs an outcome that is 0 or 1, both of them, in column {gate.outcome!r}")
    for one in predictions:
        if not np.isfinite(one).all():
            raise ValueError(f"{int((~np.isfinite(one)).sum())} predictions of the test rows are no finite numbers")
        if gate.metric not in _CLASSIFIED:
            continue
        if one.min() < 0 or one.max() > 1:
            raise ValueError(f"predictions from {one.min():.3g} to {one.max():.3g} are no probabilities")
        if set(np.unique(one)) <= {0.0, 1.0}:
            raise ValueError(
                "predictions are classes, not probabilities: log the model with pyfunc_predict_fn='predict_proba'"
            )


def _metrics(rows: _Rows, predictions: Floats, gate: GateFile) -> dict[str, float]:
    """Return each metric that these rows admit, on all of them."""
    names = _CLASSIFIED if gate.metric in _CLASSIFIED else METRICS.keys() - _CLASSIFIED
    known = {**METRICS, **DESCRIBING}
    one = np.zeros(len(rows.outcome))  # a single unit
    return {
        name: float(known[name](rows.outcome, predictions, one)(np.ones((1, 1)))[0]) for name in known if name in names
    }


def _difference(rows: _Rows, predictions: Sequence[Floats], metric: str, confidence: float) -> Difference:
    """Return candidate minus champion; without figures where these rows are too few."""
    candidate, champion = predictions
    try:
        if rows.unit is None and metric == "roc_auc":
            return statistics.delong(rows.outcome, candidate, champion, confidence)
        unit = rows.unit
        if unit is None:  # independent rows in blocks, drawn at random, are independent too
            unit = np.random.default_rng(0).permutation(len(candidate)) % min(_BLOCKS, len(candidate))

        def of(scores: Floats) -> Metric:
            return METRICS[metric](rows.outcome, scores, unit)

        return statistics.difference(of(candidate), of(champion), len(np.unique(unit)), confidence)
    except ValueError:
        return Difference(np.nan, np.nan, np.nan, confidence, 0)


def _smoke(packaged: Mapping[str, Any], gate: GateFile) -> list[str]:
    """Return what is wrong with the packaged model."""
    if "error" in packaged:
        return []
    found = []
    if packaged["example"] is None:
        found.append("the model has no input example: log it with input_example=")
    else:
        if not packaged["same_again"]:
            found.append("the model answers its own input example differently the second time")
        if not packaged["same_as_json"]:
            found.append("the model answers its own input example differently when that comes as JSON")
        if gate.latency and packaged["latency"] > gate.latency:
            found.append(f"one answer takes {1000 * packaged['latency']:.3g} ms, more than {1000 * gate.latency:g} ms")
    if gate.size and packaged["size"] > gate.size:
        found.append(f"the model has {packaged['size'] / 1e6:.3g} MB, more than {gate.size / 1e6:g} MB")
    return found


# Processes.


def _packaged(model: Path, rows: Path, predictions: Path) -> dict[str, Any]:
    """Return what a model does in a clean process, without the project's lib/."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= dict.fromkeys(_THREADS, "1")  # for one row threads cost more than they give, most on a busy machine
    return _answer({"model": str(model), "rows": str(rows), "predictions": str(predictions)}, environment)


def _in_contract(project: Project, contract: str, rows: Path) -> str:
    """Return what the project's own check says against the test rows, or nothing."""
    environment = {**os.environ, "PYTHONPATH": project.python_path}
    return str(_answer({"contract": contract, "rows": str(rows)}, environment).get("error", ""))


def _answer(request: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-P", smoke.__file__]  # nothing of ours is imported there
    with tempfile.TemporaryDirectory(prefix="caderno-clean-") as folder:
        try:
            done = subprocess.run(
                command,
                input=json.dumps(request),
                env={**environment, "MLFLOW_DISABLE_TELEMETRY": "true"},
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no answer within {_PATIENCE} s"}
    try:
        found = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return {"error": f"the process ended with code {done.returncode}: {last}"}
    return dict(found)
