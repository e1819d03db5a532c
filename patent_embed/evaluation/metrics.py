"""Retrieval metrics as one value per query, so that systems can be compared in pairs.

A ranking is a row of corpus rows, best first, ties by (-score, row); -1 stands for "nothing more was found". What is
relevant is a set: a query's own patent and its whole family. Definitions are those of trec_eval.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def hits(
    ranked: NDArray[np.int64], query_group: NDArray[np.int64], corpus_group: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which retrieved documents are relevant: those of the query's own group (family).

    Args:
        ranked: (q, k) corpus rows, -1 where a ranking has ended.
        query_group: (q,) group of each query.
        corpus_group: (n,) group of each document.

    Returns:
        (q, k) bool.
    """
    found: NDArray[np.bool_] = (corpus_group[ranked] == query_group[:, None]) & (ranked >= 0)
    return found


def group_sizes(query_group: NDArray[np.int64], corpus_group: NDArray[np.int64]) -> NDArray[np.int64]:
    """(q,) number of documents that are relevant to each query, in the whole corpus."""
    sizes = np.bincount(corpus_group, minlength=int(query_group.max(initial=-1)) + 1)
    return sizes[query_group].astype(np.int64)


def ndcg(hit: NDArray[np.bool_], relevant: NDArray[np.int64], k: int) -> Floats:
    """nDCG@k: sum of 1 / log2(rank + 1) over relevant documents in the first k, divided by the largest such sum.

    Järvelin & Kekäläinen 2002, with gains 0 and 1. ``relevant`` (q,): size of each relevant set. (q,) in 0..1.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, k)]
    gained = hit[:, :k] @ discount[: hit.shape[1]]
    return _ratio(gained, best)


def graded_ndcg(gain: Floats, ideal: Floats) -> Floats:
    """nDCG@k with graded, linear gains, as in trec_eval: (q,) in 0..1.

    Args:
        gain: (q, <= k) of the documents ranked.
        ideal: (q, k) of the best possible ranking.
    """
    discount = 1 / np.log2(np.arange(2, ideal.shape[1] + 2))
    return _ratio(gain @ discount[: gain.shape[1]], ideal @ discount)


def reciprocal_rank(hit: NDArray[np.bool_], k: int) -> Floats:
    """1 / rank of the first relevant document within the first k, else 0. (q,); the mean is MRR@k."""
    rank = first_rank(hit[:, :k])
    return _ratio((rank > 0).astype(np.float64), rank)


def first_rank(hit: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(q,) rank of the first relevant document, counted from 1; 0 when none was retrieved."""
    if hit.shape[1] == 0:
        return np.zeros(len(hit), np.int64)
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 0)


def recall(hit: NDArray[np.bool_], relevant: NDArray[np.int64], k: int) -> Floats:
    """Share of the relevant set within the first k. (q,)."""
    return _ratio(hit[:, :k].sum(axis=1), relevant)


def average_precision(hit: NDArray[np.bool_], relevant: NDArray[np.int64], k: int) -> Floats:
    """Precision at each relevant document within the first k, summed and divided by the size of the relevant set.

    That is trec_eval's map_cut. (q,); the mean is MAP@k.
    """
    top = hit[:, :k]
    precision = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return _ratio((precision * top).sum(axis=1), relevant)


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """``part / whole``, and 0 where ``whole`` is 0: a query with nothing to find has found nothing."""
    ratio: Floats = np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)
    return ratio
