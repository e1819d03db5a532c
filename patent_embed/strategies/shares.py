"""Negatives of every rung, by the shares that are set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from typing_extensions import override

from patent_embed.arrays import Int64, UInt64
from patent_embed.hashing import mix64
from patent_embed.strategies.base import Strategy


class OptimizedMixed(Strategy):
    """Every anchor has the same quota of a rung: its share, by largest remainder."""

    name, order, reads = "optimized_mixed", 0, frozenset({"shares"})

    @override
    def quotas(self, anchor_hash: UInt64, k: int, shares: Sequence[float]) -> Int64:
        return np.tile(np.array(largest_remainder(shares, k), np.int64), (len(anchor_hash), 1))


class Mixed(Strategy):
    """A rung is drawn for each negative, with the shares as chances."""

    name, order, reads = "mixed", 3, frozenset({"shares"})

    @override
    def quotas(self, anchor_hash: UInt64, k: int, shares: Sequence[float]) -> Int64:
        n, bounds, state = len(anchor_hash), np.cumsum(shares)[:-1], anchor_hash
        quota = np.zeros((n, len(shares)), np.int64)
        for _ in range(k):
            state = mix64(state)
            chance = (state >> np.uint64(11)) / 2.0**53
            quota[np.arange(n), np.searchsorted(bounds, chance, side="right")] += 1
        return quota


OPTIMIZED_MIXED, MIXED = OptimizedMixed(), Mixed()


def largest_remainder(shares: Sequence[float], k: int) -> list[int]:
    """``k`` split by ``shares`` into whole numbers; what rounding leaves goes to the largest fractions first."""
    exact = [round(share * k, 9) for share in shares]
    whole = [math.floor(number) for number in exact]
    by_fraction = sorted(range(len(shares)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_fraction[: k - sum(whole)]:
        whole[i] += 1
    return whole
