"""Paired tests over queries: the statistics of comparing two systems, drawn by patent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patent_embed.evaluation.metrics import Floats

RESAMPLES = 10_000  # what both tests draw: another number gives other values


def paired_bootstrap(
    difference: Floats, unit: NDArray[np.int64], seed: int, resamples: int = RESAMPLES, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean of per-query differences (Sakai 2006: paired, resampling with replacement).

    Args:
        difference: (q,) metric of one system minus the other's, on the same queries.
        unit: (q,) what is drawn together; several queries of one patent are no independent evidence.
        seed: of the draws.
        resamples: how many samples are drawn.
        level: share of the samples' means inside the interval.

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


def paired_randomisation(difference: Floats, unit: NDArray[np.int64], seed: int, resamples: int = RESAMPLES) -> float:
    """Two-sided p-value of Fisher's randomisation test (Smucker, Allan & Carterette 2007).

    How often swapping the two systems at random, unit by unit, gives a difference at least as large; arguments as of
    ``paired_bootstrap``. At least ``1 / (resamples + 1)``; NaN without queries.
    """
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
    """P-values (m,) adjusted for m tests by Holm's step-down procedure (Holm 1979).

    Those below 0.05 hold together at the 5 % level, whatever the tests have in common.
    """
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
