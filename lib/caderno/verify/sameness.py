"""Whether two outputs are the same: files, folders, MLflow's models, what cells print. Pure, but for reading them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from caderno.plan.digests import files_in, of_path
from caderno.plan.models import MLMODEL, OWN
from caderno.report.notebook import written
from caderno.run.tracking import ADDED
from caderno.verify.closeness import Sameness, Tolerance, distance, shown
from caderno.verify.tabular import tables

Predict = Callable[[Path, Path, str], Sameness]  # of two models whose files differ, first as the text says
_BLOCK = 1 << 20
_BEFORE = 20  # characters that are shown before a difference
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


@dataclass(frozen=True)
class Printed:
    """A cell whose text output differs: its number as people count, its first line, and what differs first."""

    number: int
    line: str
    text: str


def outputs(old: Path, new: Path, tolerance: Tolerance, predict: Predict | None = None) -> Sameness:
    """Compare two files or two folders; models whose files differ by `predict`, where it is given."""
    if old.is_dir() != new.is_dir():
        kinds = ["a folder" if path.is_dir() else "a file" for path in (old, new)]
        return Sameness("differs", f"{kinds[0]} → {kinds[1]}")
    if of_path(old)[0] == of_path(new)[0]:
        return Sameness("equal")
    if not old.is_dir():
        return _files(old, new, tolerance)
    if (old / MLMODEL).is_file() and (new / MLMODEL).is_file():
        return _models(old, new, tolerance, predict)
    return _folders(old, new, tolerance)


def _files(old: Path, new: Path, tolerance: Tolerance) -> Sameness:
    found = tables(old, new, tolerance)
    if found is None and old.suffix.lower() == ".json":
        found = _json(old, new, tolerance)
    return found or Sameness("differs", _first_byte(old, new))


def _first_byte(old: Path, new: Path) -> str:
    sizes = old.stat().st_size, new.stat().st_size
    sized = f"{sizes[0]:,}" if sizes[0] == sizes[1] else f"{sizes[0]:,}, which are {sizes[1]:,} now"
    with old.open("rb") as first, new.open("rb") as second:
        for start in range(0, min(sizes), _BLOCK):
            pair = first.read(_BLOCK), second.read(_BLOCK)
            if pair[0] != pair[1]:
                place = next((i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), min(map(len, pair)))
                return f"differs at byte {start + place + 1:,} of {sized}"
    return f"differs at byte {min(sizes) + 1:,} of {sized}"


def _json(old: Path, new: Path, tolerance: Tolerance) -> Sameness | None:
    """Compare two JSON files part by part; None where one is not."""
    try:
        before, after = (json.loads(path.read_bytes()) for path in (old, new))
        apart = distance(before, after, tolerance)
        if apart is None:
            where, one, other = next(_parts(before, after, tolerance))
            return Sameness("differs", f"at {where or 'its top'}: {shown(one)} → {shown(other)}")
    except (OSError, ValueError, RecursionError):
        return None
    if apart:
        return Sameness("equal within tolerance", f"largest difference {apart:.1g}")
    return Sameness("equal", "the same values; the file's bytes are others")


def _parts(old: Any, new: Any, tolerance: Tolerance, where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (where, old, new) of the smallest parts that are too far apart."""
    if distance(old, new, tolerance) is not None:
        return
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in old:
            yield from _parts(old[key], new[key], tolerance, f"{where}.{key}" if where else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, pair in enumerate(zip(old, new, strict=True)):
            yield from _parts(*pair, tolerance, f"{where}[{place}]")
    else:
        yield where, old, new


def _folders(old: Path, new: Path, tolerance: Tolerance) -> Sameness:
    before, after = _names(old), _names(new)
    if before != after:
        return Sameness("differs", _of_names(before, after))
    found = [(name, outputs(old / name, new / name, tolerance)) for name in sorted(before)]
    for state in ("differs", "equal within tolerance"):
        if first := next((one for one in found if one[1].state == state), None):
            return Sameness(first[1].state, f"{first[0]}: {first[1].text}")
    return Sameness("equal", "the same values; bytes of its files are others")


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in files_in(folder)} - ADDED


def _of_names(before: set[str], after: set[str]) -> str:
    gone, added = sorted(before - after), sorted(after - before)
    return f"the rebuild has no {gone[0]}" if gone else f"only the rebuild has {added[0]}"


def _models(old: Path, new: Path, tolerance: Tolerance, predict: Predict | None) -> Sameness:
    """Compare two models by their files, but for what is each one's own in MLmodel; then by what they predict."""
    before, after = _names(old), _names(new)
    first = _of_names(before, after) if before != after else ""
    for name in sorted(before & after):
        pair = old / name, new / name
        if first:
            break
        if name == MLMODEL:
            key = _other_than_own(*pair)
            first = f"{name}: {key} is another" if key else ""
        elif of_path(pair[0])[0] != of_path(pair[1])[0]:
            found = _files(*pair, tolerance)
            first = f"{name}: {found.text}" if found.state != "equal" else ""
    if not first:
        return Sameness("equal", "its files are the same, but for ids and times in MLmodel")
    return predict(old, new, first) if predict else Sameness("differs", first)


def _other_than_own(old: Path, new: Path) -> str:
    """Return the first key of MLmodel that has another value in the other one; "" where only a model's own differ."""
    before, after = about(old.parent), about(new.parent)
    keys = [key for key in (*before, *(key for key in after if key not in before)) if key not in OWN]
    return next((key for key in keys if before.get(key) != after.get(key)), "")


def about(model: Path) -> dict[str, Any]:
    """Return what a model says of itself; nothing where that can't be read."""
    try:
        found = yaml.safe_load((model / MLMODEL).read_bytes())
    except (OSError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def printed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Printed]:
    """Yield the cells of two executed notebooks whose text output differs; standard error and addresses are left out.

    Their code is the same: cells are matched by their order.
    """
    for place, ((before, _), (after, source)) in enumerate(zip(written(old), written(new), strict=False)):
        texts = _text(before), _text(after)
        if texts[0] != texts[1]:
            lines = zip(*(text.splitlines() for text in texts), strict=False)
            first = next((pair for pair in lines if pair[0] != pair[1]), texts)
            line = next(iter(source.strip().splitlines()), "")
            yield Printed(place + 1, line, _where_apart(*first))


def _where_apart(old: str, new: str) -> str:
    """Return the part of two lines where they begin to differ."""
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(0, same - _BEFORE)
    parts = [" ".join(("…" * (start > 0) + line[start:]).split()) for line in (old, new)]
    return "other spaces" if parts[0] == parts[1] else f"{shown(parts[0])} → {shown(parts[1])}"


def _text(cell: Mapping[str, Any]) -> str:
    found = []
    for output in cell.get("outputs", ()):
        if output.get("name") != "stderr":
            data = output.get("data", {})
            text = output.get("text") or data.get("text/markdown") or data.get("text/plain", "")
            found.append(text if isinstance(text, str) else "".join(text))
    return _ADDRESS.sub("0x…", "".join(found))
