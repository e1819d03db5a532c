"""Markup in texts: HTML, MathML and the tags of patent offices to the text that they stand around.

A "<" or ">" that belongs to no tag is a sign of its own ("a<b 且 c>d") and stays.
"""

from __future__ import annotations

import html
import re
from html.entities import html5

_MOST_ESCAPES = 3  # "&amp;amp;lt;" is what three programs made of "<"
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_NOT_TEXT = re.compile(
    r"<!--.*?-->|<!DOCTYPE[^>]*>|<\?[A-Za-z][^>]*?\?>|<(script|style)\b[^<>]*>.*?</\1\s*>", re.DOTALL | re.IGNORECASE
)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
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


def _without_tags(text: str) -> str:
    text = _NOT_TEXT.sub("", _CDATA.sub(r"\1", text))
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
