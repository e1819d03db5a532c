"""A BM25 index of texts (Lucene's variant) by bm25s: made, kept in files, and asked for the scores of all texts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from patent_embed.arrays import Vectors
from patent_embed.folders import write_json
from patent_embed.text import words

# BM25's own constants: how soon repeated words stop counting, and how much a long text is held back.
K1, B = 1.5, 0.75
_SIZE = "size.json"


class Bm25Index:
    """Words of ``size`` texts, and what each weighs there."""

    def __init__(self, size: int, index: Any) -> None:
        """``index``: of bm25s; None where no text has a word."""
        self.size, self._index = size, index

    @classmethod
    def build(cls, texts: Iterable[str]) -> Bm25Index:
        """Index ``texts``: what the encoder sees, without its prompts."""
        return cls.of_words(map(words, texts))

    @classmethod
    def of_words(cls, texts: Iterable[Sequence[str]]) -> Bm25Index:
        """Index texts that ``patent_embed.text.words`` has cut already."""
        known = dict[str, str]()  # a word is one object however often it occurs: a twentieth of the memory
        tokenized = [[known.setdefault(word, word) for word in text] for text in texts]
        index = None
        if known:
            index = _bm25s().BM25(k1=K1, b=B, method="lucene")
            index.index(tokenized, show_progress=False)
        return cls(len(tokenized), index)

    def save(self, folder: Path) -> None:
        """Write the index into ``folder``, as arrays and JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        if self._index is not None:
            self._index.save(str(folder), show_progress=False)
        write_json(folder / _SIZE, {"texts": self.size, "words": self._index is not None})

    @classmethod
    def load(cls, folder: Path) -> Bm25Index:
        """What ``save`` wrote; its arrays are memory-mapped."""
        import orjson

        about = orjson.loads((folder / _SIZE).read_bytes())
        index = _bm25s().BM25.load(str(folder), mmap=True, show_progress=False) if about["words"] else None
        return cls(about["texts"], index)

    def scores(self, text: str) -> Vectors:
        """(size,) float32: the score of every text for the words of ``text``; 0 where they share none."""
        terms = words(text)
        if self._index is None or not terms:
            return np.zeros(self.size, np.float32)
        scores: Vectors = self._index.get_scores(terms)
        return scores

    def frequency(self, word: str) -> int:
        """In how many texts a word of ``patent_embed.text.words`` occurs."""
        number = None if self._index is None else self._index.vocab_dict.get(word)
        if number is None:
            return 0
        begin, end = self._index.scores["indptr"][number : number + 2]
        return int(end - begin)


def _bm25s() -> Any:
    # bm25s tries JAX at its import, which would take three quarters of a GPU's memory for this whole process.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s
