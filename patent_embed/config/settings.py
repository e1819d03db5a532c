"""Every setting, once: one pydantic model a step, with its default, bounds and meaning.

The command line (``options``), YAML overlays, presets and ``--set section.key=value`` all end in these models, so a
value is checked in one place and a typo is an error with the path of the key in it. docs/settings.md lists them.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from patent_embed.config.data import DataConfig
from patent_embed.config.evaluation import EvaluationConfig
from patent_embed.config.model import ModelConfig
from patent_embed.config.negatives import NegativesConfig
from patent_embed.config.queries import QueriesConfig
from patent_embed.config.relevance import RelevanceConfig
from patent_embed.config.run import RunConfig
from patent_embed.config.splits import SplitsConfig
from patent_embed.config.training import TrainingConfig
from patent_embed.config.tune import TuneConfig
from patent_embed.losses.base import LOSSES
from patent_embed.section import Section


class Config(Section):
    """All settings of a command, resolved and checked."""

    run: RunConfig = Field(default_factory=RunConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    splits: SplitsConfig = Field(default_factory=SplitsConfig)
    queries: QueriesConfig = Field(default_factory=QueriesConfig)
    negatives: NegativesConfig = Field(default_factory=NegativesConfig)
    relevance: RelevanceConfig = Field(default_factory=RelevanceConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    tune: TuneConfig = Field(default_factory=TuneConfig)

    @property
    def relations_are_known(self) -> bool:
        """Whether a training is told more of patents than that a query is answered by its own: of right answers beside
        queries, or which patents are no negatives of one another, which a loss that takes them from a batch needs."""
        judge = self.queries.judge
        return self.relevance.several or (judge.enabled and judge.candidates > 0 and LOSSES[self.training.loss].graded)

    @model_validator(mode="after")
    def _every_source_can_be_trained_on(self) -> Config:
        if self.relevance.several and not LOSSES[self.training.loss].graded:
            fitting = " or ".join(loss.name for loss in LOSSES if loss.graded)
            raise ValueError(
                f"relevance has weights {self.relevance.weights()}, and loss {self.training.loss!r} learns from the "
                f"patents' own text alone: it knows no grades; set training.loss={fitting}"
            )
        judge = self.queries.judge
        weight = self.relevance.weights().get("judge", 0.0)
        if weight and not (judge.enabled and judge.candidates):
            raise ValueError(
                f"relevance.judge is {weight:g}, and no judge is asked about candidates, so it has no "
                "pairs; set queries.judge.enabled=true and queries.judge.candidates, or relevance.judge=0"
            )
        if self.training.validate_on == "relevance" and not self.relevance.several:
            raise ValueError(
                "training.validate_on is 'relevance', and relevance has no source beside the patents' own text: no "
                "patent is linked to another one; set a weight, as relevance.citations=1, or validate_on=queries"
            )
        return self
