"""BM25 (Lucene's variant) over any number of texts, which are read once: their words lie in a file, a part of the texts
behind the other, and one part is in memory at a time.

Scores are those of ``Bm25Index``, to the last bit: the same constants, types and order of operations.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import Int32, Int64, Rows, Vectors, changes, grouped, owners_of
from patent_embed.evaluation.bm25 import K1, B
from patent_embed.evaluation.search import merge_top_k, top_k
from patent_embed.text import words

_ROWS = 1 << 16  # texts of a part
_EMPTY = -1  # the row of a place where nothing more was found


@dataclass(frozen=True)
class _Part:
    """Words of the texts ``first`` to ``first + len(length)``.

    Attributes:
        word: (w,) numbers of the words that occur, ascending.
        start: (w + 1,) where the texts of each begin in ``text`` and ``times``.
        text: (m,) a text that has the word, from 0 in this part; ``times``: (m,) how often.
        length: (n,) words of each text.
    """

    first: int
    word: Int32
    start: Int64
    text: Int32
    times: NDArray[np.float32]
    length: Int32


class Bm25Parts:
    """Words of texts: what each text scores for queries."""

    def __init__(self, texts: Iterable[str], rows: int = _ROWS) -> None:
        """``rows``: texts of a part; it changes no score."""
        self._number = dict[str, int]()
        self._texts_with = np.zeros(0, np.int64)  # by a word's number
        self._file = tempfile.TemporaryFile(prefix="patent_embed-bm25-")  # noqa: SIM115  # it lives as long as this
        self._sizes = list[tuple[int, int, int]]()  # of each part: words, places, texts
        self.size, total = 0, 0
        source = iter(texts)
        while part := self._read(itertools.islice(source, rows)):
            self._write(part)
            total += int(part.length.sum(dtype=np.int64))
        self._mean_length = np.float64(total) / self.size if total else np.float64(1)
        weights = (math.log(1 + (self.size - n + 0.5) / (n + 0.5)) for n in self._texts_with.tolist())
        self._weight = np.fromiter(weights, np.float32, len(self._texts_with))

    def search(self, queries: Sequence[str], k: int) -> tuple[Vectors, Rows]:
        """The k best texts of each query, by (-score, row): scores and rows (len(queries), min(k, size)).

        A text that shares no word with the query is not found: its place holds score 0 and row -1.
        """
        asked = [self._numbers(query) for query in queries]
        best = np.zeros((len(asked), 0), np.float32), np.zeros((len(asked), 0), np.int64)
        for part in self._parts():
            weights, count = self._weights(part), min(k, len(part.length))
            scores, rows = np.empty((len(asked), count), np.float32), np.empty((len(asked), count), np.int64)
            for place, terms in enumerate(asked):
                scores[place], rows[place] = top_k(_scores(part, weights, terms), count)
            best = merge_top_k([best, (scores, rows + part.first)], k)
        best[1][best[0] <= 0] = _EMPTY
        return best

    def pairs(self, queries: Sequence[str], query: Rows, text: Rows) -> Vectors:
        """Scores (m,) of the pairs ``query`` (m,), places in ``queries``, and ``text`` (m,), rows of texts."""
        found, asked = np.zeros(len(query), np.float32), [self._numbers(each) for each in queries]
        order, start = grouped(query, len(asked))
        for part in self._parts():
            weights, place = self._weights(part), text - part.first
            inside = (place >= 0) & (place < len(part.length))
            for number in np.unique(query[inside]).tolist():
                mine = order[start[number] : start[number + 1]]
                mine = mine[inside[mine]]
                found[mine] = _scores(part, weights, asked[number])[place[mine]]
        return found

    def _numbers(self, query: str) -> list[int]:
        """The query's words that occur anywhere, in their order."""
        return [self._number[word] for word in words(query) if word in self._number]

    def _read(self, texts: Iterator[str]) -> _Part | None:
        number, flat, length = self._number, array("i"), array("i")
        for text in texts:
            before = len(flat)
            flat.extend(number.setdefault(word, len(number)) for word in words(text))
            length.append(len(flat) - before)
        if not length:
            return None
        lengths = np.array(length, np.int32)
        packed = (np.array(flat, np.int64) << 32) | owners_of(lengths)
        places, times = np.unique(packed, return_counts=True)
        word = (places >> 32).astype(np.int32)
        begins = np.flatnonzero(changes(word)) if len(word) else np.zeros(0, np.int64)
        start = np.append(begins, len(word))
        text = (places & 0xFFFFFFFF).astype(np.int32)
        return _Part(self.size, word[begins], start, text, times.astype(np.float32), lengths)

    def _write(self, part: _Part) -> None:
        self._texts_with = np.pad(self._texts_with, (0, len(self._number) - len(self._texts_with)))
        self._texts_with[part.word] += np.diff(part.start)
        self.size += len(part.length)
        self._sizes.append((len(part.word), len(part.text), len(part.length)))
        for column in (part.word, part.start, part.text, part.times, part.length):
            self._file.write(np.ascontiguousarray(column).data)

    def _parts(self) -> Iterator[_Part]:
        self._file.seek(0)
        first = 0
        for present, places, texts in self._sizes:
            columns = ((np.int32, present), (np.int64, present + 1), (np.int32, places))
            word, start, text = (self._column(kind, count) for kind, count in columns)
            times, length = self._column(np.float32, places), self._column(np.int32, texts)
            yield _Part(first, word, start, text, times, length)
            first += texts

    def _column(self, kind: type[np.generic], count: int) -> NDArray[Any]:
        return np.frombuffer(self._file.read(count * np.dtype(kind).itemsize), kind)

    def _weights(self, part: _Part) -> Vectors:
        """(m,) what each word adds to the score of each text that has it."""
        length = part.length.astype(np.float64)
        held_back = K1 * ((1 - B) + B * length / self._mean_length)
        share = part.times / (held_back[part.text] + part.times)
        weights: Vectors = (np.repeat(self._weight[part.word], np.diff(part.start)) * share).astype(np.float32)
        return weights


def _scores(part: _Part, weights: Vectors, terms: list[int]) -> Vectors:
    scores = np.zeros(len(part.length), np.float32)
    for place, term in zip(np.searchsorted(part.word, terms).tolist(), terms, strict=True):
        if place < len(part.word) and part.word[place] == term:
            those = slice(part.start[place], part.start[place + 1])
            np.add.at(scores, part.text[those], weights[those])
    return scores
