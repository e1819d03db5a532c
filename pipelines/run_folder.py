"""The output folder of a finished run: what lies where, and its settings and steps read back."""

from __future__ import annotations

import json
from dataclasses import dataclass

from patent_embed.artifacts import Artifact, open_artifact
from patent_embed.config.settings import Config
from patent_embed.folders import folder_at
from pipelines.engine import STEPS
from pipelines.steps import ingest, negatives, queries, splits
from pipelines.steps.tables import Tables

SUMMARY, SETTINGS, PROGRESS = "run_summary.json", "config.yaml", "progress.jsonl"


@dataclass(frozen=True)
class FinishedRun:
    """Settings and finished steps of a run, the steps by their names."""

    config: Config
    steps: dict[str, Artifact]

    @property
    def tables(self) -> Tables[Artifact]:
        """What the run's systems were measured on."""
        return Tables(*(self.steps[step.NAME] for step in (ingest, splits, queries, negatives)))


def open_run(output_dir: str) -> FinishedRun | None:
    """The run whose output folder this is; None where no run has finished there.

    The steps are found by the run's summary: the data folder need not be there any more.
    """
    place = folder_at(output_dir)
    content = place.read(SUMMARY)
    if content is None:
        return None
    summary = json.loads(content)
    steps = {name: open_artifact(place / STEPS / step["folder"]) for name, step in summary["steps"].items()}
    return FinishedRun(Config.model_validate(summary["config"]), steps)
