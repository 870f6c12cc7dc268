"""The only door for HTML that is not ours: what notebooks print is untrusted.

Three walls stand behind one another: this allow-list, a Content-Security-Policy that lets nothing but our own
script run and nothing load, and pictures as `<img>`, in which an SVG's scripts are dead.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Set as AbstractSet
from functools import cache

import nh3
from markupsafe import Markup

_TEXT = (
    "a abbr b blockquote br cite code dd del dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i ins kbd li "
    "mark ol p pre q s samp small span strong sub sup time tt u ul var details summary"
)
_TABLE = "table caption colgroup col thead tbody tfoot tr th td"
_TAGS = frozenset(f"{_TEXT} {_TABLE} img".split())
# Dropped with all that is in them: their text was never meant to be read.
_UNREAD = "script style svg math iframe object template noscript noembed textarea select title"
_DROPPED = frozenset(_UNREAD.split())

_ATTRIBUTES = {
    "*": {"title", "lang", "dir"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "th": {"scope", "colspan", "rowspan", "style"},
    "td": {"colspan", "rowspan", "style"},
    "tr": {"style"},
    "col": {"span"},
    "colgroup": {"span"},
    "ol": {"start"},
    "details": {"open"},
    "time": {"datetime"},
    **{f"h{level}": {"id"} for level in range(1, 7)},
}
# Alignment and weight carry meaning in a table. Colours do not survive a dark page, positions could cover ours.
_STYLES = {"text-align", "font-weight", "font-style"}
_WHOLE_NUMBERS = {"width", "height", "colspan", "rowspan", "span", "start"}
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_HEADING = re.compile(r"<(/?)h([1-6])(?=[\s>/])", re.IGNORECASE)
_EMPTY_HEAD = re.compile(r"<th((?: [^>]*)?)></th>")  # a header that says nothing is none: the corner of a DataFrame
_LEVELS = {1: 3, 2: 3, 3: 4, 4: 5, 5: 6, 6: 6}
_WEB = re.compile(r"(?:https?|mailto):", re.IGNORECASE)
_LARGEST_SIDE = 10_000  # pixels


def safe_html(html: str, ids: AbstractSet[str] = frozenset()) -> Markup:
    """Return `html` without anything that acts, loads, submits or takes over the page around it.

    Headings start at the third level, as they stand inside a section of our page: h1 and h2 become h3. `ids` are
    the anchors that we gave to headings ourselves; all others go, as a foreign one could shadow ours.
    """
    html = html.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate, which nh3 refuses
    lowered = _HEADING.sub(lambda m: f"<{m[1]}h{_LEVELS[int(m[2])]}", html)

    def keep(tag: str, attribute: str, value: str) -> str | None:
        if attribute == "id":
            return value if value in ids else None
        if tag == "img" and attribute == "src":
            return value if _PICTURE.fullmatch(value) else None
        if attribute == "href" and not _leads_somewhere_fit(value):
            return None
        if attribute in _WHOLE_NUMBERS and not re.fullmatch(r"[0-9]{1,4}", value):
            return None
        return value

    clean = nh3.clean(
        lowered,
        tags=_TAGS,
        clean_content_tags=_DROPPED,
        attributes=_ATTRIBUTES,
        attribute_filter=keep,
        allowed_classes=_classes(),
        filter_style_properties=_STYLES,
        url_schemes={"http", "https", "mailto", "data"},
    )
    return trusted(_EMPTY_HEAD.sub(r"<td\1></td>", clean))


def _leads_somewhere_fit(href: str) -> bool:
    """Tell whether a link may stand: to the web, by mail, or to a file beside the page.

    Browsers skip control characters in an address. In a page opened as a file, one with two slashes leads to another
    host: Windows would send it the reader's password, hashed.
    """
    read = re.sub(r"[\x00-\x20]+", "", href)
    if _WEB.match(read):
        return True
    return not read.lower().startswith("data:") and not re.search(r"[/\\]{2}", re.split("[?#]", read)[0])


def trusted(html: str) -> Markup:
    """Mark HTML as safe: what passed `safe_html`, stands in our own files, or was made from escaped text."""
    return Markup(html)  # noqa: S704  # the one place


@cache
def _classes() -> dict[str, set[str]]:
    from pygments.token import STANDARD_TYPES

    return {
        "table": {"dataframe"},
        "div": {"highlight", "scroll"},
        "code": {"math"},
        "span": {name for name in STANDARD_TYPES.values() if name},
    }


def picture(kind: str, data: str, alt: str, width: object = None, height: object = None) -> Markup | None:
    """Return an `<img>` that holds its data, or None where `data` is not what it says.

    `kind` is a media type such as `image/png`; `data` is base64, or the source of an SVG. `width` and `height`
    are in CSS pixels and come from the output's metadata: anything but a sensible whole number is ignored.
    """
    if kind == "image/svg+xml":
        if "<svg" not in data:
            return None
        if "http://www.w3.org/2000/svg" not in data:  # without it, a browser sees XML and no picture
            data = data.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        data = base64.b64encode(data.encode("utf-8", "replace")).decode()
    else:
        data = re.sub(r"\s+", "", data)
        if not _BASE64.fullmatch(data):
            return None
    sides = Markup("").join(
        Markup(' {}="{}"').format(name, side)
        for name, side in (("width", width), ("height", height))
        if type(side) is int and 0 < side <= _LARGEST_SIDE
    )
    return Markup('<img src="data:{};base64,{}" alt="{}"{}>').format(kind, data, alt, sides)
