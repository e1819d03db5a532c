"""Negatives by classification: in one process, or in parts on a cluster.

The parts of ``patent_embed.negatives.parts`` on Ray Data give the same results as
``patent_embed.negatives.drawn.mine_negatives``, which is faster wherever the codes fit into one process (ten million
patents do). They are for more than that, and for a corpus that lies in parts on a cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import Dataset

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.negatives import NegativesConfig
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from patent_embed.negatives import parts as in_parts
from patent_embed.negatives.drawn import mine_negatives
from patent_embed.negatives.ladder import GROUP_CAP
from patent_embed.negatives.parts import Buckets, ContainerCounts, IdIndex
from patent_embed.negatives.rings import MAX_PROBES
from patent_embed.negatives.tally import Tally
from patent_embed.section import Role, names_by_role
from patent_embed.strategies.base import STRATEGIES
from pipelines.engine import Input, StepSpec, rate
from pipelines.steps.tables import counted
from pipelines.tasks import Workplace, by_a_worker

NAME = "negatives"
CONSTANTS = {"GROUP_CAP": GROUP_CAP, "MAX_PROBES": MAX_PROBES}
_ENTRIES_A_PART = 400_000  # about 200 MB at work in a search task
_BATCH = 1 << 17  # patents
_BLOCK = 1 << 16  # anchors in one output file
_ARROW: dict[str, Any] = {"batch_format": "pyarrow", "batch_size": _BATCH}


def mine_negatives_ray(
    corpus: Dataset,
    splits: pa.Table,
    config: NegativesConfig,
    seed: int,
    folder: Folder,
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
    if STRATEGIES[config.strategy].needs_scores:
        raise UserError(
            f"negatives.strategy {config.strategy!r} ranks candidates by a model's scores and does not run in parts; "
            f"mine it in one process, or choose another strategy, e.g. {STRATEGIES[config.strategy].unscored}"
        )
    index = IdIndex.of(splits)
    index_ref = ray.put(index)
    counts = corpus.map_batches(_udf(_count), fn_args=(index_ref,), **_ARROW)
    containers = ContainerCounts.of(pa.concat_tables(counts.iter_batches(batch_size=None, batch_format="pyarrow")))
    containers.check(index)
    buckets_ref = ray.put(Buckets.of(containers.place, containers.members, group_cap))
    parts = parts or max(1, -(-int(containers.members.sum()) // _ENTRIES_A_PART))
    target = folder / "negatives"
    tallies = (
        corpus.map_batches(_udf(_entries), fn_args=(index_ref, buckets_ref, seed, parts), **_ARROW)
        .groupby("part", num_partitions=parts)
        .map_groups(_udf(_search), fn_args=(config.per_positive, block_rows), batch_format="pyarrow")
        .groupby("block", num_partitions=max(1, -(-len(index.ids) // block_rows)))
        .map_groups(_udf(_write), fn_args=(index_ref, config, seed, block_rows, str(target)), batch_format="pyarrow")
    )
    total = Tally(config.per_positive)
    for batch in cast(Any, tallies).iter_batches(batch_size=None, batch_format="pyarrow"):
        for numbers in batch["tally"].to_pylist():
            total.add(numbers)
    total.anchors[0] += len(index.ids) - total.anchors.sum()  # blocks without a single code have no rows
    return total.report(containers.main_groups)


def read_corpus(ingested: Artifact) -> Dataset:
    """``publication_number`` and ``codes`` of an ingest artifact, read by the workers.

    By plain tasks, which Ray runs again when their node dies: ``ray.data.read_parquet`` has actors read the files'
    footers first, and ends the job when one of them was sent to a node that is gone.
    """
    names = sorted(name for name in ingested.manifest.files if name.startswith("corpus/"))
    paths, filesystem = [f"{ingested.place.inside}/{name}" for name in names], ingested.place.filesystem
    parts = ray.data.from_arrow([pa.table({"path": [path]}) for path in paths])
    return parts.map_batches(
        _udf(_read), fn_args=(filesystem,), batch_format="pyarrow", batch_size=None
    )  # a task a file


def _udf(function: Callable[..., pa.Table]) -> Any:
    """What Ray Data calls with further arguments, which its annotations do not know."""
    return function


def _read(part: pa.Table, filesystem: Any) -> pa.Table:
    columns = ["publication_number", "codes"]
    return pa.concat_tables(
        pq.read_table(path, columns=columns, filesystem=filesystem) for path in part["path"].to_pylist()
    )


def _count(batch: pa.Table, index: Any) -> pa.Table:
    return in_parts.count_members(batch, ray.get(index))


def _entries(batch: pa.Table, index: Any, buckets: Any, seed: int, parts: int) -> pa.Table:
    return in_parts.entries(batch, ray.get(index), ray.get(buckets), seed, parts)


def _search(group: pa.Table, k: int, block_rows: int) -> pa.Table:
    return in_parts.search_part(group, k, block_rows)


def _write(group: pa.Table, index: Any, config: NegativesConfig, seed: int, rows: int, target: str) -> pa.Table:
    ids = ray.get(index).ids
    block = int(group["block"][0].as_py())
    anchors = np.arange(block * rows, min((block + 1) * rows, len(ids)), dtype=np.int32)
    table, tally = in_parts.choose(group, ids, anchors, config, seed)
    with folder_at(target).new_file(f"part-{block:06d}.parquet") as path:  # a task that is run again writes the same
        pq.write_table(table, path, compression="zstd")
    return pa.table({"block": [block], "tally": [tally.numbers()]})


def negatives_step(config: Config, ingest: Input, splits: Input) -> StepSpec:
    """The negatives that every system is judged on: by classification alone, so that no model has chosen them."""
    settings, seed = config.negatives, config.run.seed
    mined = settings.model_copy(update={"strategy": STRATEGIES[settings.strategy].unscored})
    work = partial(_in_parts if mined.distributed else _in_one_process, config=mined, seed=seed)
    return StepSpec(
        name=NAME,
        version=1,
        settings=rung_settings(config),
        inputs={"ingest": ingest, "splits": splits},
        work=work if mined.distributed else by_a_worker(work),
        constants=CONSTANTS,
        check=require_negatives,
        notes=mining_notes,
        rate=rate,
    )


def _in_one_process(here: Workplace, config: NegativesConfig, seed: int) -> Outcome:
    corpus = here.table("ingest", "corpus", "publication_number", "codes")
    found = mine_negatives(corpus, here.table("splits"), config, seed)
    pq.write_table(found.table, here.folder / "negatives.parquet", compression="zstd")
    return Outcome(rows={"negatives": len(found.table)}, report=found.report)


def _in_parts(here: Workplace, config: NegativesConfig, seed: int) -> Outcome:
    report = mine_negatives_ray(read_corpus(here.inputs["ingest"]), here.table("splits"), config, seed, here.place)
    return Outcome(rows={"negatives": report["negatives"]}, report=report)


def rung_settings(config: Config) -> dict[str, Any]:
    """The settings that decide which rungs negatives come from."""
    excluded = names_by_role(NegativesConfig, Role.LOGISTICS) | {"scoring", "rounds"}
    return config.negatives.model_dump(mode="json", exclude=excluded) | {"seed": config.run.seed}


def require_negatives(mined: Artifact) -> None:
    """Raises UserError where no patent has a negative."""
    if not mined.manifest.rows["negatives"]:
        raise UserError(
            "no patent can get a negative: within each split all patents are one family or share a full IPC code; "
            "add patents of other subgroups (same-group negatives need at least two patents in one main group)"
        )


def mining_notes(mined: Artifact) -> list[str]:
    """Where the negatives are from, what was refused, and what is missing."""
    report = mined.report
    lines = ["by rung: " + counted(report["rungs"])]
    if refused := {reason: count for reason, count in report.get("filtered", {}).items() if count}:
        lines.append("refused: " + counted(refused))
    if short := report["shortfall"]:
        none = report["anchors_without_negatives"]
        lines.append(f"{sum(short.values()):,} patents got fewer than asked for, {none:,} of them none")
    return lines
