"""The output folder of a finished run: what lies where, and its settings and steps read back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from patent_embed.artifacts import Artifact, open_artifact
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from pipelines.engine import STEPS
from pipelines.steps import ingest, negatives, queries, splits
from pipelines.steps.tables import Tables

SUMMARY, SETTINGS, PROGRESS = "run_summary.json", "config.yaml", "progress.jsonl"


class _Step(BaseModel):
    folder: str = Field(pattern=r"^[a-z0-9][\w-]*$")  # a name, no path


class _Summary(BaseModel):
    config: dict[str, Any]
    steps: dict[str, _Step]


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
    try:
        summary = _Summary.model_validate_json(content)
        config = Config.model_validate(summary.config)
    except ValidationError:
        raise UserError(
            f"{str(place / SUMMARY)!r} is torn, or not of a run of this version: what lies there cannot be told; run "
            "the same command as before again, which reuses what is done"
        ) from None
    steps = {name: open_artifact(place / STEPS / step.folder) for name, step in summary.steps.items()}
    return FinishedRun(config, steps)
