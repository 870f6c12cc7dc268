"""What of a model's files is the model: without names that MLflow and skops make up anew each time.

The same training, once more or on another machine, gives the same digests.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

MLMODEL = "MLmodel"  # the file in which a model says what it is
OWN = frozenset({"model_id", "model_uuid", "run_id", "artifact_path", "utc_time_created", "model_size_bytes"})
_OWN = re.compile(rf"^(?:{'|'.join(sorted(OWN))}):.*\n?(?:[ \t].*\n?)*".encode(), re.MULTILINE)
_ADDRESS = re.compile(rb'(?<="__id__": )\d+|(?<="file": ")\d+')
_SCHEMA = "schema.json"


def digest_of(path: str) -> Callable[[Path], str] | None:
    """Return what digests a model's file of this name; None for any other file, which counts byte by byte."""
    if path.endswith(f"/{MLMODEL}"):
        return of_mlmodel
    return of_skops if path.endswith(".skops") else None


def of_mlmodel(path: Path) -> str:
    """Return the digest of an MLmodel file but for OWN: its ids, times and places. Raises OSError."""
    return hashlib.sha256(_OWN.sub(b"", path.read_bytes())).hexdigest()


def of_skops(path: Path) -> str:
    """Return the digest of a skops file, with its objects numbered in order. Raises OSError.

    skops names objects, and the arrays beside its schema, by where they lay in memory.
    """
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(path) as file:
            schema = file.read(_SCHEMA)
            number = {each: b"%d" % place for place, each in enumerate(dict.fromkeys(_ADDRESS.findall(schema)))}
            said = [(b"", _ADDRESS.sub(lambda found: number[found[0]], schema))]
            for name in file.namelist():
                stem, dot, kind = name.partition(".")
                if name != _SCHEMA:
                    said.append((number.get(stem.encode(), stem.encode()) + f"{dot}{kind}".encode(), file.read(name)))
    except (zipfile.BadZipFile, KeyError, NotImplementedError):  # no skops file after all
        return hashlib.sha256(content).hexdigest()
    lines = [name + b"\0" + hashlib.sha256(one).hexdigest().encode() for name, one in sorted(said)]
    return hashlib.sha256(b"\n".join(lines)).hexdigest()
