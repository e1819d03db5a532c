"""LoRA layers and the residual norm compute what plain formulas compute, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import gelu as exact_gelu
from torch.nn.functional import layer_norm

pytest.importorskip("triton", reason="no Triton: install the extra 'kernels'")
from patent_embed.encoder.kernels.lora import lora_linears, residual_norm
from tests.unit.encoder.kernels.tensors import CUDA, error, kept, random, the_next_seed

pytestmark = pytest.mark.gpu if CUDA else []


@pytest.mark.parametrize(
    ("layers", "with_bias", "gelu"), [(1, True, False), (3, True, False), (2, False, False), (1, True, True)]
)
@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize(
    ("rows", "k", "n", "r"),
    [(257, 200, 72, 6), (130, 96, 64, 20), (70, 64, 96, 16)] + CUDA * [(1, 768, 768, 16), (1000, 768, 3072, 16)],
)
def test_lora_linears(p: float, rows: int, k: int, n: int, r: int, layers: int, with_bias: bool, gelu: bool) -> None:
    """Layers of one input drop the same elements; the width of the third is another one."""
    torch.manual_seed(3)
    x = random(rows, k).requires_grad_()
    weights, biases, adapters, exact_x = [], [], [], x.detach().float().requires_grad_()
    for layer in range(layers):
        width = n if layer < 2 else n // 2
        a, b = (random(*shape, scale=0.2, dtype=torch.float32).requires_grad_() for shape in ((r, k), (width, r)))
        weights.append(random(width, k, scale=k**-0.5))
        biases.append(random(width))
        adapters.append((a, b))
    seed = the_next_seed(p)
    bias = torch.cat(biases) if with_bias else None
    outputs = lora_linears(x, torch.cat(weights), bias, adapters, 2.0, p, gelu)
    assert len(outputs) == layers + 1  # and what a residual connection reads
    keep = 1.0 if seed is None else kept(seed, rows, k, p)[0] / (1 - p)
    read = exact_gelu(exact_x) if gelu else exact_x
    expected, leaves = [], [(x, exact_x)]
    for weight, bias, (a, b) in zip(weights, biases, adapters, strict=True):
        down, up = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
        leaves += [(a, down), (b, up)]
        plain = read @ weight.float().T + 2.0 * (read * keep) @ down.T @ up.T
        expected.append(plain + bias.float() if with_bias else plain)
    expected.append(exact_x * 1)
    grads = [random(*output.shape) for output in outputs]
    for output, reference in zip(outputs, expected, strict=True):
        assert error(output, reference) < 1e-2
    torch.autograd.backward(outputs, grads)
    torch.autograd.backward(expected, [grad.float() for grad in grads])
    for leaf, reference in leaves:
        assert leaf.grad is not None
        assert leaf.grad.stride() == leaf.stride()
        assert error(leaf.grad, reference.grad) < 2e-2


@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize("width", [768, 200])
def test_residual_norm(p: float, width: int) -> None:
    torch.manual_seed(3)
    y, residual = random(333, width).requires_grad_(), random(333, width).requires_grad_()
    weight, bias = random(width), random(width)
    exact = [t.detach().float().requires_grad_() for t in (y, residual)]
    seed = the_next_seed(p)
    out = residual_norm(y, residual, weight, bias, 1e-12, p)
    keep = 1.0 if seed is None else kept(seed, 333, width, p)[0] / (1 - p)
    expected = layer_norm(exact[0] * keep + exact[1], (width,), weight.float(), bias.float(), 1e-12)
    assert error(out, expected) < 1e-2
    grad = random(333, width)
    out.backward(grad)
    expected.backward(grad.float())
    assert error(y.grad, exact[0].grad) < 1e-2
    assert error(residual.grad, exact[1].grad) < 1e-2
