"""The ladder of the classification: its rungs as rings over the patents, and how the anchors climb it.

===  =================  ===================  =============
no.  rung               container            key
===  =================  ===================  =============
0    same_main_group    main group           full code
1    same_subclass      subclass             main group
2    random             all patents          subclass
===  =================  ===================  =============

A candidate of a rung sits in one of the anchor's containers and carries none of the anchor's keys.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import numpy as np

from patent_embed.arrays import Int32, Int64, UInt64, changes, ranges_of, starts_of
from patent_embed.config.negatives import NegativesConfig
from patent_embed.negatives.patents import Patents
from patent_embed.negatives.rings import Ring, assemble, bucket_of, take_turns, walk
from patent_embed.strategies.base import STRATEGIES

RUNGS = ("same_main_group", "same_subclass", "random")
# Patents in a container, about: larger ones are cut into buckets, and an anchor sees its own bucket only. Another value
# gives other negatives wherever a container is larger.
GROUP_CAP = 1 << 16


class Ladder:
    """The rings of all rungs over one set of patents, each built when it is first needed.

    Containers of more than about ``group_cap`` patents are cut into buckets.
    """

    def __init__(self, patents: Patents, group_cap: int) -> None:
        self._patents = patents
        self._group_cap = group_cap
        self._rings: dict[int, Ring] = {}

    def ring(self, rung: int) -> Ring:
        """The ring of the rung with that number."""
        if rung not in self._rings:
            self._rings[rung] = self._build(rung)
        return self._rings[rung]

    def candidates(self, anchors: Int32, tally: Counter[str], rung: int, which: Int64, k: int) -> tuple[Int32, Int64]:
        """For ``anchors[which]``, up to ``k`` candidates of one rung each (rows, -1 after the last), and how many."""
        ring, rows = self.ring(rung), anchors[which]
        counts = ring.patent_start[rows + 1] - ring.patent_start[rows]
        pairs = ranges_of(ring.patent_start[rows], counts)
        found = walk(ring, np.repeat(rows, counts), pairs, np.repeat(self._patents.hash[rows], counts), k, tally)
        return take_turns(found, counts, self._patents.hash[rows])

    def _build(self, rung: int) -> Ring:
        patents = self._patents
        level = patents.classes.levels[rung]
        container_of_key, names_hash = level.container_of_key, level.container_hash
        row, key = patents.classes.keys(rung)
        container, split = container_of_key[key], patents.split[row]
        # One container for each split and bucket, each with all cells of its keys; most stay empty.
        containers, splits = len(names_hash), int(patents.split.max(initial=0)) + 1
        place = split.astype(np.int64) * containers + container
        first = changes(row, container)
        size = np.bincount(place[first], minlength=splits * containers)
        buckets = np.maximum(-(-size // self._group_cap), 1)
        keys = np.bincount(container_of_key, minlength=containers)
        all_keys = np.tile(keys, splits)
        bucket = bucket_of(patents.hash[row], names_hash[container], buckets[place])
        cell = starts_of(buckets * all_keys)[place] + bucket * keys[container] + key - starts_of(keys)[container]
        cell_container = np.repeat(np.arange(buckets.sum(), dtype=np.int32), np.repeat(all_keys, buckets))
        return assemble(
            row,
            cell.astype(np.int32),
            cell_container,
            np.repeat(np.tile(names_hash, splits), buckets),
            starts_of(np.bincount(row, minlength=len(patents))),
            key,
            patents.family,
        )


class Draw(Protocol):
    """What finds the candidates of a block of anchors, as ``Ladder.candidates`` does."""

    def __call__(self, rung: int, which: Int64, k: int) -> tuple[Int32, Int64]:
        """Up to ``k`` candidates of a rung for each of the block's anchors ``which`` (m,).

        Returns:
            rows (m, k), -1 after the last, and how many there are (m,).
        """


def climb(draw: Draw, anchor_hash: UInt64, config: NegativesConfig) -> tuple[Int32, Int32, Int64]:
    """Choose the negatives of a block of anchors, whose hashes are ``anchor_hash`` (n,).

    Each rung is asked for its quota. What it lacks is asked of the rungs below it, and what those lack, of the rungs
    above, from the bottom up; none is asked of those above the strategy's ``top``.

    Returns:
        rows and rungs of the negatives, (m,) each, anchor by anchor, and how many each anchor has, (n,).
    """
    n, k = len(anchor_hash), config.per_positive
    strategy = STRATEGIES[config.strategy]
    quota, top = strategy.quotas(anchor_hash, k, config.shares.by_rung()), strategy.top
    lists = np.full((n, len(RUNGS), k), -1, np.int32)
    found = np.full((n, len(RUNGS)), -1, np.int64)  # -1: not asked yet
    taken = np.zeros((n, len(RUNGS)), np.int64)
    owed = np.zeros(n, np.int64)
    for rung in (*range(top, len(RUNGS)), *range(len(RUNGS) - 2, top - 1, -1)):
        owed += quota[:, rung]
        quota[:, rung] = 0
        which = np.flatnonzero((owed > 0) & (found[:, rung] < 0))
        if len(which):
            lists[which, rung], found[which, rung] = draw(rung, which, k)
        more = np.minimum(owed, np.maximum(found[:, rung], 0) - taken[:, rung])
        taken[:, rung] += more
        owed -= more
    kept = np.arange(k) < taken[:, :, None]
    rungs = np.broadcast_to(np.arange(len(RUNGS), dtype=np.int32)[:, None], kept.shape)
    return lists[kept], rungs[kept], taken.sum(axis=1)
