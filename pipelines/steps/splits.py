"""Families, and the split that each belongs to."""

from __future__ import annotations

import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.settings import Config
from patent_embed.data.splits import SPLITS, split_table
from pipelines.engine import Context, Input, StepSpec, rate

NAME = "splits"


def splits_step(config: Config, ingest: Input) -> StepSpec:
    """Train, val and test of the corpus ``ingest``."""
    settings, seed = config.splits, config.run.seed

    def work(context: Context) -> Outcome:
        corpus = context.table("ingest", "corpus").select(["publication_number", "abstract"])
        table = split_table(corpus, settings, seed)
        pq.write_table(table, context.folder / "splits.parquet", compression="zstd")
        counts = {item["values"]: item["counts"] for item in table["split"].value_counts().to_pylist()}
        families = len(table["family"].unique())
        return Outcome(rows={split: counts.get(split, 0) for split in SPLITS}, report={"families": families})

    return StepSpec(
        name=NAME,
        version=1,
        settings=settings.model_dump() | {"seed": seed},
        inputs={"ingest": ingest},
        work=work,
        notes=lambda artifact: [f"{artifact.report['families']:,} families"],
        rate=patents_per_second,
    )


def patents_per_second(artifact: Artifact) -> str:
    """The rate of a splits step."""
    return rate(artifact, of={"patents": sum(artifact.manifest.rows.values())})
