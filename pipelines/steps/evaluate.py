"""Evaluation steps: the vectors of an encoder, or BM25, on the queries of val and test against the whole corpus."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from typing_extensions import override

from patent_embed.arrays import Rows, Vectors
from patent_embed.artifacts import Artifact, Outcome, open_artifact
from patent_embed.config.evaluation import EvaluationConfig
from patent_embed.config.model import ABSTRACT, ModelConfig
from patent_embed.config.settings import Config
from patent_embed.evaluation.bm25 import K1, B
from patent_embed.evaluation.forgetting import pair_similarities
from patent_embed.evaluation.measure import DEPTH, ENOUGH_QUERIES, EvalResult, evaluate
from patent_embed.evaluation.patent_map import MOST_PATENTS, NEIGHBOURS, PatentMap, chosen_patents, patent_map
from patent_embed.evaluation.search import exact_search, merge_top_k
from patent_embed.evaluation.systems import Bm25, EmbeddingSystem, System
from patent_embed.progress.clock import Stopwatch
from patent_embed.progress.events import ShardsSearched
from patent_embed.section import Role, names_by_role
from pipelines.engine import Context, Emit, Input, StepSpec, ignore, rate
from pipelines.resources import cluster_nodes
from pipelines.session import GPU_ENV
from pipelines.steps.embed import PASSAGES, groups_of_corpus, patent_vectors, query_vectors
from pipelines.steps.judged import judgements_of
from pipelines.steps.tables import Tables
from pipelines.tasks import Workplace, by_a_worker

NAME, BM25 = "evaluate", "bm25"
VERSION = 3
CONSTANTS = {"ENOUGH_QUERIES": ENOUGH_QUERIES, "DEPTH": DEPTH, "MOST_PATENTS": MOST_PATENTS, "NEIGHBOURS": NEIGHBOURS}
BM25_CONSTANTS = CONSTANTS | {"K1": K1, "B": B}

# Multiplications from which shards pay: below, this process is done before Ray has started a worker.
_WORTH_SHARDING = 1e12
_SHARD_BYTES = 1 << 30


class ShardedSystem(EmbeddingSystem):
    """Cosine similarity, searched in shards of the passages on Ray Data: on all GPUs, or on all nodes.

    ``vectors``: an embedding step, which every node reads by itself.
    """

    def __init__(
        self,
        queries: Vectors,
        vectors: Artifact,
        shard_rows: int | None = None,
        emit: Emit = ignore,
    ) -> None:
        super().__init__(queries, patent_vectors(vectors))
        self._address, self._rows, self._emit = vectors.address, shard_rows, emit

    @override
    def search_passages(self, queries: Rows, k: int) -> tuple[Vectors, Rows]:
        nodes = cluster_nodes()
        gpus, cpus = sum(node.gpus for node in nodes), sum(int(node.cpus) for node in nodes)
        documents, dim = self._patents.vectors.shape
        # Every GPU or CPU gets a shard at least, and a shard fits into memory.
        rows = self._rows or min(-(-documents // max(1, gpus or cpus)), _SHARD_BYTES // (4 * dim))
        shards = [{"begin": begin, "end": min(begin + rows, documents)} for begin in range(0, documents, rows)]
        on_gpu: dict[str, Any] = {"num_gpus": 1, "runtime_env": {"env_vars": GPU_ENV}}
        search: Any = _search_shard  # Ray Data's annotations do not know of further arguments
        found = ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(
            search,
            fn_args=(ray.put(self._queries[queries]), self._address, k),
            batch_size=1,
            **(on_gpu if gpus else {"num_cpus": 1}),
        )
        parts, watch = list[tuple[Vectors, Rows]](), Stopwatch()
        for shard in found.iter_rows():
            shape = (len(queries), -1)
            scores = np.frombuffer(shard["scores"], np.float32).reshape(shape)
            parts.append((scores, np.frombuffer(shard["rows"], np.int64).reshape(shape)))
            self._emit(ShardsSearched(len(parts), len(shards), watch.seconds))
        return merge_top_k(parts, k)


def _search_shard(batch: dict[str, np.ndarray], queries: Any, address: str, k: int) -> dict[str, Any]:
    """Ray Data UDF: the best documents of rows ``begin`` to ``end``, as bytes, for all queries."""
    import torch

    begin, end = int(batch["begin"][0]), int(batch["end"][0])
    shard = np.load(open_artifact(address).file(PASSAGES), mmap_mode="r")[begin:end]
    vectors = ray.get(queries) if isinstance(queries, ray.ObjectRef) else queries
    scores, rows = exact_search(vectors, shard, k, device="cuda" if torch.cuda.is_available() else None)
    return {"scores": [scores.tobytes()], "rows": [(rows + begin).tobytes()]}


def bm25_step(config: Config, tables: Tables[Input]) -> StepSpec:
    """BM25 over what is searched of each patent, the lexical floor."""
    view = config.model.passage_view
    settings = _settings(config) | ({"passage_view": view} if view != ABSTRACT else {})
    work = by_a_worker(partial(_bm25, model=config.model, evaluation=config.evaluation))
    return StepSpec(f"{NAME}-{BM25}", VERSION, settings, tables.inputs(), work, BM25_CONSTANTS, rate=rate)


def _bm25(here: Workplace, model: ModelConfig, evaluation: EvaluationConfig) -> Outcome:
    passages = (text for group in groups_of_corpus(here, model) for text in group["abstract"].to_pylist())
    return _measure(here, BM25, Bm25(passages, here.table("queries", "queries", "query")["query"]), evaluation)


def evaluate_step(config: Config, name: str, vectors: Input, tables: Tables[Input]) -> StepSpec:
    """The encoder ``name``, whose embedding step is ``vectors``."""
    inputs = {"vectors": vectors} | tables.inputs()

    def work(context: Context) -> Outcome:
        return evaluate_encoder(context, name, config)

    return StepSpec(f"{NAME}-{name}", VERSION, _settings(config), inputs, work, CONSTANTS, rate=rate)


def _settings(config: Config) -> dict[str, Any]:
    excluded = names_by_role(EvaluationConfig, Role.LOGISTICS)
    return config.evaluation.model_dump(mode="json", exclude=excluded) | {"seed": config.run.seed}


def evaluate_encoder(context: Context, name: str, config: Config) -> Outcome:
    """Measure the encoder on the queries of val and test, on general sentences, and where it puts the test patents."""
    vectors = context.inputs["vectors"]
    splits, corpus = context.table("splits"), context.table("ingest", "corpus", "codes")
    system = encoder_system(query_vectors(vectors), vectors, config.evaluation.distributed, context.progress.emit)
    outcome = _measure(context, name, system, config.evaluation)
    general = pair_similarities(np.load(vectors.file("general.npy")))
    pq.write_table(general, context.folder / "general.parquet", compression="zstd")
    test = np.flatnonzero(np.asarray(splits["split"].to_pylist(), object) == "test")
    test = test[chosen_patents(splits["publication_number"].take(pa.array(test)).to_pylist())]
    if len(test):
        codes = [listed[0] for listed in corpus["codes"].take(pa.array(test)).to_pylist()]
        outcome.report["map"] = _write_map(context.folder, patent_map(patent_vectors(vectors).first(test), codes))
    return outcome


def encoder_system(queries: Vectors, vectors: Artifact, distributed: bool | None, emit: Emit) -> System:
    """The system of an embedding step: searched here, or in shards where that pays (``distributed``: it is told)."""
    patents = patent_vectors(vectors)
    if distributed is None:
        nodes = cluster_nodes()
        several = len(nodes) > 1 or any(node.gpus for node in nodes)
        distributed = several and queries.size * float(len(patents.vectors)) > _WORTH_SHARDING
    return ShardedSystem(queries, vectors, emit=emit) if distributed else EmbeddingSystem(queries, patents)


def _measure(here: Workplace, name: str, system: System, config: EvaluationConfig) -> Outcome:
    result = evaluate(
        name,
        system,
        here.table("queries"),
        here.table("splits"),
        here.table("negatives"),
        config.query_sources,
        here.table("ingest", "corpus", "codes")["codes"],
        judgements_of(here.inputs["queries"]),
    )
    pq.write_table(result.per_query, here.folder / "per_query.parquet", compression="zstd")
    return Outcome(rows={"queries": len(result.per_query)}, report={"scale": result.scale})


def _write_map(folder: Path, found: PatentMap) -> dict[str, Any]:
    columns = {"section": found.sections, "x": found.points[:, 0], "y": found.points[:, 1]}
    pq.write_table(pa.table(columns), folder / "map.parquet", compression="zstd")
    return {"explained": found.explained, "neighbours": dict(found.neighbours)}


def load_result(name: str, artifact: Artifact) -> EvalResult:
    """The result of an evaluation step."""
    general = artifact.table("general") if "general.parquet" in artifact.manifest.files else None
    found = None
    if about := artifact.report.get("map"):
        table = artifact.table("map")
        points = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
        found = PatentMap(table["section"].to_pylist(), points, about["explained"], about["neighbours"])
    return EvalResult(name, artifact.report["scale"], artifact.table("per_query"), general, found)
