"""TeX formulas as MathML, which browsers draw by themselves: no script, no fonts, and screen readers can read it."""

from __future__ import annotations

import re
from html import unescape
from xml.etree.ElementTree import Element

from markupsafe import Markup

# MathML Core's elements and attributes, those apart that act or load (https://www.w3.org/TR/mathml-core/).
_KNOWN = (
    "math mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt mstyle msub "
    "msubsup msup mtable mtd mtext mtr munder munderover"
)
_SAID = (
    "accent accentunder columnalign columnspan depth display displaystyle fence form height largeop linethickness "
    "lspace mathvariant maxsize minsize movablelimits rowspan rspace scriptlevel separator stretchy symmetric width"
)
_ELEMENTS, _ATTRIBUTES = frozenset(_KNOWN.split()), frozenset(_SAID.split())
_VALUE = re.compile(r"[A-Za-z0-9 .%+-]{1,40}")
# amsmath's names for what the converter knows by another; an equation needs none.
_SAME = dict.fromkeys(("aligned", "alignedat", "gathered", "gather"), "align*") | {"equation": "", "equation*": ""}
_ENVIRONMENT = re.compile(r"\\(begin|end)\{([a-z]+\*?)\}")
_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_LONGEST = 5_000  # characters


def formula(tex: str, block: bool | None = None) -> Markup | None:
    """Return a TeX formula as MathML, or None where it can't be read: then its source says more than a wrong picture.

    The delimiters `$`, `$$`, `\\\\(` and `\\\\[` are optional; by them it is known whether it stands on its own line,
    unless `block` says so.
    """
    from latex2mathml.converter import convert_to_element

    tex = tex.strip()
    for start, end in _DELIMITERS:
        if tex.startswith(start) and tex.endswith(end) and len(tex) >= len(start) + len(end):
            tex = tex[len(start) : -len(end)]
            block = (start in ("$$", "\\[")) if block is None else block
            break
    if len(tex) > _LONGEST or not tex.strip():
        return None
    known = _ENVIRONMENT.sub(_renamed, tex)
    try:
        element = convert_to_element(known, display="block" if block else "inline")
        return _element(element)
    except Exception:
        return None


def _renamed(found: re.Match[str]) -> str:
    name = _SAME.get(found[2], found[2])
    return f"\\{found[1]}{{{name}}}" if name else ""


def _element(one: Element) -> Markup:
    """Build the element anew from what is known to be harmless. Raises ValueError for anything else."""
    if one.tag not in _ELEMENTS:
        raise ValueError(one.tag)
    text = unescape(one.text or "")
    if text.startswith("\\") and len(text) > 1:
        raise ValueError(f"unknown command {text}")
    attributes = Markup("").join(
        Markup(' {}="{}"').format(name, value)
        for name, value in one.attrib.items()
        if name in _ATTRIBUTES and _VALUE.fullmatch(value)
    )
    inside = Markup("").join(_element(child) for child in one)
    return Markup("<{0}{1}>{2}{3}</{0}>").format(one.tag, attributes, text, inside)
