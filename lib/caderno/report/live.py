"""Interactive outputs: what they bring runs in a frame that has no network, no storage and no way to the page.

The page holds data alone: each output's HTML and scripts as JSON, each library once, compressed. Our script opens a
frame for an output when the reader comes near it, sandboxed without an origin, and hands it both. The frame inherits
the page's Content-Security-Policy, so nothing in it loads, nor leads it elsewhere.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from markupsafe import Markup

from caderno.report.safe import trusted
from caderno.report.untrusted import joined, mapping

_LARGEST = 2_000_000  # characters of one output
_PLOTLY = "application/vnd.plotly.v1+json"
_VEGA = re.compile(r"application/vnd\.vega(?:lite)?\.v\d+(?:\+json|\.json)")
_BOKEH, _BOKEH_LOADER = "application/vnd.bokehjs_exec.v0+json", "application/vnd.bokehjs_load.v0+json"
_BOKEH_PLACE = re.compile(r"data-root-id=|bk-notebook-logo")
_SCRIPT = re.compile(r"<script\b", re.IGNORECASE)
# Colours of its own mean something, as in pandas' styled tables; other styles only make it look as elsewhere.
_STYLE, _COLOURS = re.compile(r"<style[^>]*>(.*?)</style", re.IGNORECASE | re.DOTALL), re.compile(r"background|color")
_LOADED = re.compile(r'maybeLoadScript\("([\w-]+)", "([^"]+)"\)')  # Altair's HTML asks a CDN, unless it has these
# Nothing that passed `safe_html` has such an attribute.
_WANTED = re.compile(r'<figure class="plate live" data-libraries="([a-z ]*)">')
# How a library is known in HTML that expects it to be there already.
_ASKED = {
    "plotly": re.compile(r"\bPlotly\.(?:newPlot|react)"),
    "vega": re.compile(r"\bvegaEmbed\b"),
    "bokeh": re.compile(r"\bBokeh\b"),
}


@dataclass(frozen=True)
class Live:
    """What a frame runs: `libraries` by name, the script `before` the HTML is there, the HTML, the script `after`."""

    libraries: tuple[str, ...]
    html: str = '<div id="figure"></div>'
    before: str = ""
    after: str = ""

    @cached_property
    def data(self) -> Markup:
        """All of it as JSON that can stand in an element of the page."""
        made = {"libraries": self.libraries, "html": self.html, "before": self.before, "after": self.after}
        return trusted(json.dumps(made).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def as_meant(outputs: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield outputs as they are meant: Bokeh shows a figure in two, its place and its script, and a loader before.

    The loader, which only fetches what a report has inside, is left out.
    """
    waiting: Mapping[str, Any] | None = None
    for output in outputs:
        data = mapping(output.get("data"))
        if waiting is not None and _BOKEH in data:
            yield {**output, "data": {**waiting["data"], **data}}
        elif waiting is not None and _BOKEH_LOADER not in data:
            yield waiting
        if _BOKEH in data and waiting is None:
            yield output
        is_place = set(data) == {"text/html"} and bool(_BOKEH_PLACE.search(joined(data["text/html"])))
        waiting = output if is_place else None
        if not is_place and _BOKEH not in data and _BOKEH_LOADER not in data:
            yield output
    if waiting is not None:
        yield waiting


def live(data: Mapping[str, Any]) -> Live | None:
    """Return how to run an interactive output, or None where it is none or can't be run here."""
    found = _live(data)
    if found is None or len(found.data) > _LARGEST or not all(map(library, found.libraries)):
        return None
    return found


def _live(data: Mapping[str, Any]) -> Live | None:
    if isinstance(plot := data.get(_PLOTLY), Mapping):
        settings = {"responsive": True, "displaylogo": False, **(plot.get("config") or {})}
        given = ", ".join(json.dumps(one) for one in (plot.get("data", []), plot.get("layout", {}), settings))
        return Live(("plotly",), after=f'Plotly.newPlot("figure", {given});')
    for kind, spec in data.items():
        if _VEGA.fullmatch(kind):
            return Live(("vega",), after=f'vegaEmbed("#figure", {json.dumps(spec)}, {{"actions": false}});')
    html, script = joined(data.get("text/html")), joined(data.get("application/javascript"))
    if _BOKEH in data:
        return Live(("bokeh",), html, after=script)
    if not (script or _SCRIPT.search(html) or any(map(_COLOURS.search, _STYLE.findall(html)))):
        return None
    loaded = {f"{name.replace('-', '')}_version": version for name, version in _LOADED.findall(html)}
    wanted = tuple(name for name, mark in _ASKED.items() if mark.search(html + script))
    before = f"var VEGA_DEBUG = {json.dumps(loaded)};" if loaded else ""
    return Live(wanted, html, before, script)


def libraries(page: str) -> dict[str, Markup] | None:
    """Return the packed libraries that a page's interactive outputs want, or None where it has no such output."""
    found = _WANTED.findall(page)
    return {name: trusted(library(name)) for name in sorted({*" ".join(found).split()})} if found else None


def figure(one: Live, still: Markup, caption: Markup) -> Markup:
    """Return the place of an interactive output: `still` is what stands there until it runs."""
    said = Markup("<figcaption>{}</figcaption>").format(caption) if caption else Markup("")
    return Markup(
        '<figure class="plate live" data-libraries="{}"><script type="application/json">{}</script>'
        '<div class="still">{}</div>{}</figure>'
    ).format(" ".join(one.libraries), one.data, still, said)


@cache
def library(name: str) -> str:
    """Return a JavaScript library of an installed Python package, packed; empty where that is not installed."""
    try:
        text = {"plotly": _plotly, "vega": _vega, "bokeh": _bokeh}[name]()
    except (ImportError, OSError, AttributeError):
        return ""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _plotly() -> str:
    return (_package("plotly") / "package_data/plotly.min.js").read_text(encoding="utf-8")


def _bokeh() -> str:
    folder = _package("bokeh") / "server/static/js"
    names = ("bokeh", "bokeh-gl", "bokeh-widgets", "bokeh-tables")
    return "\n;".join((folder / f"{name}.min.js").read_text(encoding="utf-8") for name in names)


def _vega() -> str:
    import vl_convert

    names = "window.vegaEmbed = vegaEmbed; window.vega = vega; window.vegaLite = vegaLite;"
    return f"(() => {{{vl_convert.javascript_bundle(names)}}})();"


def _package(name: str) -> Path:
    """Return where a package's files are, without importing it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(name)
    return Path(spec.submodule_search_locations[0])
