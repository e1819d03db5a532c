"""The patents as arrays, and the rungs of the classification ladder as rings over them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from patent_embed.arrays import Int32, Int64, changes, ranges_of, starts_of
from patent_embed.negatives.patents import Patents
from patent_embed.negatives.rings import Ring, assemble, bucket_of, take_turns, walk

RUNGS = ("same_main_group", "same_subclass", "random")
GROUP_CAP = 1 << 16  # patents in a container, about; larger ones are cut


class Ladder:
    """The rings of all rungs over one set of patents, each built when it is first needed."""

    def __init__(self, patents: Patents, group_cap: int) -> None:
        self._patents = patents
        self._group_cap = group_cap
        self._rings: dict[int, Ring] = {}

    def ring(self, rung: int) -> Ring:
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
