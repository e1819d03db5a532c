"""The negatives to train on: candidates scored by an encoder, and those refused that are too near."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from patent_embed.artifacts import Outcome
from patent_embed.config.negatives import NegativesConfig
from patent_embed.config.settings import Config
from patent_embed.negatives.drawn import Mined, examples
from patent_embed.negatives.scored import HARD_CAP, SPARE, Embeddings, mine_scored_negatives
from patent_embed.strategies.base import STRATEGIES
from pipelines.engine import Context, Input, StepSpec, rate
from pipelines.resources import cluster_gpus
from pipelines.steps import negatives
from pipelines.steps.embed import patent_vectors, query_vectors
from pipelines.steps.tables import Tables

log = logging.getLogger("patent_embed")
NAME = "negatives-scored"


def scores_are_used(config: Config) -> bool:
    """Whether the training's negatives are scored; otherwise they are those of ``negatives``."""
    return config.negatives.scoring.enabled or STRATEGIES[config.negatives.strategy].needs_scores


def negatives_scored_step(config: Config, tables: Tables[Input], vectors: Input, mark: str = "") -> StepSpec:
    """Negatives by the scores of the encoder whose embedding step is ``vectors``. ``mark``: of the round."""
    settings, seed = config.negatives, config.run.seed

    def work(context: Context) -> Outcome:
        found, asked = context.inputs["vectors"], context.table("queries")
        patents, numbers = patent_vectors(found), asked["publication_number"].combine_chunks()
        vectors = np.asarray(patents.vectors), query_vectors(found)
        embeddings = Embeddings(*vectors, numbers, patents.owner)
        corpus = context.table("ingest", "corpus", "publication_number", "title", "codes")
        mined = mine_scored(corpus, context.table("splits"), settings, seed, embeddings)
        table, report = mined.table, mined.report
        if not len(table):
            log.warning(
                "the filter refused every candidate: to this encoder all patents are alike; training uses unfiltered "
                "negatives (negatives.scoring.max_ratio is %s)",
                settings.scoring.max_ratio,
            )
            table, report = context.table("negatives"), context.inputs["negatives"].report
        pq.write_table(table, context.folder / "negatives.parquet", compression="zstd")
        readable = examples(table, corpus, asked, seed)
        return Outcome(rows={"negatives": len(table)}, report=report | {"examples": readable})

    return StepSpec(
        name=f"{NAME}{mark}",
        version=2,
        settings=negatives.rung_settings(config) | settings.scoring.model_dump(mode="json"),
        inputs={"vectors": vectors} | tables.inputs(),
        work=work,
        constants=negatives.CONSTANTS | {"HARD_CAP": HARD_CAP, "SPARE": SPARE},
        check=negatives.require_negatives,
        notes=negatives.mining_notes,
        rate=rate,
    )


def mine_scored(
    corpus: pa.Table, splits: pa.Table, config: NegativesConfig, seed: int, embeddings: Embeddings
) -> Mined:
    """``negatives.scored.mine_scored_negatives`` on a GPU where the cluster has one, otherwise here."""
    if not cluster_gpus():
        return mine_scored_negatives(corpus, splits, config, seed, embeddings)
    task: Any = ray.remote(num_gpus=1)(mine_scored_negatives)
    mined: Mined = ray.get(task.remote(corpus, splits, config, seed, embeddings, device="cuda"))
    return mined
