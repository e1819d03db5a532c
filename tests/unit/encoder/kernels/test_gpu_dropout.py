"""Which elements the hash in the kernels keeps: those that ``kept`` says, as the tests beside this one show."""

from __future__ import annotations

import pytest
import torch

from tests.unit.encoder.kernels.tensors import kept


def test_dropout_drops_its_share() -> None:
    """Of the hash that the other tests find in the kernels."""
    seeds = [torch.tensor([n]) for n in (1, 2)]
    first, second = (kept(seed, 4000, 768, 0.1, 2)[0] for seed in seeds)
    other_head = kept(seeds[0], 4000, 768, 0.1, 2)[1]
    assert first.mean().item() == pytest.approx(0.9, abs=1e-3)
    assert first.mean(0).min() > 0.87  # no column and no row is favoured
    assert first.mean(1).min() > 0.8
    for other in (second, other_head):
        assert (first * other).mean().item() == pytest.approx(0.81, abs=2e-3)
    assert (first[:, 1:] * first[:, :-1]).mean().item() == pytest.approx(0.81, abs=2e-3)
    assert (first[1:] * first[:-1]).mean().item() == pytest.approx(0.81, abs=2e-3)
    # The corners of rectangles, whose hashes come from two rows and two columns only.
    corners = first[1:, 1:] * first[1:, :-1] * first[:-1, 1:] * first[:-1, :-1]
    assert corners.mean().item() == pytest.approx(0.9**4, abs=3e-3)
