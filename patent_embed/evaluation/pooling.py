"""From the vectors of passages to scores of patents: the best of a patent's passages counts (max-pooling).

Here alone passages become patents: whoever searches or scores by vectors asks ``PatentVectors``, and knows rows of
patents only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from patent_embed.arrays import Rows, Vectors, owners_of, ranges_of, starts_of
from patent_embed.evaluation.search import pair_scores


@dataclass(frozen=True)
class PatentVectors:
    """Vectors of patents' passages.

    Attributes:
        vectors: (p, dim) float32; may be memory-mapped.
        owner: (p,) the row of each one's patent, ascending, none left out; None: each patent has one.
    """

    vectors: Vectors
    owner: Rows | None = None

    def __len__(self) -> int:
        """How many patents there are."""
        return len(self.vectors) if self.owner is None else len(self._start) - 1

    def depth(self, k: int) -> int:
        """So many of the best passages surely have the ``k`` best patents among them: no patent has more than the
        patent with most."""
        return k if self.owner is None else k * int(np.diff(self._start).max(initial=1))

    def pooled(self, scores: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows]:
        """The ``k`` best patents of each query by (-score, row): scores and rows (q, <= k).

        Args:
            scores, rows: (q, m) of passages, by (-score, row), ``depth(k)`` of them or all that there are.
        """
        if self.owner is None:
            return scores[:, :k], rows[:, :k]
        patents = self.owner[rows]
        # Passages of a patent stand together, so the first of its passages in this order has its best score.
        order = np.argsort(patents, axis=1, kind="stable")
        sorted_patents = np.take_along_axis(patents, order, axis=1)
        new = np.ones(patents.shape, np.bool_)
        new[:, 1:] = sorted_patents[:, 1:] != sorted_patents[:, :-1]
        first = np.zeros(patents.shape, np.bool_)
        np.put_along_axis(first, order, new, axis=1)
        k = min(k, len(self))
        place = np.argsort(~first, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, place, axis=1), np.take_along_axis(patents, place, axis=1)

    def pairs(self, queries: Vectors, query_rows: Rows, patents: Rows) -> Vectors:
        """Scores (m,) of ``query_rows`` (m,) and ``patents`` (m,), see ``pair_scores``."""
        if self.owner is None or not len(patents):
            return pair_scores(queries, self.vectors, query_rows, patents)
        count = np.diff(self._start)[patents]
        of_pair = owners_of(count)
        scores = pair_scores(queries, self.vectors, query_rows[of_pair], ranges_of(self._start[patents], count))
        best: Vectors = np.maximum.reduceat(scores, starts_of(count)[:-1])
        return best

    def first(self, patents: Rows) -> Vectors:
        """(m, dim) the vectors of the patents' first passages."""
        return np.asarray(self.vectors[patents if self.owner is None else self._start[patents]])

    @cached_property
    def _start(self) -> Rows:
        """(patents + 1,) where each one's passages begin."""
        assert self.owner is not None
        return starts_of(np.bincount(self.owner))
