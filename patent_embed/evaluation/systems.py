"""What can be measured: embeddings, and BM25 over words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from patent_embed.arrays import Rows, Vectors
from patent_embed.evaluation.bm25_parts import Bm25Parts
from patent_embed.evaluation.pooling import PatentVectors
from patent_embed.evaluation.search import exact_search


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

    def __init__(self, passages: Iterable[str], queries: Sequence[str] | pa.ChunkedArray) -> None:
        self._words = Bm25Parts(passages)
        self._queries = queries if isinstance(queries, pa.ChunkedArray) else pa.chunked_array([queries], pa.string())

    def search(self, queries: Rows, k: int) -> tuple[Vectors, Rows]:
        """The k best passages of each query, by (-score, row): scores and rows (len(queries), k).

        A passage that shares no word with the query is not found: its place holds score 0 and row -1.
        """
        return self._words.search(self._texts(queries), k)

    def pairs(self, queries: Rows, passages: Rows) -> Vectors:
        """Scores (m,) of the pairs ``queries`` (m,) and ``passages`` (m,)."""
        distinct, inverse = np.unique(queries, return_inverse=True)
        return self._words.pairs(self._texts(distinct), inverse, passages)

    def _texts(self, queries: Rows) -> list[str]:
        found: list[str] = self._queries.take(pa.array(queries, pa.int64())).to_pylist()
        return found
