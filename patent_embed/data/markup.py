"""Markup in texts: HTML, MathML and the tags of patent offices to the text that they stand around.

A "<" or ">" that belongs to no tag is a sign of its own ("a<b 且 c>d") and stays.
"""

from __future__ import annotations

import html
import re
from html.entities import html5

_MOST_ESCAPES = 3  # "&amp;amp;lt;" is what three programs made of "<"
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# What begins a part that is no text, and what ends it. They are looked for apart: a pattern of both would look for the
# end of each beginning to the end of the text, and take time in the square of it.
_NOT_TEXT = re.compile(r"<!--|<!DOCTYPE|<\?[A-Za-z]|<(script|style)\b[^<>]*>", re.IGNORECASE)
_CLOSERS = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style")}
_CLOSERS |= {"<!--": re.compile("-->"), "<!": re.compile(">"), "<?": re.compile(">")}
_CDATA, _CDATA_ENDS = re.compile(r"<!\[CDATA\["), re.compile(r"\]\]>")
_TAG = re.compile(
    r"<(/?)([A-Za-z][A-Za-z0-9]*(?:[:._-][A-Za-z0-9]+)*)"
    r"((?:\s+[A-Za-z_:][\w:.-]*(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>=]+))?)*)\s*(/?)>",
    re.ASCII,
)
# Tags that break a line, and those that have no end.
_BLOCKS = frozenset(
    (
        *("p", "br", "div", "li", "ul", "ol", "dl", "dt", "dd", "tr", "td", "th", "table", "tbody", "thead", "row"),
        *("entry", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "heading", "section", "para", "paragraph", "claim"),
        *("claim-text", "abstract", "description", "title", "blockquote", "pre"),
    )
)
_EMPTY = frozenset(("br", "hr", "img", "wbr", "mspace", "mprescripts", "none", "figref", "colspec"))


def without_markup(text: str) -> str:
    """The text without tags and comments, and with the characters that entities stand for.

    Blocks are separated by line breaks; sub- and superscripts are plain characters of their line ("H2O").
    """
    if "<" in text:
        text = _without_tags(text)
    for _ in range(_MOST_ESCAPES):
        if "&" not in text:
            break
        decoded = _ENTITY.sub(_character, text)
        if decoded == text:
            break
        text = _without_tags(decoded) if "<" in decoded else decoded
    return text


def _character(entity: re.Match[str]) -> str:
    name = entity[0][1:]
    return html.unescape(entity[0]) if name[0] == "#" else html5.get(name, entity[0])


class _Ahead:
    """Where a pattern is next found, for ever later places of a text: no part is searched twice."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._pattern, self._text = pattern, text
        self._found: re.Match[str] | None = None
        self._over = False

    def after(self, place: int) -> re.Match[str] | None:
        """The first match that begins at ``place`` or later; None where there is none."""
        if not self._over and (self._found is None or self._found.start() < place):
            self._found = self._pattern.search(self._text, place)
            self._over = self._found is None
        return self._found


def _without_cdata(text: str) -> str:
    """What is in CDATA sections, in their place."""
    ends, parts, place = _Ahead(_CDATA_ENDS, text), list[str](), 0
    for begin in _CDATA.finditer(text):
        if begin.start() >= place and (end := ends.after(begin.end())):
            parts += [text[place : begin.start()], text[begin.end() : end.start()]]
            place = end.end()
    return "".join([*parts, text[place:]])


def _without_hidden(text: str) -> str:
    """The text without comments, instructions, scripts and styles, where they end."""
    ends = {name: _Ahead(pattern, text) for name, pattern in _CLOSERS.items()}
    parts, place = list[str](), 0
    for begin in _NOT_TEXT.finditer(text):
        if begin.start() < place:
            continue
        name = (begin[1] or "").lower() or (begin[0] if begin[0] == "<!--" else begin[0][:2])
        end = ends[name].after(begin.end())
        if end is None or (name == "<?" and text[end.start() - 1 : end.start()] != "?"):
            continue
        parts.append(text[place : begin.start()])
        place = end.end()
    return "".join([*parts, text[place:]])


def _without_tags(text: str) -> str:
    text = _without_hidden(_without_cdata(text))
    tags = [(match[1], match[2].lower()) for match in _TAG.finditer(text)]
    if not tags:
        return text
    opened = {name for closing, name in tags if not closing}
    closed = {name for closing, name in tags if closing}

    def replaced(match: re.Match[str]) -> str:
        name, attributes, ends_itself = match[2].lower(), match[3], match[4]
        alone = name not in closed if not match[1] else name not in opened
        if alone and not (ends_itself or "=" in attributes or name in _EMPTY or name in _BLOCKS or match[1]):
            return match[0]  # "a<b>c" is no tag: nothing ends it
        if attributes and "=" not in attributes and alone:
            return match[0]
        return "\n" if name.rpartition(":")[2] in _BLOCKS else ""

    return _TAG.sub(replaced, text)
