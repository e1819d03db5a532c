"""Triplets of several sources of relevance, which of them make a batch, and what is known of their patents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from patent_embed.arrays import Int64, matches, shuffled_runs
from patent_embed.losses.base import Relations, link_keys


@dataclass(frozen=True)
class Mixture:
    """What sources say of m triplets, beside which texts they are.

    Attributes:
        source: (m,) number of each triplet's source; those of a source stand together.
        grade: (m,) of its right answer, above 0.
        passes: (sources,) over the triplets of each source in an epoch.
        linked: (2, l) families that are no negatives of one another, both ways round, the first ones ascending.
    """

    source: np.ndarray
    grade: np.ndarray
    passes: np.ndarray
    linked: np.ndarray

    def sizes(self, most: int | None = None) -> Int64:
        """(sources,) triplets of an epoch, ``most`` in all, each source's in proportion."""
        counts = np.bincount(self.source, minlength=len(self.passes))
        sizes: Int64 = np.rint(counts * self.passes).astype(np.int64)
        return sizes if most is None or sizes.sum() <= most else sizes * most // sizes.sum()

    def batches(self, queries: np.ndarray, sizes: Int64, size: int, rng: np.random.Generator) -> list[Int64]:
        """The triplets of an epoch, ``sizes`` (sources,) of each source, ``size`` in a batch and fewer in the last of a
        source, batches in random order.

        ``queries`` (m,): the asking text of each triplet; the triplets of one stand together, here and in batches.
        """
        batches = list[Int64]()
        for number, wanted in enumerate(sizes.tolist()):
            rows, order = np.flatnonzero(self.source == number), np.zeros(0, np.int64)
            while len(order) < wanted:
                order = np.concatenate([order, rows[shuffled_runs(queries[rows], rng)]])
            batches += [order[begin : min(begin + size, wanted)] for begin in range(0, wanted, size)]
        return [batches[place] for place in rng.permutation(len(batches)).tolist()]

    def relations(self, triplets: np.ndarray, family: np.ndarray) -> Relations:
        """What a batch of ``triplets`` (rows) is told, whose texts are of the families ``family``."""
        here = np.unique(family)
        first, place = matches(here, self.linked[0])
        other = self.linked[1][place]
        inside = np.isin(other, here)
        return Relations(self.grade[triplets], np.sort(link_keys(here[first[inside]], other[inside])))
