"""Whether two models whose files differ predict the same: on their example, and on rows of what they were made of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from caderno.verify import predictions
from caderno.verify.closeness import Sameness, Tolerance, gap, shown
from caderno.verify.sameness import about

ROWS = 10_000  # of a table that models predict
_READABLE = (".parquet", ".feather", ".csv")


def compare(
    old: Path,
    new: Path,
    first: str,
    tolerance: Tolerance,
    tables: Iterable[tuple[Path, Iterable[str]]],
    environment: Mapping[str, str],
) -> Sameness:
    """Compare by predictions, each model loaded in a process with `environment`; `first` says which file differs.

    The rows are of the first of `tables`, files with their columns, that has all columns which the model takes.
    """
    columns = _columns(new)
    table = next((path for path, names in tables if _fits(path, columns, names)), None)
    request = {"table": table and str(table), "columns": columns, "rows": ROWS}
    answers = [_ask({**request, "model": str(model)}, environment) for model in (old, new)]
    failed = next((answer["error"] for answer in answers if "error" in answer), "")
    if failed:
        return Sameness("differs", f"{first}; its predictions can't be compared: {failed}")
    return judge(answers[0], answers[1], first, table.name if table else "", tolerance)


def judge(old: Mapping[str, Any], new: Mapping[str, Any], first: str, table: str, tolerance: Tolerance) -> Sameness:
    """Compare what two models predict of their example and of rows of a table, None where there is none.

    Only what is the same on rows of a table is equal: an example is too little for that.
    """
    apart, said = 0.0, []
    for kind, of in (("example", "its example"), ("rows", table)):
        before, after = _rows(old.get(kind)), _rows(new.get(kind))
        if before is None or after is None:
            continue
        if len(before) != len(after):
            return Sameness("differs", f"{first}; and it predicts {len(before):,} → {len(after):,} rows of {of}")
        found = gap(before, after, tolerance)
        if found.beyond:
            place = found.beyond[0]
            text = f"row {place + 1:,} of {of}: {shown(before[place])} → {shown(after[place])}"
            return Sameness("differs", f"{first}; and so do its predictions, {text}")
        apart = max(apart, found.largest)
        said.append(f"{len(before):,} row{'s' * (len(before) != 1)} of {of}")
    if not said:
        return Sameness("differs", f"{first}; there is no example and no table to compare predictions by")
    near = f"differ by {apart:.1g} at most" if apart else "are the same"
    text = f"its predictions of {' and '.join(said)} {near}; {first}"
    return Sameness("equal within tolerance" if apart or not table else "equal", text)


def _rows(predicted: Any) -> list[Any] | None:
    return predicted if predicted is None or isinstance(predicted, list) else [predicted]


def _columns(model: Path) -> list[str]:
    """Return the names of the columns that a model takes; nothing where it does not say, or they have no names."""
    try:
        inputs = json.loads(about(model)["signature"]["inputs"])
        return [str(column["name"]) for column in inputs]
    except (KeyError, TypeError, ValueError):
        return []


def _fits(path: Path, columns: list[str], names: Iterable[str]) -> bool:
    return bool(columns) and path.suffix in _READABLE and {*columns} <= {*names} and path.is_file()


def _ask(request: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", str(Path(predictions.__file__).resolve())],
        input=json.dumps(request),
        env=dict(environment),
        cwd=Path(request["model"]).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return {"error": f"its process ended with exit code {done.returncode}"}
    return answer if isinstance(answer, dict) else {"error": "its process answered nonsense"}
