"""The outputs of one code cell, as safe HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from markupsafe import Markup
from nbconvert.filters.ansi import ansi2html, strip_ansi

from caderno.report.formulas import formula
from caderno.report.live import as_meant, figure, libraries, library, live
from caderno.report.prose import prose
from caderno.report.safe import picture, safe_html, trusted
from caderno.report.text import count, size
from caderno.report.untrusted import joined, mapping
from caderno.report.widgets import VIEW, States, widget

# More lines or characters than this are folded: a reader wants the next sentence, not a log.
FOLD_LINES, FOLD_CHARS = 24, 4_000
# More than this is cut out of the middle: a page must open. The notebook beside it keeps everything.
_LONGEST_TEXT = 200_000
_LONGEST_HTML = 4_000_000

_PICTURES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif", "image/webp")
_INTERACTIVE = re.compile(
    r"application/(?:vnd\.(?:plotly|vega|vegalite|bokehjs|holoviews|jupyter\.widget).*|javascript)"
)
# scikit-learn's diagram is its own style sheet; without it, its text says the same.
_STYLED_ONLY = ("sk-top-container", "sk-container-id")


@dataclass(frozen=True)
class Caption:
    """What stands under a figure, and what is said in its place to those who can't see it."""

    text: Markup
    alt: str


@dataclass
class Room:
    """How many bytes a page still takes of a notebook: it opens whatever was put out, and can be mailed."""

    left: int = 3_000_000
    libraries: set[str] = field(default_factory=set)

    def fit(self, what: str, block: Markup, libraries: Collection[str] = ()) -> Markup:
        """Return a block that still fits with the libraries that it wants, else a note of `what` is left out."""
        new = set(libraries) - self.libraries
        needed = len(block.encode("utf-8", "replace")) + sum(len(library(name)) for name in new)
        if needed > self.left:
            return _note(f"{what} of {size(len(block))}, left out here; notebook.ipynb has it.")
        self.left -= needed
        self.libraries |= new
        return block


@dataclass(frozen=True)
class Around:
    """What a cell's outputs need from beyond them.

    That is `captions`, of which each figure takes one, the states of `widgets`, and the `room` that is left.
    """

    captions: Iterator[Caption]
    widgets: States = field(default_factory=dict)
    room: Room = field(default_factory=Room)


def render_outputs(outputs: Any, around: Around) -> list[Markup]:
    """Return one block of HTML for each output of a cell.

    `outputs` is a list as nbformat has it; what is malformed in it counts as empty.
    """
    listed = outputs if isinstance(outputs, list | tuple) else []
    found = []
    for output in as_meant(_merged(map(mapping, listed))):
        block = whatever_it_holds(_one, output, around)
        found.append(around.room.fit("An output", block, libraries(block) or ()))
    return [block for block in found if block]


def traceback_html(lines: str) -> Markup:
    """Return IPython's traceback, colours and all, as a block of text."""
    return Markup('<pre class="traceback" tabindex="0">{}</pre>').format(_ansi(lines))


def whatever_it_holds(render: Callable[..., Markup], *args: Any) -> Markup:
    """Return what `render` makes; where it fails on something odd, a note: a page is made for every task."""
    try:
        return render(*args)
    except Exception as error:
        return Markup('<p class="note">This could not be shown ({}: {}).</p>').format(type(error).__name__, error)


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


def _one(output: Mapping[str, Any], around: Around) -> Markup:
    match output.get("output_type"):
        case "stream":
            errors = output.get("name") == "stderr"
            return _text(joined(output.get("text")), "Messages (stderr)" if errors else "Printed text", errors)
        case "error":
            return _error(output)
        case "display_data" | "execute_result":
            return _rich(mapping(output.get("data")), mapping(output.get("metadata")), around)
    return Markup("")


def _error(output: Mapping[str, Any]) -> Markup:
    lines = output.get("traceback")
    traceback = "\n".join(map(str, lines)) if isinstance(lines, list) else joined(lines)
    title = f"{output.get('ename', 'Error')}: {output.get('evalue', '')}"
    return Markup(
        '<div class="error"><p class="error-title">{}</p><details><summary>Traceback</summary>{}</details></div>'
    ).format(_ansi(title), traceback_html(traceback))


def _rich(data: Mapping[str, Any], metadata: Mapping[str, Any], around: Around) -> Markup:
    if VIEW in data:
        shown = widget(data[VIEW], around.widgets, lambda outputs: render_outputs(outputs, around))
        return shown if shown is not None else _plain(data)
    running = live(data)
    if image(data, metadata, "") and not running:
        caption = next(around.captions)
        shown = image(data, metadata, caption.alt)
        return Markup('<figure class="plate">{}<figcaption>{}</figcaption></figure>').format(shown, caption.text)
    if running:
        caption = next(around.captions) if running.libraries else Caption(Markup(""), "Output")
        return figure(running, image(data, metadata, caption.alt) or _still(data), caption.text)
    interactive = next((kind for kind in data if _INTERACTIVE.fullmatch(kind)), None)
    if interactive is None and "text/html" in data and (block := _html(joined(data["text/html"]))):
        return block
    if "text/markdown" in data:
        return Markup('<div class="prose">{}</div>').format(prose(joined(data["text/markdown"])))
    plain = _plain(data)
    if interactive or ("text/html" in data and not plain):
        return _note("An interactive output, left out: its library is not installed where this was made.") + plain
    return plain or _note(f"An output of kind {', '.join(data) or 'unknown'}, left out: a report cannot show it.")


def _still(data: Mapping[str, Any]) -> Markup:
    """Return what of an interactive output can be seen without running it."""
    html = joined(data.get("text/html", ""))
    shown = _html(html) if "<script" not in html.lower() else None
    return shown or _note("An interactive output: your browser runs no scripts here.") + _plain(data)


def _plain(data: Mapping[str, Any]) -> Markup:
    if "text/latex" in data:
        tex = joined(data["text/latex"]).strip()
        if drawn := formula(tex, block=True):
            return Markup('<div class="formula">{}</div>').format(drawn)
        return Markup('<pre class="math">{}</pre>').format(tex)
    if "application/json" in data:
        return _text(json.dumps(data["application/json"], indent=2, ensure_ascii=False), "JSON")
    return _text(joined(data.get("text/plain", "")), "Text")


def image(data: Mapping[str, Any], metadata: Mapping[str, Any], alt: str) -> Markup | None:
    """Return the picture of a display's bundle of media types, or None where it has none that a page can hold."""
    for kind in _PICTURES:
        if kind in data:
            sides = metadata.get(kind)
            sides = sides if isinstance(sides, Mapping) else metadata
            if img := picture(kind, joined(data[kind]), alt, sides.get("width"), sides.get("height")):
                return img
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
        cut = size(weight - len((text[:half] + text[-half:]).encode("utf-8", "replace")))
        shown = f"{text[:half]}\n\n  … {cut} left out here; notebook.ipynb has all of it …\n\n{text[-half:]}"
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
