"""Settings of relevance: what trainings learn from, and how much of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from patent_embed.relevance.base import OWN, SOURCES, weights_of_all
from patent_embed.section import Section

if TYPE_CHECKING:  # their names are not known before the sources are read

    class _Weights(Section): ...
else:
    _Weights = weights_of_all()


class _Own(Section):
    own: float = Field(
        1.0, ge=0, le=100, description="weight of a patent's own text for its queries: what it was without the others"
    )


class RelevanceConfig(_Weights, _Own):
    """What a training learns from: pairs of a text that asks and a right answer, of several sources, each with a
    weight: how often an epoch passes over its pairs (0.5: over half of them, others each time). A batch is of one
    source. docs/prior-art.md."""

    answers_per_patent: int = Field(
        10, ge=1, description="pairs of a source that one patent asks in, at most, chosen by a seeded hash"
    )

    @model_validator(mode="after")
    def _something_is_learnt_from(self) -> RelevanceConfig:
        if not self.weights():
            raise ValueError(f"every weight is 0, so there is nothing to learn from; set one, as relevance.{OWN}=1")
        return self

    def weights(self) -> dict[str, float]:
        """Source → weight, of those that are used, the patents' own text first."""
        return {name: weight for name in (OWN, *SOURCES.names()) if (weight := getattr(self, name)) > 0}

    @property
    def several(self) -> bool:
        """Whether there is anything beside the patents' own text as it always counted."""
        return self.weights() != {OWN: 1.0}
