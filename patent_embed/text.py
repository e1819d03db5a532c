"""Of texts: the room that one takes where characters stand in columns, and its words and letters."""

from __future__ import annotations

import logging
import re
import unicodedata
import warnings
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jieba


# What a terminal or a viewer obeys instead of showing it: control characters, the marks that turn the direction of
# writing, line and paragraph separators, halves of surrogate pairs.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


# An end of Chinese or Japanese needs nothing behind it, a Latin one white space.
SENTENCE_END = r"[。！？；]|[.!?;](?=\s)"


def visible(text: str) -> str:
    """``text`` with an escape as JSON has it for each character that would be obeyed, not shown. Line breaks and tabs
    stay, and JSON stays the same JSON."""
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def columns(text: str) -> int:
    """Columns of a text: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, width: int) -> str:
    """``text``, with an ellipsis for its end where it takes more than ``width`` columns."""
    if columns(text) <= width:
        return text
    while columns(text) > width - 1:
        text = text[:-1]
    return text + "…"


@cache
def segmenter() -> jieba.Tokenizer:
    """Cuts Chinese text into words: jieba with its own dictionary, made at the first call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba imports pkg_resources, which warns that it is deprecated
        import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.Tokenizer()


def one_line(text: str) -> str:
    """``text`` with each run of white space as one blank, none at its ends."""
    return " ".join(text.split())


def unspaced(text: str) -> str:
    """``text`` with an underscore for each run of white space, as formats want ids that separate columns by it."""
    return re.sub(r"\s+", "_", text)


def plain(text: str) -> str:
    """Letters and digits only, lower case: what two texts have in common whatever their punctuation."""
    return re.sub(r"[\W_]+", "", text).lower()


def words(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation and white space."""
    return list(_words(text))


@lru_cache(maxsize=64)  # a search asks for those of its query twice
def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in segmenter().cut(text.lower()) if any(map(str.isalnum, word)))
