"""What a page shows of a notebook: its title and question, its summary, its cells, its contents."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count as count_from
from itertools import takewhile
from typing import Any, Literal

import yaml
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import TextLexer, get_lexer_by_name
from pygments.util import ClassNotFound

from caderno.plan.records import Cell as CellRecord
from caderno.report.outputs import Around, Caption, Room, image, render_outputs, whatever_it_holds
from caderno.report.prose import Heading, Headings, prose
from caderno.report.safe import trusted
from caderno.report.text import count
from caderno.report.untrusted import joined, mapping
from caderno.report.widgets import States, states
from caderno.spec import Parameter, parameters_in, parse_cell

# papermill's own banners in a failed notebook: the page has a better one.
_PAPERMILL_ERROR = "papermill-error-cell-tag"
_ADDED = {_PAPERMILL_ERROR, "injected-parameters"}
_NAMES = {"parameters": "Parameters, defaults", "injected-parameters": "Parameters of this task"}
_NO_COUNT = 10**9  # Jupyter counts from 1: what is larger is none
_LONGEST_PROSE, _LONGEST_QUESTION = 1_000_000, 2_000  # characters
_FORMATTER = HtmlFormatter(nowrap=True)
_PROSE_STARTS = re.compile(r"[\w\"'“*_`\[(]")


@dataclass(frozen=True)
class Cell:
    """One cell as the page shows it: `place` counts from 0 in the executed notebook, `number` is Jupyter's."""

    kind: Literal["prose", "code", "raw"]
    place: int
    anchor: str
    html: Markup  # the prose, or the highlighted code
    number: int | None = None
    name: str = ""  # what the folded code is called
    outputs: tuple[Markup, ...] = ()
    seconds: float | None = None
    peak: int | None = None  # bytes of memory, where it was measured
    summary: bool = False
    state: Literal["ran", "failed", "not run"] = "ran"


@dataclass(frozen=True)
class Story:
    """A notebook, read: `question` and `summary` are empty where it has none."""

    title: str
    question: Markup
    summary: Markup
    cells: tuple[Cell, ...]
    contents: tuple[Heading, ...]

    def at(self, place: int | None) -> Cell | None:
        """Return the cell at this place in the executed notebook."""
        return next((cell for cell in self.cells if cell.place == place), None)


@dataclass(frozen=True)
class _Page:
    """What is the same for all cells of a page, or counts through them."""

    lexer: str
    widgets: States
    headings: Headings = field(default_factory=Headings)
    figures: Iterator[int] = field(default_factory=lambda: count_from(1))
    room: Room = field(default_factory=Room)
    summary: Room = field(default_factory=lambda: Room(900_000))  # it comes last, and matters most


def read(notebook: Mapping[str, Any], ran: Mapping[int, CellRecord], failed: int | None) -> Story:
    """Read an executed notebook for its page.

    `ran` says what each code cell took that ran to its end, by its place from 0; `failed` is the place of the cell at
    which the task ended, if it failed in one.
    """
    page = _Page(_language(notebook), states(notebook))
    every = _cells(notebook)
    places = [(place, raw) for place, raw in enumerate(every) if _PAPERMILL_ERROR not in _tags(raw)]
    first = next((place for place, raw in places if raw.get("cell_type") == "markdown"), None)
    title, asked, rest = opening(_source(every[first])) if first is not None else ("", "", "")
    cells, anchors = [], _anchors(places)
    for place, raw in places:
        if raw.get("cell_type") == "markdown":
            source = rest if place == first else _source(raw)
            html = Markup("{}").format(source)  # a book takes minutes to read
            if len(source) <= _LONGEST_PROSE:
                html = whatever_it_holds(prose, source, page.headings, mapping(raw.get("attachments")))
            cells.append(Cell("prose", place, anchors[place], page.room.fit("Prose", html)))
        elif raw.get("cell_type") == "code":
            cell = _code(raw, place, anchors[place], page)
            if took := ran.get(place):
                cell = replace(cell, seconds=took.seconds, peak=took.peak)
            cells.append(replace(cell, state=_state(raw, place, failed)))
        else:
            html = Markup("<pre>{}</pre>").format(_source(raw)) if _source(raw).strip() else Markup("")
            cells.append(Cell("raw", place, anchors[place], page.room.fit("Raw text", html), name="Raw text"))
    told = [block for cell in cells if cell.summary and cell.state == "ran" for block in cell.outputs]
    return Story(
        title=str(whatever_it_holds(prose, title).striptags()),
        question=whatever_it_holds(prose, asked),
        summary=Markup("").join(Markup('<div class="output">{}</div>').format(block) for block in told),
        cells=tuple(cell for cell in cells if cell.html or cell.outputs),
        contents=tuple(page.headings.found),
    )


def opening(markdown: str) -> tuple[str, str, str]:
    """Split a notebook's first prose into its title, the paragraph that asks the question, and the rest."""
    found = re.match(r"\s*#[ \t]+([^\n]+)\n?", markdown)
    title, rest = (found[1].rstrip(" \t#"), markdown[found.end() :]) if found else ("", markdown)
    paragraph, _, after = rest.strip("\n").partition("\n\n")
    if not _PROSE_STARTS.match(paragraph) or len(paragraph) > _LONGEST_QUESTION:
        return title, "", rest
    return title, paragraph, after


