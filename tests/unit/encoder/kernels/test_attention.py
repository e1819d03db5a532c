"""Attention of packed texts computes what plain formulas compute, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="no Triton: install the extra 'kernels'")
from patent_embed.encoder.kernels.attention import attention
from tests.unit.encoder.kernels.tensors import CUDA, DEVICE, error, kept, random, the_next_seed

pytestmark = pytest.mark.gpu if CUDA else []
LENGTHS = [1, 2, 15, 16, 17, 63, 64, 65] + CUDA * [127, 128, 129, 300, 512]


def attention_inputs(lengths: list[int], heads: int, shared: int, size: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Query, key and value as views of one tensor, a gradient, and the bounds of the texts."""
    torch.manual_seed(3)
    bounds = torch.tensor([0, *lengths], device=DEVICE).cumsum(0).to(torch.int32)
    parts = random(int(bounds[-1]), heads + 2 * shared, size).split([heads, shared, shared], 1)
    return [part.requires_grad_() for part in parts], random(int(bounds[-1]), heads, size), bounds


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, keep: Tensor, causal: bool) -> Tensor:
    outputs = []
    k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        scores = torch.einsum("qhd,khd->hqk", q[begin:end], k[begin:end]) * q.shape[-1] ** -0.5
        if causal:
            scores = scores + torch.full_like(scores[0], -torch.inf).triu(1)
        weights = scores.softmax(-1) * keep[:, begin:end, begin:end]
        outputs.append(torch.einsum("hqk,khd->qhd", weights, v[begin:end]))
    return torch.cat(outputs)


@pytest.mark.parametrize(("first", "causal"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize(
    ("heads", "shared", "size"), [(2, 2, 64), (3, 3, 32), (4, 2, 16)] + CUDA * [(12, 12, 64), (2, 2, 128), (16, 8, 128)]
)
def test_attention(first: bool, causal: bool, p: float, heads: int, shared: int, size: int) -> None:
    leaves, grad, bounds = attention_inputs(LENGTHS, heads, shared, size)
    exact = [part.detach().float().requires_grad_() for part in leaves]
    seed = the_next_seed(p)
    output = attention(*leaves, bounds, max(LENGTHS), None, p, first, causal)
    tokens = len(grad)
    read = torch.ones(tokens, dtype=torch.bool, device=DEVICE)
    if first:
        read[:] = False
        read[bounds[:-1]] = True
        grad = grad * read[:, None, None]
    keep = torch.ones(heads, tokens, tokens, device=DEVICE)
    if seed is not None:
        keep = kept(seed, tokens, tokens, p, heads) / (1 - p)
    expected = plain_attention(*exact, bounds, keep, causal)
    assert error(output[read], expected[read]) < 1e-2
    assert not output[~read].any()
    gradients = torch.autograd.grad(output, leaves, grad)
    for actual, reference in zip(gradients, torch.autograd.grad(expected, exact, grad.float()), strict=True):
        assert error(actual, reference) < 2e-2


@pytest.mark.skipif(not CUDA, reason="no CUDA device")
@pytest.mark.parametrize("causal", [False, True])
def test_attention_gives_the_same_gradients_every_time(causal: bool) -> None:
    leaves, grad, bounds = attention_inputs([17, 200, 332] * 20, 12, 12, 64)
    first: list[Tensor] = []
    for _ in range(5):
        torch.manual_seed(5)
        again = list(torch.autograd.grad(attention(*leaves, bounds, 332, None, 0.1, causal=causal), leaves, grad))
        first = first or again
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
