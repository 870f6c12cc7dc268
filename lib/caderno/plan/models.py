"""What of a model's files is the model: without names that MLflow and skops make up anew each time.

The same training, once more or on another machine, gives the same digests.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
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
    try:
        with zipfile.ZipFile(path) as file:
            schema = file.read(_SCHEMA)
            number = {each: b"%d" % place for place, each in enumerate(dict.fromkeys(_ADDRESS.findall(schema)))}
            numbered = _ADDRESS.sub(lambda found: number[found[0]], schema)
            said = [(b"", hashlib.sha256(numbered).hexdigest())]
            for name in file.namelist():
                stem, dot, kind = name.partition(".")
                if name != _SCHEMA:
                    with file.open(name) as member:  # read in pieces: it may be large, and unpack to more
                        digest = hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]  # it has readinto
                    said.append((number.get(stem.encode(), stem.encode()) + f"{dot}{kind}".encode(), digest))
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError):  # no skops file after all
        with path.open("rb") as other:
            return hashlib.file_digest(other, "sha256").hexdigest()
    lines = [name + b"\0" + digest.encode() for name, digest in sorted(said)]
    return hashlib.sha256(b"\n".join(lines)).hexdigest()
