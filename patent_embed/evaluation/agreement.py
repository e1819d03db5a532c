"""How near the vectors of one program are to those of another, of the same texts: cosines, and what a search finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from patent_embed.arrays import Vectors
from patent_embed.evaluation.search import exact_search, pair_scores

COSINE, OVERLAP = 0.999, 0.99  # the least at which a program serves what was measured
TOP = 10
# Of a score: passages that are nearer to each other change places by bf16 alone.
ROUNDING = 1e-3


@dataclass(frozen=True)
class Agreement:
    """Of two programs.

    Attributes:
        cosines: (texts,) of the two vectors of each text, queries first.
        overlap: the share of a query's ten best documents by the other that are among those of the one, or score within
            ``ROUNDING`` of its tenth; in the mean over the queries.
    """

    cosines: Vectors
    overlap: float

    @property
    def cosines_hold(self) -> bool:
        """Whether every text has the same vector, but for rounding."""
        return bool(self.cosines.min() >= COSINE)

    @property
    def holds(self) -> bool:
        """Whether the two serve the same: every cosine, and the overlap."""
        return self.cosines_hold and self.overlap >= OVERLAP


def agreement(queries: tuple[Vectors, Vectors], documents: tuple[Vectors, Vectors], *, top: int = TOP) -> Agreement:
    """``queries`` and ``documents``, (q, dim) and (n, dim) of length 1: of the one program, and of the other."""
    (scores, best), (_, others) = (exact_search(*each, top) for each in zip(queries, documents, strict=True))
    rows = np.repeat(np.arange(len(best)), best.shape[1])
    found = pair_scores(queries[0], documents[0], rows, others.ravel()).reshape(others.shape)
    same = found >= scores[:, -1:] - ROUNDING
    cosines = np.concatenate([(one * other).sum(axis=1) for one, other in (queries, documents)])
    return Agreement(cosines, float(same.mean()) if same.size else 1.0)


def unit(vectors: Vectors) -> Vectors:
    """The vectors (n, dim) with length 1; zeros, and what holds no finite numbers, stay zeros."""
    finite = np.nan_to_num(vectors, nan=0, posinf=0, neginf=0).astype(np.float32)
    return np.asarray(finite / np.maximum(np.linalg.norm(finite, axis=1, keepdims=True), 1e-12), np.float32)
