"""Families, and the split that each belongs to."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.settings import Config
from patent_embed.config.splits import SplitsConfig
from patent_embed.data.splits import LARGEST_FAMILY, SMALLEST_BOUND, SPLITS, split_table
from pipelines.engine import Input, StepSpec, rate
from pipelines.steps.tables import counted
from pipelines.tasks import Workplace, by_a_worker

NAME = "splits"


def splits_step(config: Config, ingest: Input) -> StepSpec:
    """Train, val and test of the corpus ``ingest``."""
    settings, seed = config.splits, config.run.seed
    return StepSpec(
        name=NAME,
        version=2,
        # By hash, a setting that was not there before must not give the result another name.
        settings=settings.model_dump(exclude={"by"} if settings.by == "hash" else set()) | {"seed": seed},
        inputs={"ingest": ingest},
        work=by_a_worker(partial(_work, settings=settings, seed=seed)),
        constants={"LARGEST_FAMILY": LARGEST_FAMILY, "SMALLEST_BOUND": SMALLEST_BOUND},
        notes=_notes,
        rate=patents_per_second,
    )


def _work(here: Workplace, settings: SplitsConfig, seed: int) -> Outcome:
    dated = ["publication_date"] if settings.by == "date" else []
    corpus = here.table("ingest", "corpus", "publication_number", "family_id", *dated)
    abstracts = (group["abstract"] for group in here.inputs["ingest"].groups("corpus", "abstract"))
    table, unbelieved, above = split_table(corpus, settings, seed, abstracts)
    pq.write_table(table, here.folder / "splits.parquet", compression="zstd")
    counts = {item["values"]: item["counts"] for item in table["split"].value_counts().to_pylist()}
    families = len(table["family"].unique())
    return Outcome(
        rows={split: counts.get(split, 0) for split in SPLITS},
        report={"families": families, "unbelieved_ids": unbelieved, "above_limit": above}
        | dates_of(corpus, table, settings),
    )


def _notes(artifact: Artifact) -> list[str]:
    lines = [f"{artifact.report['families']:,} families"]
    if unbelieved := artifact.report.get("unbelieved_ids"):
        lines.append(f"{unbelieved:,} family ids that too many patents share are not used")
    if above := artifact.report.get("above_limit"):
        lines.append(f"above splits.max_val or max_test, and so trained on: {counted(above)}")
    if undated := artifact.report.get("undated"):
        lines.append(f"{undated:,} patents without a date are trained on")
    if first := artifact.report.get("first_dates"):
        lines.append("first published: " + ", ".join(f"{split} from {date}" for split, date in first.items()))
    return lines


def dates_of(corpus: pa.Table, table: pa.Table, settings: SplitsConfig) -> dict[str, Any]:
    """What is said of splits by date: ``undated`` patents, whose families have no date, and the first dates of val and
    test; nothing of others."""
    if settings.by != "date":
        return {}
    dated = pa.table({"split": table["split"], "family": table["family"], "date": corpus["publication_date"]})
    first = dated.group_by("split").aggregate([("date", "min")]).to_pylist()
    found = {each["split"]: each["date_min"] for each in first}
    families = dated.group_by("family").aggregate([("date", "count"), ("split", "count")])
    undated = pc.sum(families.filter(pc.equal(families["date_count"], 0))["split_count"]).as_py()
    return {
        "undated": undated or 0,
        "first_dates": {split: found[split] for split in SPLITS if found.get(split)},
    }


def patents_per_second(artifact: Artifact) -> str:
    """The rate of a splits step."""
    return rate(artifact, of={"patents": sum(artifact.manifest.rows.values())})
