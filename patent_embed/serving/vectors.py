"""Exact search in a model's vectors for requests: those that come at once are searched in one pass."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Protocol, cast

import numpy as np

from patent_embed.arrays import Rows, Vectors, let_go
from patent_embed.errors import UserError
from patent_embed.evaluation.halves import Halves
from patent_embed.evaluation.search import block_spans, exact_search, longest_of, merge_top_k
from patent_embed.serving.batching import Batcher
from patent_embed.serving.corpus import Corpus, Filters, Mask
from patent_embed.serving.threads import cores, give_back_freed, use_threads_of_torch
from patent_embed.serving.unmapped import Unmapped, unmapped

Found = tuple[Vectors, Rows]
"""Scores (k,) and rows (k,) of one query's best documents, by (-score, row)."""

_REQUESTS_AT_ONCE = 32
_BLOCK = 1 << 14  # documents at a time
_ROWS_OF_A_THREAD = 20_000  # at least: below, a thread costs more than it saves
_MOST_HALVES = 1 << 30  # bytes of a model's vectors in fp16 that are held in memory; larger ones are read as they are
_MOST_MAPPED = 1 << 28  # bytes of a model's vectors in fp32 whose map may stay in memory beside those in fp16
_PATIENCE = 0.001  # seconds: vectors of one batch come one after the other
_FIRST_RESULTS = 256  # about so many are asked for: the sizes of the first blocks
_HALVING = threading.Lock()  # one model at a time: what is searched meanwhile is read from the fp32 vectors
_FEW = 4  # where less than this part of the documents may be found, they are copied out; else the others are left out


class VectorSearch(Protocol):
    """What finds the documents that are nearest to a vector."""

    def submit(self, query: Vectors, k: int, filters: Filters) -> Future[Found]:
        """The k best of those that ``filters`` let through; fewer where there are fewer."""


class VectorMatrix:
    """The vectors ``vectors`` (patents, dim) float32 of a corpus, or a part of them that begins at row ``begin``."""

    def __init__(self, corpus: Corpus, vectors: Vectors, name: str, begin: int = 0, *, halves: bool = False) -> None:
        """Reads all vectors once.

        Args:
            halves: whether to hold them in fp16 as well, by which few queries are searched in half of the time. That is
                made beside the first searches, whose results are the same, and imports torch.

        Raises:
            UserError: a vector is no number.
        """
        try:
            longest = longest_of(vectors)
        except ValueError as error:
            raise UserError(f"the vectors of {name!r} cannot be searched: {error}; run the step again") from None
        let_go(vectors)
        work = _Work(corpus, vectors, begin, longest)
        self._batches: Batcher[tuple[Vectors, int, Filters], Found] = Batcher(
            work, _REQUESTS_AT_ONCE, f"search {name}", patience=_PATIENCE
        )
        self.halving = threading.Thread(target=work.halve, name=f"halve {name}", daemon=True)
        if halves and 2 * vectors.size <= _MOST_HALVES:
            work.halving = True
            self.halving.start()

    def submit(self, query: Vectors, k: int, filters: Filters) -> Future[Found]:
        """See ``VectorSearch``; rows count from the corpus's first."""
        return self._batches.submit((query, k, filters))


class _Work:
    """The batches' work: all requests with the same filters in one pass over the vectors."""

    def __init__(self, corpus: Corpus, vectors: Vectors, begin: int, longest: float) -> None:
        self._corpus, self._vectors, self._begin, self._longest = corpus, vectors, begin, longest
        threads = max(1, min(cores(), len(vectors) // _ROWS_OF_A_THREAD))
        bounds = np.linspace(0, len(vectors), threads + 1).astype(int).tolist()
        self._parts = list(pairwise(bounds))
        # Part → it in fp16, and its rows in fp32.
        self._held: dict[tuple[int, int], tuple[Halves, Vectors | Unmapped]] = {}
        self._threads = ThreadPoolExecutor(threads)
        self.halving = False  # whether ``halve`` is at work, or will be

    def halve(self) -> None:
        """Make the vectors in fp16, part by part. From then on memory is held of these alone."""
        use_threads_of_torch(1)
        with _HALVING:
            for begin, end in self._parts:
                spans = block_spans(end - begin, _FIRST_RESULTS, _BLOCK)
                halves = Halves.of(self._vectors[begin:end], spans)
                if halves is not None:
                    self._held[begin, end] = halves, self._rows_of(self._vectors[begin:end])
                    let_go(self._vectors)
            self.halving = len(self._held) == len(self._parts)  # what is searched from its map yet is let go
            give_back_freed()

    def _rows_of(self, vectors: Vectors) -> Vectors | Unmapped:
        """What candidates are scored from: a small file's map, a large one's reads, which take longer."""
        return np.asarray(vectors) if self._vectors.nbytes <= _MOST_MAPPED else unmapped(vectors)

    def __call__(self, asked: list[tuple[Vectors, int, Filters]]) -> Sequence[Found]:
        found: list[Found | None] = [None] * len(asked)
        for filters in dict.fromkeys(each[2] for each in asked):
            mine = [at for at, each in enumerate(asked) if each[2] == filters]
            scores, rows = self._search(
                np.stack([asked[at][0] for at in mine]), max(asked[at][1] for at in mine), filters
            )
            for place, at in enumerate(mine):
                found[at] = scores[place, : asked[at][1]], rows[place, : asked[at][1]]
        return [each for each in found if each is not None]

    def _search(self, queries: Vectors, k: int, filters: Filters) -> Found:
        mask = self._corpus.mask(filters)
        if mask is not None:
            mask = mask[self._begin : self._begin + len(self._vectors)]
        parts = self._threads.map(lambda part: self._search_part(queries, k, mask, *part), self._parts)
        scores, rows = merge_top_k(list(parts), k)
        return scores, rows + self._begin

    def _search_part(self, queries: Vectors, k: int, mask: Mask | None, begin: int, end: int) -> Found:
        vectors = self._vectors[begin:end]
        halves, rows_of = self._held.get((begin, end), (None, vectors))
        if halves is not None:
            use_threads_of_torch(1)  # each part of the vectors has one
        chosen = None if mask is None else np.flatnonzero(mask[begin:end])
        if chosen is not None and len(chosen) * _FEW < len(vectors):
            some = cast(Vectors, _Chosen(vectors, chosen))
            scores, rows = exact_search(queries, some, k, block=_BLOCK, longest=self._longest)
            if halves is not None or self.halving:
                let_go(vectors)
            return scores, chosen[rows] + begin
        scores, rows = exact_search(
            queries,
            cast(Vectors, rows_of),
            k,
            block=_BLOCK,
            allowed=None if mask is None else mask[begin:end],
            longest=self._longest,
            halves=halves,
        )
        if halves is None and self.halving:
            let_go(vectors)  # its pages are read again until it is held in fp16; kept, they would be the peak
        return scores, rows + begin


class _Chosen:
    """Some rows of a matrix, copied out only block by block: what ``exact_search`` reads of an array."""

    ndim = 2

    def __init__(self, vectors: Vectors, rows: Rows) -> None:
        self._vectors, self._rows, self.shape = vectors, rows, (len(rows), vectors.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, part: slice | Rows) -> Vectors:
        return self._vectors[self._rows[part]]
