"""Negatives in parts, without a cluster: the table of one process, whatever the blocks, buckets and parts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from patent_embed.config.negatives import NegativesConfig
from patent_embed.negatives.drawn import mine_negatives
from patent_embed.negatives.parts import Buckets, ContainerCounts, IdIndex, choose, count_members, entries, search_part
from tests.unit.negatives.tables import CORPUS, STRATEGIES, tables


def mined_in_parts(
    corpus: pa.Table, splits: pa.Table, config: NegativesConfig, seed: int, *, rows: int, parts: int, cap: int
) -> pa.Table:
    """As ``mine_negatives``; blocks of the corpus and of anchors have ``rows`` patents."""
    index = IdIndex.of(splits)
    blocks = [corpus.slice(low, rows) for low in range(0, len(corpus), rows)]
    containers = ContainerCounts.of(pa.concat_tables([count_members(block, index) for block in blocks]))
    containers.check(index)
    buckets = Buckets.of(containers.place, containers.members, cap)
    every = pa.concat_tables([entries(block, index, buckets, seed, parts) for block in blocks])
    part = every["part"].to_numpy()
    found = pa.concat_tables(
        [search_part(every.filter(pa.array(part == number)), config.per_positive, rows) for number in np.unique(part)]
    )
    chosen = []
    for block in np.unique(found["block"].to_numpy()).tolist():
        anchors = np.arange(block * rows, min((block + 1) * rows, len(corpus)), dtype=np.int32)
        mine = found.filter(pa.array(found["block"].to_numpy() == block))
        chosen.append(choose(mine, index.ids, anchors, config, seed)[0])
    return pa.concat_tables(chosen)


@settings(max_examples=60, deadline=None)
@given(CORPUS.filter(bool), st.sampled_from(STRATEGIES), st.integers(1, 9), st.integers(1, 4), st.integers(1, 20))
def test_the_same_table_as_in_one_process(patents: list, strategy: str, rows: int, parts: int, cap: int) -> None:
    corpus, splits = tables(patents)
    config = NegativesConfig(strategy=strategy, per_positive=3)
    shuffled = corpus.take(pa.array(np.random.default_rng(rows).permutation(len(corpus))))
    got = mined_in_parts(shuffled, splits, config, 2, rows=rows, parts=parts, cap=cap)
    assert got.equals(mine_negatives(corpus, splits, config, 2, group_cap=cap).table.combine_chunks())
