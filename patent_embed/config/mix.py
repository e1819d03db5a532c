"""Settings of what real queries are like: who asks, in whose words, from which side, and how hard they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from patent_embed.section import Section

Persona = Literal["examiner", "engineer", "layman", "attorney"]
Difficulty = Literal["shares_words", "paraphrases", "effect_only"]  # from easy to hard
View = Literal["problem", "mechanism", "use", "claim"]
Band = Literal["first", "2-10", "11-100", "beyond"]  # from easy to hard


class MixConfig(Section):
    """Who asks a model's queries, in whose words, from which side. Without any weights nothing is said of it."""

    personas: dict[Persona, float] = Field(
        default_factory=dict, description="who asks, as weights: examiner, engineer, layman, attorney"
    )
    difficulties: dict[Difficulty, float] = Field(
        default_factory=dict,
        description="how far from the abstract's words, as weights: shares_words, paraphrases, effect_only",
    )
    views: dict[View, float] = Field(
        default_factory=dict, description="what of the patent, as weights: problem, mechanism, use, claim"
    )

    @model_validator(mode="after")
    def _weights(self) -> MixConfig:
        for name in ("personas", "difficulties", "views"):
            _require_weights(f"mix.{name}", getattr(self, name))
        return self


class OverlapConfig(Section):
    """How well words alone find a query's own patent: its rank by BM25 among all patents of the corpus."""

    measure: bool = Field(False, description="count a model's queries by the rank of their own patent, for the report")
    target: dict[Band, float] = Field(
        default_factory=dict,
        description="mix of ranks that a model's queries shall have, as weights: first, 2-10, 11-100, beyond; queries "
        "of ranks that are too many are asked for once more, harder or easier; empty: as they come",
    )

    @model_validator(mode="after")
    def _weights(self) -> OverlapConfig:
        _require_weights("overlap.target", self.target)
        return self


def _require_weights(name: str, weights: Mapping[Any, float]) -> None:
    if weights and (any(weight < 0 for weight in weights.values()) or sum(weights.values()) <= 0):
        raise ValueError(f"{name} {weights} must be weights of at least 0, and not all 0")
