"""Settings of the splits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from patent_embed.section import Section


class SplitsConfig(Section):
    """Shares of the patents that are trained, validated and tested on, and how many the last two are at most. Shares
    are 1 together; families stay together."""

    train: float = Field(0.7, gt=0, lt=1, description="share of the patents that training learns from")
    val: float = Field(0.15, gt=0, lt=1, description="share of the patents that choose the best epoch and settings")
    test: float = Field(0.15, gt=0, lt=1, description="share of the patents that only the final evaluation sees")

    max_val: int | None = Field(
        10_000,
        ge=1,
        description="patents of val, at most: to measure on more costs time and shows little; the rest of its share is "
        "trained on. None: its whole share",
    )
    max_test: int | None = Field(10_000, ge=1, description="the same of test. None: its whole share")

    by: Literal["hash", "date"] = Field(
        "hash",
        description="hash: the family's, so that new patents move no others; date: the families that were published "
        "first are trained on, the last ones tested; those without a date are trained on",
    )

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitsConfig:
        if abs(self.train + self.val + self.test - 1) > 1e-9:
            raise ValueError(f"train + val + test is {self.train + self.val + self.test:g}, must be 1")
        return self
