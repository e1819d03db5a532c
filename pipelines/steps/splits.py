"""Families, and the split that each belongs to."""

from __future__ import annotations

import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.settings import Config
from patent_embed.data.splits import LARGEST_FAMILY, SMALLEST_BOUND, SPLITS, split_table
from pipelines.engine import Context, Input, StepSpec, rate

NAME = "splits"


def splits_step(config: Config, ingest: Input) -> StepSpec:
    """Train, val and test of the corpus ``ingest``."""
    settings, seed = config.splits, config.run.seed

    def work(context: Context) -> Outcome:
        corpus = context.table("ingest", "corpus", "publication_number", "abstract", "family_id")
        table, unbelieved = split_table(corpus, settings, seed)
        pq.write_table(table, context.folder / "splits.parquet", compression="zstd")
        counts = {item["values"]: item["counts"] for item in table["split"].value_counts().to_pylist()}
        families = len(table["family"].unique())
        return Outcome(
            rows={split: counts.get(split, 0) for split in SPLITS},
            report={"families": families, "unbelieved_ids": unbelieved},
        )

    return StepSpec(
        name=NAME,
        version=2,
        settings=settings.model_dump() | {"seed": seed},
        inputs={"ingest": ingest},
        work=work,
        constants={"LARGEST_FAMILY": LARGEST_FAMILY, "SMALLEST_BOUND": SMALLEST_BOUND},
        notes=_notes,
        rate=patents_per_second,
    )


def _notes(artifact: Artifact) -> list[str]:
    lines = [f"{artifact.report['families']:,} families"]
    if unbelieved := artifact.report.get("unbelieved_ids"):
        lines.append(f"{unbelieved:,} family ids that too many patents share are not used")
    return lines


def patents_per_second(artifact: Artifact) -> str:
    """The rate of a splits step."""
    return rate(artifact, of={"patents": sum(artifact.manifest.rows.values())})
