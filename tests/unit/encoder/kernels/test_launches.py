"""What single kernels compute: the GELU and its slope, and which elements dropout keeps."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import gelu as exact_gelu

pytest.importorskip("triton", reason="no Triton: install the extra 'kernels'")
from patent_embed.encoder.kernels.launches import expand_through_gelu, project
from tests.unit.encoder.kernels.tensors import CUDA, DEVICE, DTYPE, kept, random

pytestmark = pytest.mark.gpu if CUDA else []


def test_gelu_and_its_slope() -> None:
    """To the last bit or so of the numbers' type, where lora_linears' bounds would not see a slip in the series."""
    before = torch.linspace(-6, 6, 40 * 96, device=DEVICE).view(40, 96).to(DTYPE)
    exact = before.float().requires_grad_()
    expected = exact_gelu(exact)
    expected.sum().backward()
    activated, down = torch.empty_like(before), random(16, 96, dtype=torch.float32)
    project(before, down, 1.0, 0.0, None, activated)
    slope = expand_through_gelu(torch.ones_like(before), before, random(40, 16, scale=0), down, 0.0, None)
    bit = torch.finfo(DTYPE).eps
    torch.testing.assert_close(activated.float(), expected.detach(), rtol=bit, atol=1e-6)
    torch.testing.assert_close(slope.float(), exact.grad, rtol=bit, atol=1e-6)


def test_dropout_drops_its_share() -> None:
    """Of the hash that the tests above find in the kernels."""
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
