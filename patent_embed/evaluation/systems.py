"""What can be measured: embeddings, and BM25 over words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from patent_embed.arrays import Rows, Vectors, grouped
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.evaluation.pooling import PatentVectors
from patent_embed.evaluation.search import exact_search, top_k


class System(Protocol):
    """What can be measured. Rows name queries and documents."""

    @property
    def scale(self) -> str:
        """Unit of its scores: ``cosine`` or ``bm25``."""

    def search(self, queries: Rows, k: int) -> tuple[Vectors, Rows]:
        """Scores and rows (len(queries), <= k) of the best documents by (-score, row); row -1: nothing more found."""

    def pairs(self, queries: Rows, passages: Rows) -> Vectors:
        """Scores (m,) of the pairs ``queries`` (m,), ``passages`` (m,)."""


class EmbeddingSystem:
    """Cosine similarity of given embeddings: ``queries`` (q, d) and ``passages`` (n, d), float32, unit length, or
    several of a patent, of which the best counts (``PatentVectors``).

    ``device``: where the matrix products run (``cuda``); None: numpy.
    """

    scale = "cosine"

    def __init__(self, queries: Vectors, passages: Vectors | PatentVectors, device: str | None = None) -> None:
        self._patents = passages if isinstance(passages, PatentVectors) else PatentVectors(passages)
        self._queries, self._device = queries, device

    def search(self, queries: Rows, k: int) -> tuple[Vectors, Rows]:
        """The k best patents of each query, see ``exact_search``."""
        scores, rows = self.search_passages(queries, self._patents.depth(k))
        return self._patents.pooled(scores, rows, k)

    def search_passages(self, queries: Rows, k: int) -> tuple[Vectors, Rows]:
        """The k best passages of each query."""
        return exact_search(self._queries[queries], self._patents.vectors, k, device=self._device)

    def pairs(self, queries: Rows, passages: Rows) -> Vectors:
        """Scores (m,) of the pairs of queries and patents, see ``pair_scores``."""
        return self._patents.pairs(self._queries, queries, passages)


class Bm25:
    """BM25 (Lucene's variant) of queries against passages: the texts that the encoder sees, without its prompts."""

    scale = "bm25"

    def __init__(self, passages: Sequence[str], queries: Sequence[str]) -> None:
        self._index, self._queries = Bm25Index.build(passages), queries

    def search(self, queries: Rows, k: int) -> tuple[Vectors, Rows]:
        """The k best passages of each query, by (-score, row): scores and rows (len(queries), k).

        A passage that shares no word with the query is not found: its place holds score 0 and row -1.
        """
        scores = np.zeros((len(queries), min(k, self._index.size)), np.float32)
        rows = np.full(scores.shape, -1, np.int64)
        for place, query in enumerate(queries.tolist()):
            scores[place], rows[place] = top_k(self._index.scores(self._queries[query]), scores.shape[1])
        rows[scores <= 0] = -1
        return scores, rows

    def pairs(self, queries: Rows, passages: Rows) -> Vectors:
        """Scores (m,) of the pairs ``queries`` (m,) and ``passages`` (m,)."""
        scores = np.empty(len(queries), np.float32)
        distinct, inverse = np.unique(queries, return_inverse=True)
        order, starts = grouped(inverse, len(distinct))
        for query, begin, end in zip(distinct.tolist(), starts[:-1], starts[1:], strict=True):
            mine = order[begin:end]
            scores[mine] = self._index.scores(self._queries[query])[passages[mine]]
        return scores
