"""What a strategy for negatives is, and which there are.

Candidates stand on rungs, which are counted from 0, the one that is nearest to the anchor. A strategy says how many
negatives each rung is asked for first; where they lie, and what happens when a rung lacks some, is the same for all
(``negatives.ladder``).

Every other module of this package holds strategies, by whose names ``negatives.strategy`` takes them: a new one is a
new module here, and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from patent_embed.arrays import Int64, UInt64
from patent_embed.registry import Registry


class Strategy(ABC):
    """How an anchor's negatives are shared out over the rungs.

    Attributes:
        name: value of ``negatives.strategy``.
        order: where it stands in lists of strategies, by this number and then by name.
        top: the nearest rung that it may turn to, also where others lack candidates.
        reads: the settings of ``negatives`` that only some strategies read, and this one does.
        ranked: of so many of the nearest rungs it does not draw candidates, but ranks them together by a model's
            scores.
    """

    name: str
    order: int = 100
    top: int = 0
    reads: frozenset[str] = frozenset()
    ranked: int = 0

    @property
    def needs_scores(self) -> bool:
        """Whether it can choose only where a model has scored the candidates."""
        return self.ranked > 0

    @property
    def unscored(self) -> str:
        """Name of the strategy to take where nothing is scored; its own where it needs no scores."""
        return self.name

    @abstractmethod
    def quotas(self, anchor_hash: UInt64, k: int, shares: Sequence[float]) -> Int64:
        """How many of its ``k`` negatives each anchor asks of each rung first: (anchors, rungs), rows sum to ``k``.

        Args:
            anchor_hash: (anchors,), what is random about an anchor.
            shares: of each rung, as set in ``negatives.shares``; they sum to 1.
        """


STRATEGIES: Registry[Strategy] = Registry(
    "patent_embed.strategies",
    Strategy,  # type: ignore[type-abstract]
    "negatives.strategy",
)
