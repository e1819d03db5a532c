"""One ranking from several: reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patent_embed.arrays import Rows, Vectors

FUSION = 60
"""Constant of reciprocal rank fusion, Σ 1 / (FUSION + rank): Cormack, Clarke, Büttcher, SIGIR 2009."""


def fuse(lists: Sequence[tuple[Vectors, Rows]], depth: int) -> tuple[Vectors, Rows]:
    """Scores and rows of all that a list has, by (-score, row), ``depth`` at most. Each list: scores and rows (k,)."""
    rows = np.concatenate([found[1] for found in lists])
    shares = np.concatenate([1.0 / (FUSION + 1 + np.arange(len(found[1]))) for found in lists])
    distinct, places = np.unique(rows, return_inverse=True)
    scores = np.bincount(places, weights=shares, minlength=len(distinct)).astype(np.float32)
    order = np.lexsort((distinct, -scores))[:depth]
    return scores[order], distinct[order].astype(np.int64)
