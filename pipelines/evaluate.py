"""Evaluation steps: the vectors of an encoder, or BM25, on the queries of val and test against the whole corpus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.bm25 import Bm25
from patent_embed.config import Config
from patent_embed.evaluation import EmbeddingSystem, EvalResult, System, evaluate


def evaluate_bm25(folder: Path, need: Callable[[str], Artifact], config: Config) -> Outcome:
    """Measure BM25 over the abstracts."""
    passages = need("ingest").table("corpus")["abstract"].to_pylist()
    asked = need("queries").table("queries")["query"].to_pylist()
    return _measure(folder, "bm25", Bm25(passages, asked), need, config)


def evaluate_encoder(folder: Path, name: str, need: Callable[[str], Artifact], config: Config) -> Outcome:
    """Measure the encoder whose vectors are in ``embed-<name>``."""
    vectors = need(f"embed-{name}")
    passages = np.load(vectors.file("passages.npy"), mmap_mode="r")
    system = EmbeddingSystem(np.load(vectors.file("queries.npy")), passages)
    return _measure(folder, name, system, need, config)


def _measure(folder: Path, name: str, system: System, need: Callable[[str], Artifact], config: Config) -> Outcome:
    result = evaluate(
        name,
        system,
        need("queries").table("queries"),
        need("splits").table("splits"),
        need("negatives").table("negatives"),
        config.evaluation.query_sources,
    )
    pq.write_table(result.per_query, folder / "per_query.parquet", compression="zstd")
    return Outcome(rows={"queries": len(result.per_query)}, report={"scale": result.scale})


def load_result(name: str, artifact: Artifact) -> EvalResult:
    """The result of an evaluation step."""
    return EvalResult(name, artifact.report["scale"], artifact.table("per_query"))
