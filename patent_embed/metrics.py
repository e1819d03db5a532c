"""Retrieval metrics as one value per query, so that systems can be compared in pairs, and the statistics of that.

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
    """nDCG@k: sum of 1 / log2(rank + 1) over relevant documents in the first k, divided by the largest such sum
    (Järvelin & Kekäläinen 2002, with gains 0 and 1). ``relevant`` (q,): size of each relevant set. (q,) in 0..1."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, k)]
    gained = hit[:, :k] @ discount[: hit.shape[1]]
    return _ratio(gained, best)


def graded_ndcg(gain: Floats, ideal: Floats) -> Floats:
    """nDCG@k with graded, linear gains (as in trec_eval): ``gain`` (q, <= k) of the documents ranked, ``ideal`` (q, k)
    of the best possible ranking. (q,) in 0..1."""
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
    """Precision at each relevant document within the first k, summed and divided by the size of the relevant set
    (trec_eval's map_cut). (q,); the mean is MAP@k."""
    top = hit[:, :k]
    precision = np.cumsum(top, axis=1) / np.arange(1, top.shape[1] + 1)
    return _ratio((precision * top).sum(axis=1), relevant)


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """``part / whole``, and 0 where ``whole`` is 0: a query with nothing to find has found nothing."""
    ratio: Floats = np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)
    return ratio


def paired_bootstrap(
    difference: Floats, unit: NDArray[np.int64], seed: int, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean of per-query differences (Sakai 2006: paired, resampling with replacement).

    Args:
        difference: (q,) metric of one system minus the other's, on the same queries.
        unit: (q,) what is drawn together; several queries of one patent are no independent evidence.

    Returns:
        Lower and upper bound; NaN without queries.
    """
    total, count = _per_unit(difference, unit)
    if not len(total):
        return float("nan"), float("nan")
    rng = np.random.default_rng([seed, 1])
    means = np.empty(resamples)
    for begin, end in _chunks(resamples, len(total)):
        drawn = rng.integers(0, len(total), (end - begin, len(total)))
        means[begin:end] = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_randomisation(difference: Floats, unit: NDArray[np.int64], seed: int, resamples: int = 10_000) -> float:
    """Two-sided p-value of Fisher's randomisation test (Smucker, Allan & Carterette 2007): how often swapping the two
    systems at random, unit by unit, gives a difference at least as large. At least ``1 / (resamples + 1)``."""
    total, _ = _per_unit(difference, unit)
    if not len(total):
        return float("nan")
    rng = np.random.default_rng([seed, 2])
    observed = abs(total.sum())
    as_large = 0
    for begin, end in _chunks(resamples, len(total)):
        signs = rng.integers(0, 2, (end - begin, len(total)), dtype=np.int8) * 2.0 - 1.0
        # A hair of slack: the same set of signs must count as equal whatever the order of the sum.
        as_large += int((np.abs(signs @ total) >= observed - 1e-12).sum())
    return (as_large + 1) / (resamples + 1)


def holm(p_values: Floats) -> Floats:
    """P-values (m,) adjusted for m tests by Holm's step-down procedure (Holm 1979): those below 0.05 hold together at
    the 5 % level, whatever the tests have in common."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(adjusted, 1.0)


def _per_unit(values: Floats, unit: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Sum and number of the values of each unit, units in order."""
    _, inverse, count = np.unique(unit, return_inverse=True, return_counts=True)
    return np.bincount(inverse, weights=values, minlength=len(count)).astype(np.float64), count.astype(np.int64)


def _chunks(resamples: int, width: int) -> list[tuple[int, int]]:
    """Resamples in pieces of at most about four million drawn numbers."""
    size = max(1, (1 << 22) // width)
    return [(begin, min(begin + size, resamples)) for begin in range(0, resamples, size)]
