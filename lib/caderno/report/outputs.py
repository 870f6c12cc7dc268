"""The outputs of one code cell, as safe HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from markupsafe import Markup
from nbconvert.filters.ansi import ansi2html, strip_ansi

from caderno.report.prose import prose
from caderno.report.safe import picture, safe_html, trusted
from caderno.report.text import count, size

# More lines or characters than this are folded: a reader wants the next sentence, not a log.
FOLD_LINES, FOLD_CHARS = 24, 4_000
# More than this is cut out of the middle: a page must open. The notebook beside it keeps everything.
_LONGEST_TEXT = 200_000
_LONGEST_HTML = 4_000_000

_PICTURES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")
_INTERACTIVE = re.compile(
    r"application/(?:vnd\.(?:plotly|vega|vegalite|bokehjs|holoviews|jupyter\.widget).*|javascript)"
)
# scikit-learn's diagram is its own style sheet; its text says the same.
_STYLED_ONLY = ("sk-top-container", "sk-container-id")


def render_outputs(outputs: Any, alt: str) -> list[Markup]:
    """Return one block of HTML for each output of a cell; `alt` describes its pictures in words.

    `outputs` is a list as nbformat has it; what is malformed in it counts as empty.
    """
    listed = outputs if isinstance(outputs, list | tuple) else []
    return [block for output in _merged(map(mapping, listed)) if (block := whatever_it_holds(_one, output, alt))]


def traceback_html(lines: str) -> Markup:
    """Return IPython's traceback, colours and all, as a block of text."""
    return Markup('<pre class="traceback" tabindex="0">{}</pre>').format(_ansi(lines))


def whatever_it_holds(render: Callable[..., Markup], *args: Any) -> Markup:
    """Return what `render` makes; where it fails on something odd, a note: a page is made for every task."""
    try:
        return render(*args)
    except Exception as error:
        return Markup('<p class="note">This could not be shown ({}: {}).</p>').format(type(error).__name__, error)


def mapping(held: Any) -> Mapping[str, Any]:
    """Return what a notebook holds where a mapping should stand, or an empty one."""
    return held if isinstance(held, Mapping) else {}


def joined(text: Any) -> str:
    """Return a text that nbformat may keep as a list of its lines; none is empty."""
    if text is None:
        return ""
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


def _merged(outputs: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Join neighbouring pieces of the same stream: how a kernel cuts them has no meaning."""
    for stream, pieces in groupby(outputs, lambda output: output.get("name") if _is_stream(output) else None):
        if stream is None:
            yield from pieces
        else:
            text = "".join(joined(piece.get("text")) for piece in pieces)
            yield {"output_type": "stream", "name": stream, "text": text}


def _is_stream(output: Mapping[str, Any]) -> bool:
    return bool(output.get("output_type") == "stream")


def _one(output: Mapping[str, Any], alt: str) -> Markup:
    match output.get("output_type"):
        case "stream":
            errors = output.get("name") == "stderr"
            return _text(joined(output.get("text")), "Messages (stderr)" if errors else "Printed text", errors)
        case "error":
            return _error(output)
        case "display_data" | "execute_result":
            return _rich(mapping(output.get("data")), mapping(output.get("metadata")), alt)
    return Markup("")


def _error(output: Mapping[str, Any]) -> Markup:
    lines = output.get("traceback")
    traceback = "\n".join(map(str, lines)) if isinstance(lines, list) else joined(lines)
    title = f"{output.get('ename', 'Error')}: {output.get('evalue', '')}"
    return Markup(
        '<div class="error"><p class="error-title">{}</p><details><summary>Traceback</summary>{}</details></div>'
    ).format(_ansi(title), traceback_html(traceback))


def _rich(data: Mapping[str, Any], metadata: Mapping[str, Any], alt: str) -> Markup:
    interactive = next((kind for kind in data if _INTERACTIVE.fullmatch(kind)), None)
    if block := _picture(data, metadata, alt):
        return block
    if interactive is None and "text/html" in data and (block := _html(joined(data["text/html"]))):
        return block
    if "text/markdown" in data:
        return Markup('<div class="prose">{}</div>').format(prose(joined(data["text/markdown"])))
    plain = _plain(data)
    if interactive or ("text/html" in data and not plain):
        return _note("An interactive output, left out: reports run no scripts.") + plain
    return plain or _note(f"An output of kind {', '.join(data) or 'unknown'}, left out: a report cannot show it.")


def _plain(data: Mapping[str, Any]) -> Markup:
    if "text/latex" in data:
        return Markup('<pre class="math">{}</pre>').format(joined(data["text/latex"]).strip())
    if "application/json" in data:
        return _text(json.dumps(data["application/json"], indent=2, ensure_ascii=False), "JSON")
    return _text(joined(data.get("text/plain", "")), "Text")


def _picture(data: Mapping[str, Any], metadata: Mapping[str, Any], alt: str) -> Markup | None:
    for kind in _PICTURES:
        if kind in data:
            sides = metadata.get(kind)
            sides = sides if isinstance(sides, Mapping) else metadata
            if img := picture(kind, joined(data[kind]), alt, sides.get("width"), sides.get("height")):
                return Markup('<figure class="plate">{}</figure>').format(img)
    return None


def _html(html: str) -> Markup | None:
    """Return the output's HTML, or None where nothing of it can be seen without its scripts and styles."""
    if len(html) > _LONGEST_HTML or any(mark in html for mark in _STYLED_ONLY):
        return None
    safe = safe_html(html)
    if "<img" not in safe and not safe.striptags():
        return None
    return Markup('<div class="html scroll" tabindex="0" role="group" aria-label="Output">{}</div>').format(safe)


def _text(text: str, name: str, errors: bool = False) -> Markup:
    """Return text as it was printed: folded where it is long, cut where it is endless."""
    text = _settled(text).strip("\n")
    if not text.strip():
        return Markup("")
    lines = text.count("\n") + 1
    weight = len(text.encode("utf-8", "replace"))
    shown = text
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        left_out = size(weight - len((text[:half] + text[-half:]).encode("utf-8", "replace")))
        shown = f"{text[:half]}\n\n  … {left_out} left out here; notebook.ipynb has all of it …\n\n{text[-half:]}"
    kind = "stream errors" if errors else "stream"
    block = Markup('<pre class="{}" tabindex="0">{}</pre>').format(kind, _ansi(shown))
    if errors:
        block = Markup('<p class="stream-name">{}</p>{}').format(name, block)
    if lines <= FOLD_LINES and len(text) <= FOLD_CHARS:
        return block
    return Markup('<details class="long"><summary>{}: {}, {}</summary>{}</details>').format(
        name, count(lines, "line"), size(weight), block
    )


def _settled(text: str) -> str:
    """Return what a terminal would show in the end: a progress bar writes its line over and over."""
    if "\r" not in text:
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines)


def _ansi(text: str) -> Markup:
    try:
        return trusted(ansi2html(text))  # type: ignore[no-untyped-call]  # it escapes the text first
    except IndexError:  # a colour cut short: "\x1b[38m"
        return Markup.escape(strip_ansi(text))  # type: ignore[no-untyped-call]


def _note(text: str) -> Markup:
    return Markup('<p class="note">{}</p>').format(text)
