"""Negatives in parts, by tasks of Ray: the single process's table, whatever the blocks, the buckets and the parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from patent_embed.config.negatives import NegativesConfig
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.negatives.drawn import mine_negatives
from pipelines.steps.negatives import mine_negatives_ray

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


def corpus(rows: int = 600) -> tuple[pa.Table, pa.Table]:
    """Multi-code patents; a third of them in one main group."""
    rng = np.random.default_rng(0)
    groups = [f"{subclass}{group}" for subclass in ("A01B", "G06T", "H04L", "C07D") for group in (1, 3, 9)]

    def codes() -> list[str]:
        near = ["G06T3"] if rng.random() < 0.33 else []
        chosen = [*near, *rng.choice(groups, rng.integers(1, 4)).tolist()]
        return [f"{group}/{rng.integers(0, 6):02d}" for group in chosen]

    ids = [f"CN{i:06d}A" for i in range(rows)]
    family = [ids[i - (i % 7 == 1)] for i in range(rows)]
    split_of = {name: rng.choice(["train", "val", "test"], p=[0.7, 0.2, 0.1]) for name in family}
    return (
        pa.table({"publication_number": ids, "codes": pa.array([codes() for _ in ids], pa.list_(pa.string()))}),
        pa.table({"publication_number": ids, "family": family, "split": [str(split_of[name]) for name in family]}),
    )


def read(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(part) for part in sorted((folder / "negatives").glob("*.parquet"))])


@pytest.mark.parametrize(
    ("strategy", "blocks", "parts", "cap"),
    [
        ("optimized_mixed", 1, 1, 65_536),
        ("optimized_mixed", 2, 3, 50),
        ("mixed", 8, 5, 50),
        ("same_subclass_different_group", 8, 2, 65_536),
    ],
)
def test_same_table_as_in_one_process(tmp_path: Path, strategy: str, blocks: int, parts: int, cap: int) -> None:
    patents, splits = corpus()
    config = NegativesConfig(strategy=strategy, per_positive=5)
    mined = mine_negatives(patents, splits, config, 3, group_cap=cap)
    shuffled = patents.take(pa.array(np.random.default_rng(1).permutation(len(patents))))
    rows = -(-len(patents) // blocks)
    cut = [ray.put(shuffled.slice(first, rows)) for first in range(0, len(patents), rows)]
    report = mine_negatives_ray(cut, splits, config, 3, folder_at(tmp_path), group_cap=cap, parts=parts, block_rows=250)
    assert read(tmp_path).equals(mined.table.combine_chunks())
    for name in ("anchors", "negatives", "rungs", "shortfall", "anchors_without_negatives", "largest_groups"):
        assert report[name] == mined.report[name]


def test_a_corpus_that_is_not_the_one_of_the_splits(tmp_path: Path) -> None:
    patents, splits = corpus(40)
    config, folder = NegativesConfig(), folder_at(tmp_path)
    with pytest.raises(UserError, match="'CN000039A', which has no split"):
        mine_negatives_ray([ray.put(patents)], splits.slice(0, 39), config, 0, folder)
    with pytest.raises(UserError, match="39 patents, the splits have 40"):
        mine_negatives_ray([ray.put(patents.slice(1))], splits, config, 0, folder)
    repeated = pa.concat_tables([patents.slice(1), patents.slice(5, 1)])
    with pytest.raises(UserError, match="or a patent is repeated"):
        mine_negatives_ray([ray.put(repeated)], splits, config, 0, folder)
