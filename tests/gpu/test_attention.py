"""The attention kernels compute what plain attention computes, in the forward and in the backward pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

LENGTHS = [1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 300, 512]


def inputs(lengths: list[int], heads: int, size: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Query, key and value as views of one tensor, a gradient, and the bounds of the texts."""
    torch.manual_seed(3)
    bounds = torch.tensor([0, *lengths], device="cuda").cumsum(0).to(torch.int32)
    both = torch.randn(int(bounds[-1]), 3, heads, size, device="cuda").to(torch.bfloat16)
    grad = torch.randn(int(bounds[-1]), heads, size, device="cuda").to(torch.bfloat16)
    return [both[:, i] for i in range(3)], grad, bounds


def kept(seed: Tensor, tokens: int, heads: int, p: float) -> Tensor:
    """What the kernels' hash keeps: (heads, tokens, tokens)."""
    mask = 2**32 - 1

    def scramble(h: Tensor) -> Tensor:
        h = ((h ^ (h >> 16)) * 0x7FEB352D) & mask
        h = ((h ^ (h >> 15)) * 0x846CA68B) & mask
        return h ^ (h >> 16)

    place, plane = torch.arange(tokens, device="cuda"), torch.arange(heads, device="cuda")
    row = scramble(place ^ seed.long())
    column = scramble((place[None] + 0x9E3779B9 + plane[:, None] * 0x05EBCA6B) & mask ^ seed.long())
    h = row[None, :, None] ^ column[:, None, :]
    return ((h * 0x9E3779B1) & mask) >= int(p * 2**32)


def plain(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, keep: Tensor | None, p: float) -> Tensor:
    outputs = []
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        scores = torch.einsum("qhd,khd->hqk", q[begin:end], k[begin:end]) * q.shape[-1] ** -0.5
        weights = scores.softmax(-1)
        if keep is not None:
            weights = weights * keep[:, begin:end, begin:end] / (1 - p)
        outputs.append(torch.einsum("hqk,khd->qhd", weights, v[begin:end]))
    return torch.cat(outputs)


def error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.float() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize(("heads", "size"), [(12, 64), (3, 32), (2, 128)])
def test_attention_is_plain_attention(p: float, heads: int, size: int) -> None:
    from patent_embed.attention_kernels import attention
    from patent_embed.fused_kernels import dropout_seed

    parts, grad, bounds = inputs(LENGTHS, heads, size)
    leaves = [part.requires_grad_() for part in parts]
    exact = [part.detach().float().requires_grad_() for part in parts]
    torch.manual_seed(5)
    seed = dropout_seed(p, grad.device)
    torch.manual_seed(5)
    output = attention(*leaves, bounds, max(LENGTHS), None, p)
    keep = None if seed is None else kept(seed, len(grad), heads, p)
    expected = plain(*exact, bounds, keep, p)
    assert error(output, expected) < 1e-2
    gradients = torch.autograd.grad(output, leaves, grad)
    for actual, reference in zip(gradients, torch.autograd.grad(expected, exact, grad.float()), strict=True):
        assert error(actual, reference) < 2e-2


def test_every_run_gives_the_same_gradients() -> None:
    from patent_embed.attention_kernels import attention

    parts, grad, bounds = inputs([17, 200, 332] * 20, 12, 64)
    leaves = [part.requires_grad_() for part in parts]
    first: list[Tensor] = []
    for _ in range(5):
        torch.manual_seed(5)
        again = list(torch.autograd.grad(attention(*leaves, bounds, 332, None, 0.1), leaves, grad))
        first = first or again
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_weights_are_dropped_evenly() -> None:
    """Each head drops others, and a tenth of every query's weights."""
    from patent_embed.attention_kernels import attention

    length, heads, size = 128, 12, 128
    # Equal scores and one value a key: the output of a query shows which of its weights are left.
    zero = torch.zeros(length, heads, size, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    value = torch.eye(length, device="cuda", dtype=torch.bfloat16)[:, None].expand(length, heads, size)
    bounds = torch.tensor([0, length], device="cuda", dtype=torch.int32)
    torch.manual_seed(0)
    left = (attention(zero, zero, value, bounds, length, None, 0.1).detach() > 0).float()  # (query, head, key)
    assert left.mean().item() == pytest.approx(0.9, abs=4e-3)
    assert left.mean((0, 2)).min() > 0.88
    assert (left[:, 1:] * left[:, :-1]).mean().item() == pytest.approx(0.81, abs=5e-3)
    assert (left[1:] * left[:-1]).mean().item() == pytest.approx(0.81, abs=5e-3)
