"""Settings of the negatives."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from patent_embed.section import Section

NegativeStrategy = Literal[
    "optimized_mixed", "same_group_priority", "same_subclass_different_group", "mixed", "random", "hard"
]


class RungShares(Section):
    """Share of an anchor's negatives that each rung is asked for; what a rung lacks, the next ones give."""

    same_main_group: float = Field(0.6, ge=0, le=1)
    same_subclass: float = Field(0.3, ge=0, le=1)
    random: float = Field(0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _sum_to_one(self) -> RungShares:
        total = self.same_main_group + self.same_subclass + self.random
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares sum to {total:g}, must be 1")
        return self


class ScoringConfig(Section):
    """How candidates are judged where their scores are known. The ratio is that of NV-Retriever (arXiv 2407.15831)."""

    enabled: bool = Field(True, description="score and filter the training negatives with the base encoder")
    pool: int = Field(32, ge=1, le=1024, description="candidates of a rung that are scored, for each anchor")
    max_ratio: float | None = Field(
        0.95, gt=0, le=1, description="refuse a candidate that scores above this share of the positive's score"
    )
    max_score: float | None = Field(None, gt=-1, le=1, description="refuse a candidate that scores above this")
    skip_hardest: int = Field(0, ge=0, description="pass over this many of the hardest that are left")
    take_within: int | None = Field(
        None, ge=1, description="take none that is easier than the first this many that are left; None: any"
    )

    @model_validator(mode="after")
    def _something_is_left(self) -> ScoringConfig:
        last = min(self.pool, self.take_within or self.pool)
        if self.skip_hardest >= last:
            raise ValueError(
                f"skip_hardest {self.skip_hardest} passes over all {last} candidates that may be taken; "
                "set it below pool and take_within"
            )
        return self


class NegativesConfig(Section):
    strategy: NegativeStrategy = "optimized_mixed"
    per_positive: int = Field(3, ge=1, le=64, description="negatives an anchor")
    shares: RungShares = Field(
        default_factory=RungShares, description="optimized_mixed: quota a rung; mixed: chance of a rung for a slot"
    )
    scoring: ScoringConfig = Field(default_factory=ScoringConfig)
    rounds: int = Field(1, ge=1, le=5, description="2: train, mine again with the tuned encoder, train anew; and so on")
    distributed: bool = Field(
        False, description="mine by Ray Data instead of in one process, which is faster up to tens of millions"
    )

    @model_validator(mode="after")
    def _rounds_need_scores(self) -> NegativesConfig:
        if self.rounds > 1 and not self.scoring.enabled and self.strategy != "hard":
            raise ValueError(
                f"rounds {self.rounds} would mine the same negatives again: without scores they do not depend on the "
                "encoder; set negatives.scoring.enabled=true"
            )
        return self
