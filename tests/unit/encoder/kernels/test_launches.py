"""What single kernels compute: the GELU and its slope."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import gelu as exact_gelu

pytest.importorskip("triton", reason="no Triton: install the extra 'kernels'")
from patent_embed.encoder.kernels.launches import expand_through_gelu, project
from tests.unit.encoder.kernels.tensors import CUDA, DEVICE, DTYPE, random

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
