"""Prints environment.yml: the packages of requirements.lock for users of conda.

Conda brings Python and pip; pip brings each package in the locked version, under the lock's own conditions.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAD = """\
# The packages of requirements.lock for users of conda; written by `make lock`.
#   conda env create -f environment.yml && conda activate caderno && pip install --no-deps -e .
name: caderno
channels: [conda-forge]
dependencies:
  - python>=3.11
  - pip
  - pip:
"""


def locked(lock: str) -> list[str]:
    """Return the requirements of a lock file, without hashes: 'numpy==2.4.6 ; python_full_version < "3.12"'."""
    return [match[1].strip() for match in re.finditer(r"^([A-Za-z0-9][^\\\n]*?)\s*\\?$", lock, re.MULTILINE)]


def environment(lock: str) -> str:
    """Return environment.yml for the text of a lock file."""
    return HEAD + "".join(f"      - {line}\n" for line in locked(lock))


if __name__ == "__main__":
    print(environment((ROOT / "requirements.lock").read_text()), end="")
