"""Exact nearest neighbours by inner product, in blocks: the same result whatever the block size, device or BLAS.

The score of a pair is defined as its inner product summed in float64 in one fixed order and rounded to float32
(``pair_scores``), so identical documents have identical scores; ties go to the lower row, and rows are sorted by id.
Fast float32 matrix products only propose candidates. Their rounding error is at most d * 2^-24 * |q| * |c| in any
order of summation (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5, first order), so every
document within twice that bound of the k-th best is kept and scored by the definition. A last bit that depends on
where a row lies in a block can therefore never change a rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import Rows, Vectors, places_in
from patent_embed.evaluation.halves import Halves

# Scores of a block (q, b) and the flat positions of those that reach each query's threshold.
_Propose = Callable[[Vectors, Vectors], tuple[NDArray[np.int64], Vectors]]

QUERY_BLOCK = 2048
CORPUS_BLOCK = 8192
_SAMPLED = 16  # of so many scores one is in the sample that tells where the best begin
_FEWEST_QUERIES = 8  # up to which a dot product a pair is faster than any product of BLAS
_FEW_QUERIES = 32  # up to which BLAS multiplies documents by queries faster than queries by documents


def pair_scores(queries: Vectors, corpus: Vectors, query_rows: Rows, corpus_rows: Rows) -> Vectors:
    """Scores of given pairs: (m,) float32 for ``query_rows`` (m,) and ``corpus_rows`` (m,), one bit pattern a pair."""
    scores = np.empty(len(query_rows), np.float32)
    step = max(1, (1 << 16) // max(1, queries.shape[1]))  # products stay in the cache
    for begin in range(0, len(scores), step):
        part = slice(begin, begin + step)
        # A product of two float32 is exact in float64; numpy adds the contiguous row pairwise, alike for every row.
        products = np.multiply(queries[query_rows[part]], corpus[corpus_rows[part]], dtype=np.float64)
        scores[part] = products.sum(axis=1)
    return scores


def top_k(scores: Vectors, k: int) -> tuple[Vectors, Rows]:
    """The k best of one query's scores (n,), k <= n, by (-score, row): scores (k,) and rows (k,)."""
    likely = _likely(scores, k)
    if likely is not None:
        best, places = top_k(scores[likely], k)
        return best, likely[places]
    kth = np.partition(scores, len(scores) - k)[len(scores) - k] if k else np.inf
    above, tied = np.flatnonzero(scores > kth), np.flatnonzero(scores == kth)
    rows = np.concatenate([above, tied[: k - len(above)]])
    rows = rows[np.lexsort((rows, -scores[rows]))]
    return scores[rows], rows


def _likely(scores: Vectors, k: int) -> Rows | None:
    """Rows, at least k and few, with all scores from some limit on, which a sample of the scores tells: a tenth of the
    time of parting all of them. None: there are not so many scores, or too many of them are equal."""
    sample = scores[::_SAMPLED]
    place = 2 * k // _SAMPLED + 8
    if not 0 < 2 * place < len(sample):
        return None
    rows = np.flatnonzero(scores >= np.partition(sample, len(sample) - place)[len(sample) - place])
    return rows if k <= len(rows) < len(scores) // 2 else None


