"""Quotas of the rungs by the shares that are set."""

from __future__ import annotations

import pytest

from patent_embed.strategies.shares import largest_remainder


@pytest.mark.parametrize(
    ("shares", "k", "quota"),
    [
        ([0.6, 0.3, 0.1], 3, [2, 1, 0]),
        ([0.6, 0.3, 0.1], 10, [6, 3, 1]),
        ([0.0, 0.5, 0.5], 1, [0, 1, 0]),
        ([1.0, 0.0, 0.0], 64, [64, 0, 0]),
        ([0.34, 0.33, 0.33], 2, [1, 1, 0]),
    ],
)
def test_largest_remainder(shares: list[float], k: int, quota: list[int]) -> None:
    assert largest_remainder(shares, k) == quota
