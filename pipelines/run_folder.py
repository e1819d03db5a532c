"""The output folder of a finished run: what lies where, and its settings and steps read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from patent_embed.artifacts import Artifact, open_artifact
from patent_embed.config.settings import Config
from patent_embed.data.files import QUERY_CACHE_NAME
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.hashing import folder_digest
from pipelines.engine import STEPS
from pipelines.steps import ingest, judged, negatives, queries, splits
from pipelines.steps.tables import Tables
from pipelines.steps.train import MODEL

SUMMARY, SETTINGS, PROGRESS = "run_summary.json", "config.yaml", "progress.jsonl"
TENSORBOARD, COMPARED, BESIDE_RUN, EXPORT = "tensorboard", "compare", "test_only", "export"
ALONGSIDE = (PROGRESS, TENSORBOARD)  # what grows while a run goes on
PUBLISHED = (
    "report.html",
    "report.md",
    "metrics.json",
    SETTINGS,
    SUMMARY,
    QUERY_CACHE_NAME,
)  # beside model and adapter


class _Step(BaseModel):
    folder: str = Field(pattern=r"^[a-z0-9][\w-]*$")  # a name, no path


class _Summary(BaseModel):
    config: dict[str, Any]
    steps: dict[str, _Step]
    published: dict[str, str] = {}


@dataclass(frozen=True)
class FinishedRun:
    """Settings and finished steps of a run, the steps by their names.

    Attributes:
        published: digests (``folder_digest``) of the folders that the summary belongs to, by name.
    """

    config: Config
    steps: dict[str, Artifact]
    published: dict[str, str]

    @property
    def tables(self) -> Tables[Artifact]:
        """What the run's systems were measured on."""
        asked = self.steps.get(judged.NAME, self.written_queries)
        return Tables(self.steps[ingest.NAME], self.steps[splits.NAME], asked, self.steps[negatives.NAME])

    @property
    def written_queries(self) -> Artifact:
        """The run's queries without judged ones."""
        return self.steps[queries.NAME]


def open_run(output_dir: str) -> FinishedRun | None:
    """The run whose output folder this is; None where no run has finished there.

    The steps are found by the run's summary: the data folder need not be there any more.

    Raises:
        UserError: the summary is torn, or a step that it names is not whole.
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
    return FinishedRun(config, steps, summary.published)


def require_together(run: FinishedRun, model: Path) -> None:
    """The summary of a run is of this very model. Raises UserError where it is not."""
    if run.published.get(MODEL) != folder_digest(model):
        raise UserError(
            f"{str(model)!r} is not the model that the summary beside it tells of: a run was interrupted while it "
            "published, or the model was changed since; run the same command again, which publishes both anew"
        )
