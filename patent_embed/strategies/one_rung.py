"""All negatives of one rung, as far as it has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import override

from patent_embed.arrays import Int64, UInt64
from patent_embed.strategies.base import Strategy


class OneRung(Strategy):
    """Asks everything of ``rung``."""

    def __init__(self, name: str, rung: int, *, order: int, top: int = 0) -> None:
        self.name, self.order, self.top, self._rung = name, order, top, rung

    @override
    def quotas(self, anchor_hash: UInt64, k: int, shares: Sequence[float]) -> Int64:
        quota = np.zeros((len(anchor_hash), len(shares)), np.int64)
        quota[:, self._rung] = k
        return quota


SAME_GROUP = OneRung("same_group_priority", 0, order=1)
# The only one that never turns to the same main group.
SAME_SUBCLASS = OneRung("same_subclass_different_group", 1, order=2, top=1)
RANDOM = OneRung("random", 2, order=4)
