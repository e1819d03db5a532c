"""The negatives to train on: candidates scored by an encoder, and those refused that are too near."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.negatives import NegativesConfig
from patent_embed.config.settings import Config
from patent_embed.negatives.drawn import Mined, examples
from patent_embed.negatives.scored import HARD_CAP, SPARE, Embeddings, mine_scored_negatives
from patent_embed.strategies.base import STRATEGIES
from pipelines.engine import Input, StepSpec, rate
from pipelines.resources import cluster_gpus
from pipelines.steps import negatives
from pipelines.steps.embed import patent_vectors, query_vectors
from pipelines.steps.tables import Tables
from pipelines.tasks import Workplace, by_a_worker

NAME = "negatives-scored"
UNFILTERED = "unfiltered"  # in the report: its filter would have left nothing


def scores_are_used(config: Config) -> bool:
    """Whether the training's negatives are scored; otherwise they are those of ``negatives``."""
    return config.negatives.scoring.enabled or STRATEGIES[config.negatives.strategy].needs_scores


def negatives_scored_step(config: Config, tables: Tables[Input], vectors: Input, mark: str = "") -> StepSpec:
    """Negatives by the scores of the encoder whose embedding step is ``vectors``. ``mark``: of the round."""
    settings, seed = config.negatives, config.run.seed
    return StepSpec(
        name=f"{NAME}{mark}",
        version=2,
        settings=negatives.rung_settings(config) | settings.scoring.model_dump(mode="json"),
        inputs={"vectors": vectors} | tables.inputs(),
        work=by_a_worker(partial(_work, config=settings, seed=seed)),
        constants=negatives.CONSTANTS | {"HARD_CAP": HARD_CAP, "SPARE": SPARE},
        check=negatives.require_negatives,
        notes=partial(_notes, max_ratio=settings.scoring.max_ratio),
        rate=rate,
    )


def _work(here: Workplace, config: NegativesConfig, seed: int) -> Outcome:
    found, asked = here.inputs["vectors"], here.table("queries", "queries", "publication_number", "query")
    patents, numbers = patent_vectors(found), asked["publication_number"].combine_chunks()
    embeddings = Embeddings(np.asarray(patents.vectors), query_vectors(found), numbers, patents.owner)
    corpus = here.table("ingest", "corpus", "publication_number", "title", "codes")
    mined = mine_scored(corpus, here.table("splits"), config, seed, embeddings)
    table, report = mined.table, mined.report
    if not len(table):
        table, report = here.table("negatives"), here.inputs["negatives"].report | {UNFILTERED: True}
    pq.write_table(table, here.folder / "negatives.parquet", compression="zstd")
    return Outcome(rows={"negatives": len(table)}, report=report | {"examples": examples(table, corpus, asked, seed)})


def _notes(artifact: Artifact, max_ratio: float | None) -> list[str]:
    """Those of negatives, and that the filter refused every candidate where it did."""
    if not artifact.report.get(UNFILTERED):
        return negatives.mining_notes(artifact)
    refused = f"the filter refused every candidate (negatives.scoring.max_ratio is {max_ratio}): to this encoder all "
    return [f"{refused}patents are alike; training uses unfiltered negatives", *negatives.mining_notes(artifact)]


def mine_scored(
    corpus: pa.Table, splits: pa.Table, config: NegativesConfig, seed: int, embeddings: Embeddings
) -> Mined:
    """``negatives.scored.mine_scored_negatives`` on a GPU where the cluster has one, otherwise here."""
    if not cluster_gpus():
        return mine_scored_negatives(corpus, splits, config, seed, embeddings)
    task: Any = ray.remote(num_gpus=1)(mine_scored_negatives)
    mined: Mined = ray.get(task.remote(corpus, splits, config, seed, embeddings, device="cuda"))
    return mined
