"""The candidates that a model scores highest, of main groups and subclasses together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import override

from patent_embed.arrays import Int64, UInt64
from patent_embed.strategies.base import Strategy


class Hard(Strategy):
    """Ranks the candidates of both near rungs; what that leaves open is drawn from the last rung."""

    name, order, ranked = "hard", 5, 2

    @property
    @override
    def unscored(self) -> str:
        return "optimized_mixed"

    @override
    def quotas(self, anchor_hash: UInt64, k: int, shares: Sequence[float]) -> Int64:
        quota = np.zeros((len(anchor_hash), len(shares)), np.int64)
        quota[:, -1] = k
        return quota


HARD = Hard()