def written(notebook: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """Return the cells that a person wrote, in order, each with its source."""
    return [(raw, _source(raw)) for raw in _cells(notebook) if not _ADDED & {*_tags(raw)}]


def _cells(notebook: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = notebook.get("cells")
    return [mapping(raw) for raw in listed] if isinstance(listed, list) else []


def declared(notebook: Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the parameters that a notebook in Python declares, with its own values and comments."""
    for raw, source in written(notebook):
        if "parameters" in _tags(raw) and (tree := parse_cell(source)):
            return parameters_in(source, tree, "")
    return {}


def figures(notebook: Mapping[str, Any]) -> dict[str, tuple[str, Markup]]:
    """Return all figures of a notebook by a name that stays from run to run: (caption as text, the picture)."""
    found: dict[str, tuple[str, Markup]] = {}
    numbers = count_from(1)
    cells = written(notebook)
    anchors = _anchors([(place, raw) for place, (raw, _) in enumerate(cells)])
    for place, (raw, source) in enumerate(cells):
        captions = _captions(source, f"cell {place + 1}", numbers)
        outputs = raw.get("outputs")
        for i, output in enumerate(map(mapping, outputs if isinstance(outputs, list) else [])):
            data, metadata = mapping(output.get("data")), mapping(output.get("metadata"))
            if image(data, metadata, ""):
                caption = next(captions)
                img = image(data, metadata, caption.alt)
                found[f"{anchors[place]}/{i}"] = (str(caption.text.striptags()), img or Markup(""))
    return found


def _captions(source: str, maker: str, numbers: Iterator[int]) -> Iterator[Caption]:
    """Yield captions for the figures of one cell, numbered through the page.

    Their words are Quarto's cell options, YAML in comments at the cell's top: `#| fig-cap: ROC curves`, and
    `#| fig-alt:` for those who can't see; a list of them where the cell makes several figures.
    """
    options = _options(source)
    texts, alts = (
        [*map(str, one)] if isinstance(one, list) else [str(one)] if one else []
        for one in (options.get("fig-cap"), options.get("fig-alt"))
    )
    for place, number in enumerate(numbers):
        text = texts[place] if place < len(texts) else ""
        alt = alts[place] if place < len(alts) else text or f"Picture made by {maker}"
        told = Markup("<b>Figure {}.</b> {}") if text else Markup("<b>Figure {}</b>{}")
        yield Caption(told.format(number, text), alt)


def _options(source: str) -> dict[str, Any]:
    lines = takewhile(lambda line: line.startswith("#|"), source.splitlines())
    try:
        found = yaml.safe_load("\n".join(line[2:].removeprefix(" ") for line in lines))
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _code(raw: Mapping[str, Any], place: int, anchor: str, page: _Page) -> Cell:
    count_of = raw.get("execution_count")
    number = count_of if isinstance(count_of, int) and 0 <= count_of < _NO_COUNT else None
    section = f", in “{page.headings.found[-1].text}”" if page.headings.found else ""
    source = _source(raw)
    around = Around(
        _captions(source, f"cell {number}{section}", page.figures),
        page.widgets,
        page.summary if "summary" in _tags(raw) else page.room,
    )
    name = next((_NAMES[tag] for tag in _tags(raw) if tag in _NAMES), "Code")
    html = whatever_it_holds(highlighted, source, page.lexer) if source.strip() else Markup("")
    return Cell(
        kind="code",
        place=place,
        anchor=anchor,
        html=page.room.fit("Code", html),
        number=number,
        name=f"{name}, {count(source.count(chr(10)) + 1, 'line')}",
        outputs=tuple(render_outputs(raw.get("outputs", []), around)),
        summary="summary" in _tags(raw),
    )


def highlighted(source: str, lexer: str) -> Markup:
    """Return code with its syntax marked by classes, for a lexer that Pygments knows by name."""
    html = highlight(source, _lexer(lexer), _FORMATTER)
    return Markup('<pre class="highlight" tabindex="0"><code>{}</code></pre>').format(trusted(html.rstrip("\n")))


@lru_cache
def _lexer(name: str) -> Lexer:
    try:
        known: Lexer = get_lexer_by_name(name)
    except ClassNotFound:
        known = TextLexer()
    return known


def _language(notebook: Mapping[str, Any]) -> str:
    info = mapping(mapping(notebook.get("metadata")).get("language_info"))
    return str(info.get("pygments_lexer") or info.get("name") or "ipython3")


def _state(raw: Mapping[str, Any], place: int, failed: int | None) -> Literal["ran", "failed", "not run"]:
    if place == failed:
        return "failed"
    return "not run" if raw.get("execution_count") is None else "ran"


def _anchors(cells: Sequence[tuple[int, Mapping[str, Any]]]) -> dict[int, str]:
    """Return each cell's anchor by its place; where two would have the same, the first keeps it."""
    found: dict[str, int] = {}
    for place, raw in cells:
        anchor = _anchor(raw, place)
        while anchor in found:
            anchor += f"-{place}"
        found[anchor] = place
    return {place: anchor for anchor, place in found.items()}


def _anchor(raw: Mapping[str, Any], place: int) -> str:
    """Return the cell's permanent anchor: by its own id, which moves with it; the injected one is new each time."""
    if "injected-parameters" in _tags(raw):
        return "c-injected-parameters"
    own = str(raw.get("id", ""))
    return f"c-{own}" if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", own) else f"c-{place}"


def _tags(raw: Mapping[str, Any]) -> Sequence[str]:
    tags = mapping(raw.get("metadata")).get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _source(raw: Mapping[str, Any]) -> str:
    return joined(raw.get("source"))