def merge_top_k(parts: Sequence[tuple[Vectors, Rows]], k: int) -> tuple[Vectors, Rows]:
    """The k best by (-score, row) of ``exact_search`` results (q, any) over disjoint parts of a corpus.

    That is what a search in all of it gives, since a score belongs to its pair alone.
    """
    scores, rows = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def exact_search(
    queries: Vectors,
    corpus: Vectors,
    k: int,
    *,
    block: int = CORPUS_BLOCK,
    device: str | None = None,
    allowed: NDArray[np.bool_] | None = None,
    longest: float | None = None,
    halves: Halves | None = None,
) -> tuple[Vectors, Rows]:
    """The ``k`` best documents of each query, by (-score, row).

    Args:
        queries: (q, d) float32.
        corpus: (n, d) float32; may be a memory map, it is read block by block, once for 2048 queries.
        k: how many; fewer come back when the corpus is smaller.
        block: documents at a time. Memory is about 2048 * (6 * block + 200 * k) bytes beside the inputs, more only
            while more than 4k documents of a query tie.
        device: a torch device for the matrix products (``cuda``); None: numpy.
        allowed: (n,) which documents may be found; None: all.
        longest: no document is longer, as ``longest_of`` found; None: the norms are computed in each search.
        halves: the corpus in fp16, in its own blocks, for products on a CPU; ``longest`` is given, too.

    Returns:
        scores (q, min(k, n)) float32 and rows (q, min(k, n)) int64; n counts what is allowed.
    """
    if queries.ndim != 2 or corpus.ndim != 2 or queries.shape[1] != corpus.shape[1]:
        raise ValueError(f"queries {queries.shape} and corpus {corpus.shape} must be (q, d) and (n, d)")
    if k < 1 or block < 1:
        raise ValueError(f"k is {k} and block is {block}, both must be at least 1")
    k = min(k, len(corpus) if allowed is None else int(np.count_nonzero(allowed)))
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    for begin in range(0, len(queries) if k else 0, QUERY_BLOCK):
        part = slice(begin, begin + QUERY_BLOCK)
        asked = np.ascontiguousarray(queries[part], np.float32)
        scores[part], rows[part] = _search(asked, corpus, k, block, device, allowed, longest, halves)
    return scores, rows


def longest_of(corpus: Vectors, block: int = CORPUS_BLOCK) -> float:
    """Norm of the longest document. Raises ValueError where one holds NaN or infinity."""
    parts = (np.ascontiguousarray(corpus[at : at + block], np.float32) for at in range(0, len(corpus), block))
    return max((float(_norms(part, "document").max()) for part in parts), default=0.0)


