"""Pages on paper, by a Chromium that is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from caderno.errors import CadernoError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_TIMEOUT = 120  # seconds for one page
_BODY = re.compile(r'<body class="')
_CODE = re.compile(r'<details class="code">')


def browser() -> str:
    """Return the path of a Chromium: $CADERNO_CHROMIUM, else one on the path. Raises CadernoError without one."""
    asked = os.environ.get("CADERNO_CHROMIUM")
    found = shutil.which(asked) if asked else next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise CadernoError(
            f"$CADERNO_CHROMIUM is no program: {asked}" if asked else "no Chromium is here to print with",
            "install one (Debian: apt install chromium) or print the page from your browser; "
            "CADERNO_CHROMIUM names one that is not on the path",
        )
    return found


def print_page(chromium: str, page: Path, code: bool) -> Path:
    """Print a page to the PDF beside it, with all of its code or with none, and return that. Raises CadernoError."""
    target = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as scratch:
        source, made = Path(scratch, "page.html"), Path(scratch, "page.pdf")
        html = page.read_text(encoding="utf-8")
        if code:
            html = _CODE.sub('<details class="code" open>', _BODY.sub('<body class="with-code ', html, count=1))
        source.write_text(html, encoding="utf-8")
        command = [chromium, "--headless", "--disable-gpu", "--no-first-run", f"--user-data-dir={scratch}/profile"]
        command += ["--no-sandbox"] * (hasattr(os, "geteuid") and os.geteuid() == 0)  # it refuses root otherwise
        command += ["--no-pdf-header-footer", f"--print-to-pdf={made}", source.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise CadernoError(f"{chromium} did not print {page.name} in {_TIMEOUT} s") from None
        if not made.exists():
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise CadernoError(f"{chromium} printed no {target.name}: {said}", f"exit code {done.returncode}")
        shutil.move(made, target)
    return target
