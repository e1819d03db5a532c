"""The four tables that most steps read, whichever steps or earlier runs made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipelines.engine import Input

T = TypeVar("T", bound=Input, covariant=True)


@dataclass(frozen=True)
class Tables(Generic[T]):
    """What there is to train and measure on: the corpus, its splits, the queries, and negatives."""

    ingest: T
    splits: T
    queries: T
    negatives: T

    def inputs(self) -> dict[str, Input]:
        """As inputs of a step."""
        return dict(vars(self))

    def with_negatives(self, negatives: Input) -> Tables[Input]:
        """The same with other negatives."""
        return Tables(self.ingest, self.splits, self.queries, negatives)


def counted(counts: Mapping[str, int]) -> str:
    """``rules 120, cache 3``: counts in words."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