def _search(
    queries: Vectors,
    corpus: Vectors,
    k: int,
    block: int,
    device: str | None,
    allowed: NDArray[np.bool_] | None,
    known_longest: float | None,
    halves: Halves | None,
) -> tuple[Vectors, Rows]:
    propose = _numpy_products(queries, min(block, len(corpus))) if device is None else _torch_products(queries, device)
    norms = _norms(queries, "query")
    # Twice the error of a score for |c| = 1, and a little for the rounding of the exact score to float32.
    unit = 2 * (queries.shape[1] + 2) * 2.0**-24 * norms
    rounding = 2 * norms * halves.error if halves else 0.0
    best = _Candidates(queries, corpus, k)
    longest = known_longest or 0.0
    for number, (start, stop) in enumerate(halves.spans if halves else block_spans(len(corpus), k, block)):
        if halves:
            flat, score = halves.propose(number, queries, best.threshold(unit * longest + rounding))
        else:
            vectors = np.ascontiguousarray(corpus[start:stop], np.float32)
            if known_longest is None:
                longest = max(longest, float(_norms(vectors, "document").max()))
            flat, score = propose(vectors, best.threshold(unit * longest))
        size = stop - start
        if allowed is not None:
            kept = allowed[start:stop][flat % size]
            flat, score = flat[kept], score[kept]
        best.add(flat // size, flat % size + start, score)
        if best.due:
            best.prune(unit * longest + rounding)
    return best.resolve()


def _norms(vectors: Vectors, what: str) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", vectors, vectors)).astype(np.float64) * (1 + 1e-5)
    if not np.isfinite(norms).all():
        raise ValueError(f"a {what} embedding holds NaN or infinity: it has no place in a ranking")
    return norms


def block_spans(n: int, k: int, block: int) -> Iterator[tuple[int, int]]:
    """Blocks of the corpus. The first ones are short: until k documents are known, everything is a candidate."""
    start, size = 0, min(block, max(2 * k, 256))
    while start < n:
        yield start, min(start + size, n)
        start, size = start + size, min(block, 4 * size)


class _Candidates:
    """Documents that may still be among the k best, as parallel arrays over all queries."""

    def __init__(self, queries: Vectors, corpus: Vectors, k: int) -> None:
        self._queries, self._corpus, self._k = queries, corpus, k
        self._parts: list[tuple[Rows, Rows, Vectors]] = []
        self._size = self._settled = 0
        self._kth = np.full(len(queries), -np.inf, np.float32)

    def add(self, query: Rows, row: Rows, score: Vectors) -> None:
        self._parts.append((query, row, score))
        self._size += len(query)

    def threshold(self, slack: NDArray[np.float64]) -> Vectors:
        """(q,): a product below this cannot belong to the k best. ``slack`` (q,): twice the error of a product."""
        return np.nextafter((self._kth - slack).astype(np.float32), np.float32(-np.inf))

    @property
    def due(self) -> bool:
        """Whether enough has come in since the last pruning: sorting after every block costs more than it saves."""
        return self._size > self._settled + len(self._queries) * self._k // 2

    def prune(self, slack: NDArray[np.float64]) -> None:
        """Drop what cannot be among the k best any more."""
        query, row, score = self._joined()
        order = np.argsort(query.astype(np.uint16), kind="stable")  # 16 bits: numpy sorts them by radix
        query, row, score = query[order], row[order], score[order]
        count = np.bincount(query, minlength=len(self._queries))
        table = np.full((len(count), max(self._k, int(count.max()))), -np.inf, np.float32)
        table[query, places_in(count)] = score
        self._kth = np.partition(table, table.shape[1] - self._k, axis=1)[:, table.shape[1] - self._k]
        keep = score >= self.threshold(slack)[query]
        self._parts = [(query[keep], row[keep], score[keep])]
        self._size = self._settled = int(keep.sum())
        if self._size > 4 * self._k * len(self._queries):  # a crowd of ties: the exact scores thin it out
            exact, rows = self.resolve()
            self._parts = [(np.repeat(np.arange(len(rows)), self._k), rows.ravel(), exact.ravel())]
            self._kth, self._size, self._settled = exact[:, -1], rows.size, rows.size

    def resolve(self) -> tuple[Vectors, Rows]:
        """Score all candidates by the definition: scores and rows (q, k). Needs k candidates of each query."""
        query, row, _ = self._joined()
        score = pair_scores(self._queries, self._corpus, query, row)
        order = np.lexsort((row, -score, query))
        query, row, score = query[order], row[order], score[order]
        place = np.searchsorted(query, np.arange(len(self._queries)))[:, None] + np.arange(self._k)
        return score[place], row[place]

    def _joined(self) -> tuple[Rows, Rows, Vectors]:
        query, row, score = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return query, row, score


def _numpy_products(queries: Vectors, block: int) -> _Propose:
    products, reach = np.empty(len(queries) * block, np.float32), np.empty(len(queries) * block, np.bool_)
    few = len(queries) <= _FEW_QUERIES

    def propose(vectors: Vectors, threshold: Vectors) -> tuple[NDArray[np.int64], Vectors]:
        if few:
            by_dots = len(queries) <= _FEWEST_QUERIES
            found = np.vecdot(vectors[:, None], queries) if by_dots else vectors @ queries.T
            place = np.flatnonzero(found >= threshold)
            row, query = np.divmod(place, len(queries))
            return query * len(vectors) + row, found.ravel()[place]
        shape, size = (len(queries), len(vectors)), len(queries) * len(vectors)
        np.matmul(queries, vectors.T, out=products[:size].reshape(shape))
        np.greater_equal(products[:size].reshape(shape), threshold[:, None], out=reach[:size].reshape(shape))
        flat = np.flatnonzero(reach[:size])
        return flat, products[flat]

    return propose


def _torch_products(queries: Vectors, device: str) -> _Propose:
    import torch

    on_device = torch.tensor(queries, device=device)

    def propose(vectors: Vectors, threshold: Vectors) -> tuple[NDArray[np.int64], Vectors]:
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # TF32 would break the error bound
        try:
            products = (on_device @ torch.tensor(vectors, device=device).T).ravel()
        finally:
            torch.set_float32_matmul_precision(precision)
        limit = torch.tensor(threshold, device=device)
        flat = (products.view(len(queries), -1) >= limit[:, None]).ravel().nonzero().ravel()
        return flat.cpu().numpy(), products[flat].cpu().numpy()

    return propose
