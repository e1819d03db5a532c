"""Steps of a benchmark with judged answers: its tables, vectors of its texts, and systems measured on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.benchmark.tables import Benchmark
from patent_embed.config.settings import Config
from patent_embed.evaluation.bm25 import K1, B
from patent_embed.evaluation.forgetting import pair_similarities
from patent_embed.evaluation.fusion import FUSION
from patent_embed.evaluation.rankings import DEPTH, Ranking, fused, judge, retrieve
from patent_embed.evaluation.systems import Bm25, System
from pipelines.engine import Context, Input, StepSpec, rate
from pipelines.steps.embed import model_settings, query_vectors, vectors_rate, write_vectors
from pipelines.steps.evaluate import BM25, encoder_system

NAME = "benchmark"
_PARTS = ("documents", "queries", "qrels", "excluded")


def benchmark_step(
    source: Mapping[str, Input], read: Callable[[Context], Benchmark], settings: Mapping[str, Any] | None = None
) -> StepSpec:
    """The tables of a benchmark that ``read`` makes of ``source`` by ``settings``."""

    def work(context: Context) -> Outcome:
        found = read(context)
        for name in _PARTS:
            pq.write_table(getattr(found, name), context.folder / f"{name}.parquet", compression="zstd")
        rows = {"documents": len(found.documents), "queries": len(found.queries), "judgements": len(found.qrels)}
        return Outcome(rows=rows, rejects=dict(found.dropped))

    return StepSpec(NAME, 1, settings or {}, source, work, rate=rate)


def load_benchmark(artifact: Artifact) -> Benchmark:
    """What ``benchmark_step`` wrote."""
    documents, queries, qrels, excluded = (artifact.table(name) for name in _PARTS)
    return Benchmark(documents, queries, qrels, excluded, artifact.manifest.rejects)


def embed_benchmark_step(config: Config, name: str, model: Input, benchmark: Input) -> StepSpec:
    """The vectors of a benchmark's texts by the encoder ``model``."""

    def work(context: Context) -> Outcome:
        found = load_benchmark(context.inputs["benchmark"])
        documents, queries = found.documents["text"], found.queries["text"]
        return write_vectors(context, config.model, documents, queries, found.queries["prompt"].to_pylist())

    inputs = {"model": model, "benchmark": benchmark}
    return StepSpec(f"{NAME}-embed-{name}", 3, model_settings(config), inputs, work, rate=vectors_rate, announced=True)


def benchmark_bm25_step(benchmark: Input) -> StepSpec:
    """BM25 on a benchmark: over the texts that encoders see."""

    def work(context: Context) -> Outcome:
        found = load_benchmark(context.inputs["benchmark"])
        system = Bm25(found.documents["text"].to_pylist(), found.queries["text"].to_pylist())
        return _measure(context, BM25, system, found)

    constants = {"DEPTH": DEPTH, "K1": K1, "B": B}
    return StepSpec(f"{NAME}-{BM25}", 1, {}, {"benchmark": benchmark}, work, constants, rate=rate)


def measured_step(config: Config, name: str, vectors: Input, benchmark: Input) -> StepSpec:
    """An encoder on a benchmark, whose embedding step is ``vectors``; and on general sentences."""

    def work(context: Context) -> Outcome:
        found, made = load_benchmark(context.inputs["benchmark"]), context.inputs["vectors"]
        emit = context.progress.emit
        system = encoder_system(query_vectors(made), made, config.evaluation.distributed, emit)
        general = pair_similarities(np.load(made.file("general.npy")))
        pq.write_table(general, context.folder / "general.parquet", compression="zstd")
        return _measure(context, name, system, found)

    inputs = {"vectors": vectors, "benchmark": benchmark}
    return StepSpec(f"{NAME}-{name}", 1, {}, inputs, work, {"DEPTH": DEPTH}, rate=rate)


def fused_step(name: str, encoder: StepSpec, words: StepSpec, benchmark: Input) -> StepSpec:
    """The ranking of the encoder ``name`` (``measured_step``) fused with that of BM25."""

    def work(context: Context) -> Outcome:
        found = load_benchmark(context.inputs["benchmark"])
        rankings = [load_ranking(context.inputs[each], found) for each in ("encoder", "words")]
        return _write(context, name, "fused", fused((rankings[0], rankings[1])), found)

    inputs = {"encoder": encoder, "words": words, "benchmark": benchmark}
    return StepSpec(f"{NAME}-fused-{name}", 1, {}, inputs, work, {"DEPTH": DEPTH, "FUSION": FUSION}, rate=rate)


def load_ranking(artifact: Artifact, benchmark: Benchmark) -> Ranking:
    """The ranking that a system of ``benchmark`` was measured by."""
    return Ranking.of_table(artifact.table("ranking"), len(benchmark.queries))


def _measure(context: Context, name: str, system: System, benchmark: Benchmark) -> Outcome:
    ranking = retrieve(system, len(benchmark.queries), benchmark.excluded_rows())
    return _write(context, name, system.scale, ranking, benchmark)


def _write(context: Context, name: str, scale: str, ranking: Ranking, benchmark: Benchmark) -> Outcome:
    """Write ``per_query.parquet`` and ``ranking.parquet``."""
    found = judge(name, scale, ranking, benchmark.queries, benchmark.judgements(), benchmark.documents["doc_id"])
    pq.write_table(found.per_query, context.folder / "per_query.parquet", compression="zstd")
    pq.write_table(ranking.table(), context.folder / "ranking.parquet", compression="zstd")
    return Outcome(rows={"queries": len(benchmark.queries)}, report={"scale": scale})
