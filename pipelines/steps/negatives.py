"""Negatives by classification: in one process, or in parts on a cluster.

The parts of ``patent_embed.negatives.parts`` as tasks of Ray give the same results as
``patent_embed.negatives.drawn.mine_negatives``, which takes less of a machine wherever the codes fit into one process
(ten million patents do). They are for more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from patent_embed.arrays import grouped
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
_BLOCK = 1 << 16  # anchors in one output file
_ONE_PROCESS = 20_000_000  # patents; it needs 550 bytes of each


def mine_negatives_ray(
    corpus: Sequence[Any],
    splits: pa.Table,
    config: NegativesConfig,
    seed: int,
    folder: Folder,
    *,
    group_cap: int = GROUP_CAP,
    parts: int | None = None,
    block_rows: int = _BLOCK,
) -> dict[str, Any]:
    """Mine the negatives of every patent of ``corpus``: references to tables of ``publication_number, codes``, of any
    sizes and in any order.

    Writes ``folder/negatives/part-*.parquet``, in name order one table sorted by publication_number and rank, and
    returns the report. ``splits`` (``publication_number, family, split``) must name the same patents. ``folder`` must
    be reachable from every node.

    Tables go between tasks, cut by whom they are for: each task of a stage takes its piece of each one before. Ray
    Data's ``groupby`` brings the same rows together, but first it sorts what is a number of the task already.
    """
    if STRATEGIES[config.strategy].needs_scores:
        raise UserError(
            f"negatives.strategy {config.strategy!r} ranks candidates by a model's scores and does not run in parts; "
            f"mine it in one process, or choose another strategy, e.g. {STRATEGIES[config.strategy].unscored}"
        )
    index = IdIndex.of(splits)
    index_ref = ray.put(index)
    counts = ray.get([each for (each,) in _tasks(in_parts.count_members, [(block, index_ref) for block in corpus])])
    containers = ContainerCounts.of(pa.concat_tables(counts))
    containers.check(index)
    buckets_ref = ray.put(Buckets.of(containers.place, containers.members, group_cap))
    parts = parts or max(1, -(-int(containers.members.sum()) // _ENTRIES_A_PART))
    blocks = max(1, -(-len(index.ids) // block_rows))
    entries = _tasks(_entries, [(block, index_ref, buckets_ref, seed, parts) for block in corpus], parts)
    sizes = config.per_positive, block_rows, blocks
    found = _tasks(_search, [(*sizes, *mine) for mine in zip(*entries, strict=True)], blocks)
    told = config, seed, block_rows, str(folder / "negatives")
    tallies = _tasks(_write, [(block, index_ref, *told, *mine) for block, mine in enumerate(zip(*found, strict=True))])
    del entries, found  # what a task has read may go
    total = Tally(config.per_positive)
    for (tally,) in tallies:
        total.add(ray.get(tally))
    total.anchors[0] += len(index.ids) - total.anchors.sum()  # blocks without a single code have no rows
    return total.report(containers.main_groups)


def read_corpus(ingested: Artifact) -> list[Any]:
    """``publication_number`` and ``codes`` of an ingest artifact, a table a file, read by the workers."""
    names = sorted(name for name in ingested.manifest.files if name.startswith("corpus/"))
    paths, filesystem = [f"{ingested.place.inside}/{name}" for name in names], ingested.place.filesystem
    return [table for (table,) in _tasks(_read, [(path, filesystem) for path in paths])]


def _tasks(function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], results: int = 1) -> list[list[Any]]:
    """A task for each tuple of ``arguments``, and references to its ``results``. Ray runs it again when its node, or
    that of a result, is lost."""
    task: Any = ray.remote(num_returns=results)(function)
    made = [task.remote(*each) for each in arguments]
    return made if results > 1 else [[each] for each in made]


def _read(path: str, filesystem: Any) -> pa.Table:
    return pq.read_table(path, columns=["publication_number", "codes"], filesystem=filesystem)


def _entries(block: pa.Table, index: IdIndex, buckets: Buckets, seed: int, parts: int) -> Any:
    return _cut(in_parts.entries(block, index, buckets, seed, parts), "part", parts)


def _search(k: int, block_rows: int, blocks: int, *entries: pa.Table) -> Any:
    return _cut(in_parts.search_part(pa.concat_tables(entries), k, block_rows), "block", blocks)


def _cut(table: pa.Table, column: str, pieces: int) -> Any:
    """The rows whose number in ``column`` is 0, 1, ... in this order, a table each: as many as a task is to return."""
    order, start = grouped(table[column].to_numpy(), pieces)
    table = table.take(pa.array(order)).combine_chunks()
    found = [table.slice(start[piece], start[piece + 1] - start[piece]) for piece in range(pieces)]
    return found if pieces > 1 else found[0]


def _write(
    block: int, index: IdIndex, config: NegativesConfig, seed: int, rows: int, target: str, *found: pa.Table
) -> Any:
    ids = index.ids
    anchors = np.arange(block * rows, min((block + 1) * rows, len(ids)), dtype=np.int32)
    table, tally = in_parts.choose(pa.concat_tables(found), ids, anchors, config, seed)
    with folder_at(target).new_file(f"part-{block:06d}.parquet") as path:  # a task that is run again writes the same
        pq.write_table(table, path, compression="zstd")
    return tally.numbers()


def negatives_step(config: Config, ingest: Input, splits: Input) -> StepSpec:
    """The negatives that every system is judged on: by classification alone, so that no model has chosen them."""
    settings, seed = config.negatives, config.run.seed
    mined = settings.model_copy(update={"strategy": STRATEGIES[settings.strategy].unscored})
    return StepSpec(
        name=NAME,
        version=1,
        settings=rung_settings(config),
        inputs={"ingest": ingest, "splits": splits},
        work=by_a_worker(partial(_work, config=mined, seed=seed)),
        constants=CONSTANTS,
        check=require_negatives,
        notes=mining_notes,
        rate=rate,
    )


def _work(here: Workplace, config: NegativesConfig, seed: int) -> Outcome:
    ingested, splits = here.inputs["ingest"], here.table("splits")
    if _is_large(config, len(splits)):
        report = mine_negatives_ray(read_corpus(ingested), splits, config, seed, here.place)
        return Outcome(rows={"negatives": report["negatives"]}, report=report)
    found = mine_negatives(here.table("ingest", "corpus", "publication_number", "codes"), splits, config, seed)
    pq.write_table(found.table, here.folder / "negatives.parquet", compression="zstd")
    return Outcome(rows={"negatives": len(found.table)}, report=found.report)


def _is_large(config: NegativesConfig, patents: int) -> bool:
    """Whether they are mined in parts."""
    return patents > _ONE_PROCESS if config.distributed is None else config.distributed


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
