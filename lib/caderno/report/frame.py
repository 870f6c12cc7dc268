"""The frame around every page: templates, style, our one script, and the policy that admits nothing else."""

from __future__ import annotations

import base64
import hashlib
import shlex
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from caderno.plan.environment import masked
from caderno.report import text
from caderno.report.safe import trusted

if TYPE_CHECKING:
    from jinja2 import Environment

# Sign and word for each state: colour alone says nothing to a colour-blind reader or a black-and-white print.
SIGNS = {"succeeded": "✓", "cached": "↺", "failed": "✕", "killed": "■", "skipped": "–"}


def render(template: str, **context: Any) -> str:
    """Return one page as a document that can be written as UTF-8, whatever a notebook printed."""
    page = _environment().get_template(template).render(**context)
    return page.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate becomes a question mark


def policy() -> str:
    """Return the Content-Security-Policy: nothing loads, nothing runs but our script, known by its digest."""
    digest = base64.b64encode(hashlib.sha256(_asset("script.js").encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


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
    for name in (
        "count",
        "duration",
        "file_name",
        "moment",
        "page_name",
        "result_name",
        "diff_name",
        "short",
        "size",
        "value",
    ):
        environment.filters[name] = getattr(text, name)
    environment.filters["masked"] = masked
    environment.filters["quoted"] = shlex.quote
    environment.filters["web"] = _web_address
    environment.globals.update(
        css=trusted(_asset("style.css")),
        script=trusted(_asset("script.js")),
        policy=policy(),
        signs=SIGNS,
        result_name=text.result_name,
    )
    return environment


def _web_address(url: str | None) -> str:
    """Return an address that may stand in a link, or nothing: no other scheme, no password."""
    return masked(url) if url and url.startswith(("http://", "https://")) else ""


@cache
def _asset(name: str) -> str:
    return files("caderno.report").joinpath(name).read_text(encoding="utf-8")
