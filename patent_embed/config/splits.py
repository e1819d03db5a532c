"""Settings of the splits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from patent_embed.section import Section


class SplitsConfig(Section):
    """Shares of the patents that are trained, validated and tested on. Together they are 1; families stay together."""

    train: float = Field(0.7, gt=0, lt=1, description="share of the patents that training learns from")
    val: float = Field(0.15, gt=0, lt=1, description="share of the patents that choose the best epoch and settings")
    test: float = Field(0.15, gt=0, lt=1, description="share of the patents that only the final evaluation sees")

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
