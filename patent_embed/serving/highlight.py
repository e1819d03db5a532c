"""Where the words of a query stand in a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from patent_embed.text import words

_MOST_WORDS = 64


def query_words(query: str, common: Callable[[str], bool]) -> list[str]:
    """The words of a query that are worth a mark, each once: without single letters and characters, and without those
    that are ``common``."""
    distinct = dict.fromkeys(word for word in words(query) if len(word) > 1 and not common(word))
    return list(distinct)[:_MOST_WORDS]


def spans(text: str, marked: Iterable[str]) -> list[tuple[int, int]]:
    """Begin and end of every ``marked`` word in a text, in order; a longer word wins over one in it.

    ASCII words count as whole words only: ``arm`` is not marked in ``alarm``.
    """
    pattern = _pattern(tuple(marked))
    return [] if pattern is None else [match.span() for match in pattern.finditer(text)]


@lru_cache(maxsize=64)  # one answer marks the same words in some dozens of texts
def _pattern(marked: tuple[str, ...]) -> re.Pattern[str] | None:
    if not marked:
        return None
    either = "|".join(
        rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])" if word.isascii() else re.escape(word)
        for word in sorted(marked, key=len, reverse=True)
    )
    return re.compile(either, re.IGNORECASE)


def pieces(text: str, marked: Iterable[str]) -> list[tuple[str, bool]]:
    """A text cut where words are marked: (piece, whether it is marked), which together are the text."""
    cut, at = list[tuple[str, bool]](), 0
    for begin, end in spans(text, marked):
        cut += [(text[at:begin], False), (text[begin:end], True)]
        at = end
    return [piece for piece in [*cut, (text[at:], False)] if piece[0]]
