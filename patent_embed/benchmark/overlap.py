"""How many of a query's words its right answers have: the part of a query that a search by words can answer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.text import words

BANDS = ((1 / 3, "low"), (2 / 3, "middle"), (math.inf, "high"))  # an overlap below a bound, and what it is called


class WordOverlap:
    """The overlap of queries with documents, words weighted as BM25 weighs them."""

    def __init__(self, index: Bm25Index) -> None:
        """``index``: of all documents."""
        self._index = index

    def of(self, query: str, documents: Iterable[str]) -> float:
        """The largest share of the query's words, by weight, that one of ``documents`` has: 0 to 1.

        A word counts once. Its weight is Lucene's inverse document frequency, ln(1 + (n - m + 0.5) / (m + 0.5)) of a
        word in m of n documents, as in BM25.
        """
        weights = {word: self._weight(word) for word in _distinct(query)}
        total = sum(weights.values())
        if not total:
            return 0.0
        shared = (sum(weights.get(word, 0.0) for word in _distinct(text)) for text in documents)
        return min(1.0, max(shared, default=0.0) / total)

    def _weight(self, word: str) -> float:
        found = self._index.frequency(word)
        return math.log1p((self._index.size - found + 0.5) / (found + 0.5))


@lru_cache(maxsize=1 << 14)  # a document answers several queries
def _distinct(text: str) -> frozenset[str]:
    return frozenset(words(text))


def band(overlap: float) -> str:
    """``low``, ``middle`` or ``high``: a third each of what is possible."""
    return next(name for bound, name in BANDS if overlap < bound)
