"""Markdown to HTML, by nbconvert's own reading of it, with the headings that it holds."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from markupsafe import Markup
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from caderno.report.formulas import formula
from caderno.report.safe import safe_html, trusted

_FORMULA = re.compile(r'<code class="math">([^<]*)</code>')


@dataclass(frozen=True)
class Heading:
    """A heading of the notebook: `level` is 1 to 6 as its author wrote it, `anchor` its id in the page."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True)
class Headings:
    """The headings of one page in order; hands out anchors that are stable and never twice the same."""

    found: list[Heading] = field(default_factory=list)

    def add(self, level: int, text: str) -> str:
        """Note one heading and return its anchor."""
        stem = "h-" + (re.sub(r"\W+", "-", text.lower()).strip("-") or "section")
        taken = {heading.anchor for heading in self.found}
        anchor, n = stem, 1
        while anchor in taken:
            n += 1
            anchor = f"{stem}-{n}"
        self.found.append(Heading(level, text, anchor))
        return anchor


def prose(source: str, headings: Headings | None = None, attachments: Mapping[str, Any] | None = None) -> Markup:
    """Return safe HTML for Markdown. With `headings`, each heading is noted there and gets an anchor.

    Formulas become MathML; what can't be read as one stays as its source.
    """
    mark = secrets.token_hex(8)  # tells the ids that are ours from those in the source, which cannot know it
    html = MarkdownWithMath(renderer=_Renderer(headings, attachments, mark)).render(source)
    ids = {mark + heading.anchor for heading in headings.found} if headings else set()
    return trusted(_FORMULA.sub(_formula, str(safe_html(html, ids)).replace(f' id="{mark}', ' id="')))


def _formula(found: re.Match[str]) -> str:
    return formula(unescape(found[1])) or found[0]


class _Renderer(IPythonRenderer):
    def __init__(self, headings: Headings | None, attachments: Mapping[str, Any] | None, mark: str) -> None:
        super().__init__(escape=False, exclude_anchor_links=True, attachments=dict(attachments or {}))
        self._headings, self._mark = headings, mark

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        if self._headings is None:
            return f"<h{level}>{text}</h{level}>\n"
        anchor = self._headings.add(level, str(trusted(text).striptags()))
        return f'<h{level} id="{self._mark}{anchor}">{text}</h{level}>\n'

    def table(self, text: str) -> str:
        return f'<div class="scroll"><table>\n{text}</table></div>\n'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        attached = url.startswith("attachment:") and url.removeprefix("attachment:") in self.attachments
        if attached or url.startswith("data:"):
            return super().image(text, url, title)
        return f"<em>[picture, not inside this page: {self.escape_html(text or url)}]</em>"

    def block_math(self, body: str) -> str:
        return f'<code class="math">{super().block_math(body)}</code>'

    def inline_math(self, body: str) -> str:
        return f'<code class="math">{super().inline_math(body)}</code>'

    def latex_environment(self, name: str, body: str) -> str:
        return f'<code class="math">{super().latex_environment(name, body)}</code>'
