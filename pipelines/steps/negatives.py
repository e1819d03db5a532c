"""Negative mining on a cluster: the parts of ``patent_embed.partitioned`` on Ray Data.

Same results as ``patent_embed.negatives.mine_negatives``, which is faster wherever the codes fit into one process (ten
million patents do). This is for more than that, and for a corpus that lies in parts on a cluster.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import Dataset

from patent_embed.artifacts import Artifact
from patent_embed.config.negatives import NegativesConfig
from patent_embed.errors import UserError
from patent_embed.folders import RemoteFolder, is_remote
from patent_embed.negatives import parts
from patent_embed.negatives.drawn import Mined
from patent_embed.negatives.ladder import GROUP_CAP
from patent_embed.negatives.parts import Buckets, IdIndex
from patent_embed.negatives.scored import Embeddings, mine_scored_negatives
from patent_embed.negatives.tally import Tally
from pipelines.resources import cluster_gpus

_ENTRIES_A_PART = 400_000  # about 200 MB at work in a search task
_BATCH = 1 << 17  # patents
_BLOCK = 1 << 16  # anchors in one output file
_ARROW: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": _BATCH}


def mine_negatives_ray(
    corpus: Dataset,
    splits: pa.Table,
    config: NegativesConfig,
    seed: int,
    folder: Path | RemoteFolder,
    *,
    group_cap: int = GROUP_CAP,
    parts: int | None = None,
    block_rows: int = _BLOCK,
) -> dict[str, Any]:
    """Mine the negatives of every patent of ``corpus`` (``publication_number, codes``, in any blocks and order).

    Writes ``folder/negatives/part-*.parquet``, in name order one table sorted by publication_number and rank, and
    returns the report. ``splits`` (``publication_number, family, split``) must name the same patents. ``folder`` must
    be reachable from every node.
    """
    if config.strategy == "hard":
        raise UserError(
            "negatives.strategy 'hard' ranks candidates by a model's scores and does not run in parts; mine it in one "
            "process, or choose another strategy, e.g. optimized_mixed"
        )
    directory = IdIndex.of(splits)
    directory_ref = ray.put(directory)
    counts = corpus.map_batches(_count, fn_args=(directory_ref,), **_ARROW)
    census = parts.census(pa.concat_tables(counts.iter_batches(batch_size=None, batch_format="pyarrow")))
    census.check(directory)
    buckets_ref = ray.put(Buckets.of(census.place, census.members, group_cap))
    parts = parts or max(1, -(-int(census.members.sum()) // _ENTRIES_A_PART))
    target = folder / "negatives"
    if isinstance(target, Path):
        target.mkdir(parents=True, exist_ok=True)
    tallies = (
        corpus.map_batches(_entries, fn_args=(directory_ref, buckets_ref, seed, parts), **_ARROW)
        .groupby("part", num_partitions=parts)
        .map_groups(_search, fn_args=(config.per_positive, block_rows), batch_format="pyarrow")
        .groupby("block", num_partitions=max(1, -(-len(directory.ids) // block_rows)))
        .map_groups(_write, fn_args=(directory_ref, config, seed, block_rows, str(target)), batch_format="pyarrow")
    )
    total = Tally(config.per_positive)
    for batch in tallies.iter_batches(batch_size=None, batch_format="pyarrow"):
        for numbers in batch["tally"].to_pylist():
            total.add(numbers)
    total.anchors[0] += len(directory.ids) - total.anchors.sum()  # blocks without a single code have no rows
    return total.report(census.main_groups)


def read_corpus(ingested: Artifact) -> Dataset:
    """``publication_number`` and ``codes`` of an ingest artifact, read by the workers.

    By plain tasks, which Ray runs again when their node dies: ``ray.data.read_parquet`` has actors read the files'
    footers first, and ends the job when one of them was sent to a node that is gone.
    """
    remote = ingested.remote
    if remote is None:
        paths, filesystem = [str(path) for path in ingested.parts("corpus")], None
    else:
        paths = [f"{remote.path}/{name}" for name in sorted(ingested.manifest.files) if name.startswith("corpus/")]
        filesystem = remote.filesystem
    parts = ray.data.from_arrow([pa.table({"path": [path]}) for path in paths])
    return parts.map_batches(_read, fn_args=(filesystem,), batch_format="pyarrow", batch_size=None)  # a task a file


def mine_scored(
    corpus: pa.Table, splits: pa.Table, config: NegativesConfig, seed: int, embeddings: Embeddings
) -> Mined:
    """``hard_negatives.mine_scored_negatives`` on a GPU where the cluster has one, otherwise here."""
    if not cluster_gpus():
        return mine_scored_negatives(corpus, splits, config, seed, embeddings)
    task = ray.remote(num_gpus=1)(mine_scored_negatives)
    mined: Mined = ray.get(task.remote(corpus, splits, config, seed, embeddings, device="cuda"))
    return mined


def _read(part: pa.Table, filesystem: Any) -> pa.Table:
    columns = ["publication_number", "codes"]
    return pa.concat_tables(
        pq.read_table(path, columns=columns, filesystem=filesystem) for path in part["path"].to_pylist()
    )


def _count(batch: pa.Table, directory: Any) -> pa.Table:
    return parts.count_members(batch, ray.get(directory))


def _entries(batch: pa.Table, directory: Any, buckets: Any, seed: int, parts: int) -> pa.Table:
    return parts.entries(batch, ray.get(directory), ray.get(buckets), seed, parts)


def _search(group: pa.Table, k: int, block_rows: int) -> pa.Table:
    return parts.search_part(group, k, block_rows)


def _write(group: pa.Table, directory: Any, config: NegativesConfig, seed: int, rows: int, target: str) -> pa.Table:
    ids = ray.get(directory).ids
    block = int(group["block"][0].as_py())
    anchors = np.arange(block * rows, min((block + 1) * rows, len(ids)), dtype=np.int32)
    table, tally = parts.choose(group, ids, anchors, config, seed)
    name = f"part-{block:06d}.parquet"
    if is_remote(target):
        with tempfile.TemporaryDirectory() as scratch:
            pq.write_table(table, Path(scratch) / name, compression="zstd")
            RemoteFolder(target).put(Path(scratch) / name, name)
        return pa.table({"block": [block], "tally": [tally.numbers()]})
    path = Path(target) / name
    pq.write_table(table, path.with_suffix(".tmp"), compression="zstd")  # a task that is run again writes the same file
    os.replace(path.with_suffix(".tmp"), path)
    return pa.table({"block": [block], "tally": [tally.numbers()]})
