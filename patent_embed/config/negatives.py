"""Settings of the negatives."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from patent_embed.section import Choices, Cli, Role, Section
from patent_embed.strategies.base import STRATEGIES


class RungShares(Section):
    """Share of an anchor's negatives that each rung is asked for; what a rung lacks, the next ones give."""

    same_main_group: float = Field(0.6, ge=0, le=1, description="share from patents of the same main group (G06T3)")
    same_subclass: float = Field(
        0.3, ge=0, le=1, description="share from patents of the same subclass (G06T) in another main group"
    )
    random: float = Field(0.1, ge=0, le=1, description="share from patents of other subclasses")

    @model_validator(mode="after")
    def _sum_to_one(self) -> RungShares:
        total = sum(self.by_rung())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares sum to {total:g}, must be 1")
        return self

    def by_rung(self) -> list[float]:
        """The shares in the order of the rungs, the nearest first."""
        return [self.same_main_group, self.same_subclass, self.random]


class ScoringConfig(Section):
    """How candidates are judged where their scores are known. The ratio is that of NV-Retriever (arXiv 2407.15831)."""

    enabled: bool = Field(
        False,
        description="score and filter the training negatives with the base encoder, which costs the triplet loss more "
        "than it brings InfoNCE (docs/quality.md)",
    )
    pool: int = Field(32, ge=1, le=1024, description="candidates of a rung that are scored, for each anchor")
    max_ratio: float | None = Field(
        0.9,
        gt=0,
        le=1,
        description="refuse a candidate above this share of the way from a random patent's score to the positive's; "
        "None: none",
    )
    max_score: float | None = Field(
        None, gt=-1, le=1, description="refuse a candidate that scores above this; None: none"
    )
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
    """Which patents stand against each query's own."""

    strategy: Annotated[str, Choices(STRATEGIES.names), Cli("negative_strategy")] = Field(
        "optimized_mixed", description="how negatives are chosen, from which patents; docs/negatives.md"
    )
    per_positive: Annotated[int, Cli("negatives_per_positive")] = Field(
        3, ge=1, le=64, description="negatives for each query and its patent (an anchor)"
    )
    shares: RungShares = Field(
        default_factory=RungShares,
        description="a rung's quota (optimized_mixed), or its chance for each negative (mixed)",
    )
    scoring: ScoringConfig = Field(
        default_factory=ScoringConfig, description="it chooses what is trained on, not what models are measured by"
    )
    rounds: int = Field(
        1, ge=1, le=5, description="trainings in a row; 2: train, mine again with the tuned encoder, train anew"
    )
    distributed: Annotated[bool | None, Role.LOGISTICS] = Field(
        None,
        description="mine in parts, by tasks on all nodes, and not in one process; the result is the same. None: from "
        "20 million patents on, where one process would need 11 GiB",
    )

    @model_validator(mode="after")
    def _rounds_need_scores(self) -> NegativesConfig:
        if self.rounds > 1 and not self.scoring.enabled and not STRATEGIES[self.strategy].needs_scores:
            raise ValueError(
                f"rounds {self.rounds} would mine the same negatives again: without scores they do not depend on the "
                "encoder; set negatives.scoring.enabled=true"
            )
        return self
