"""InfoNCE by hand."""

from __future__ import annotations

import math

import pytest
import torch

from patent_embed.losses.infonce import info_nce_loss

# Unit vectors in the plane at 0, 60 and 90 degrees.
E0 = torch.tensor([[1.0, 0.0]])
E60 = torch.tensor([[0.5, math.sqrt(3) / 2]])
E90 = torch.tensor([[0.0, 1.0]])


def test_info_nce_by_hand() -> None:
    candidates = torch.cat([E0, E60, E90])
    none = torch.zeros(1, 3, dtype=torch.bool)
    temperature = 0.5  # logits 2, 1, 0
    total = math.exp(2) + math.exp(1) + 1
    loss = info_nce_loss(E0, candidates, torch.tensor([0]), none, temperature)
    assert loss.item() == pytest.approx(math.log(total) - 2, abs=1e-6)


def test_info_nce_leaves_out_the_excluded_but_never_the_target() -> None:
    candidates = torch.cat([E0, E60, E90])
    family = torch.tensor([[True, True, False]])
    loss = info_nce_loss(E0, candidates, torch.tensor([0]), family, 0.5)
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 1) - 2, abs=1e-6)
