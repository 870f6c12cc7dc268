"""The frame around every page: templates, style, our one script, and the policy that admits nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from caderno.plan.environment import masked
from caderno.plan.records import Input, TaskRecord
from caderno.report import text
from caderno.report.live import libraries
from caderno.report.safe import trusted

if TYPE_CHECKING:
    from jinja2 import Environment

_STAMP = re.compile(r'<meta name="generator" content="Caderno ([0-9a-f]{16})">')
# Sign and word for each state: colour alone says nothing to a colour-blind reader or a black-and-white print.
SIGNS = {"succeeded": "✓", "fetched": "↓", "cached": "↺", "failed": "✕", "killed": "■", "skipped": "–"}


def render(template: str, **context: Any) -> str:
    """Return one page as a document that can be written as UTF-8, whatever a notebook printed."""
    page = _environment().get_template(template).render({"stamp": stamp(), "libraries": None, **context})
    if (wanted := libraries(page)) is not None:
        page = _environment().get_template(template).render({"stamp": stamp(), **context, "libraries": wanted})
    return page.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate becomes a question mark


def stamp(*made_of: object) -> str:
    """Return what marks a page as made from these records by this version of the code."""
    digest = hashlib.sha256(_version().encode())
    for one in made_of:
        digest.update(b"\0" + (one.model_dump_json() if isinstance(one, BaseModel) else str(one)).encode())
    return digest.hexdigest()[:16]


def stamp_in(path: Path) -> str:
    """Return the mark of a page on the disk, or nothing where there is none."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            found = _STAMP.search(file.read(1000))
    except OSError:
        return ""
    return found[1] if found else ""


@cache
def _version() -> str:
    """Return a digest of all that makes a page look as it does, its records apart."""
    digest = hashlib.sha256()
    for name in ("latex2mathml", "nbconvert", "nbdime", "mistune", "pygments", "nh3"):
        digest.update(f"{name} {version(name)}".encode())
    for file in sorted(Path(__file__).parent.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def policy(live: bool = False) -> str:
    """Return the Content-Security-Policy: nothing loads, nothing runs but our script, known by its digest.

    Where a page has interactive outputs, their frames inherit it; what runs there comes as a blob, which only a script
    that runs already can make.
    """
    scripts = [_source("script.js"), *([_source("frame.js"), "blob:", "'unsafe-eval'"] if live else [])]
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {' '.join(scripts)}; base-uri 'none'; form-action 'none'"
    )


def style() -> str:
    """Return how pages look, for others that should look so."""
    return _asset("style.css")


def _source(name: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(_asset(name).encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("caderno.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("count", "duration", "file_name", "moment", "run_name", "short", "size", "value"):
        environment.filters[name] = getattr(text, name)
    environment.filters["result"] = _result
    environment.filters["masked"] = masked
    environment.filters["quoted"] = shlex.quote
    environment.filters["web"] = _web_address
    environment.globals.update(
        css=trusted(_asset("style.css")),
        script=trusted(_asset("script.js")),
        frame_script=trusted(_asset("frame.js")),
        policy=policy,
        signs=SIGNS,
    )
    return environment


def _result(one: TaskRecord | Input) -> str:
    """Return the file name of the page of the result that a record tells of, or that made an input."""
    state = one.state if isinstance(one, TaskRecord) else "succeeded"
    return text.result_name(str(one.task), str(one.fingerprint), state)


def _web_address(url: str | None) -> str:
    """Return an address that may stand in a link, or nothing: no other scheme, no password."""
    return masked(url) if url and url.startswith(("http://", "https://")) else ""


@cache
def _asset(name: str) -> str:
    return files("caderno.report").joinpath(name).read_text(encoding="utf-8")
