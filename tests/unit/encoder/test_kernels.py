"""The Triton kernels compute what plain formulas compute, forward and backward: on a GPU in bf16, elsewhere in fp16 by
Triton's interpreter, which ``conftest`` turns on."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu as exact_gelu
from torch.nn.functional import layer_norm

pytest.importorskip("triton", reason="no Triton: install the extra 'kernels'")
from patent_embed.config.training import LoraConfig
from patent_embed.encoder.kernels import fused
from patent_embed.encoder.kernels.attention import attention
from patent_embed.encoder.kernels.fused import Fused
from patent_embed.encoder.kernels.launches import dropout_seed, expand_through_gelu, project
from patent_embed.encoder.kernels.lora import lora_linears, residual_norm
from patent_embed.encoder.packing import pack
from tests.unit.encoder.test_packing import POOLING, make_encoder, make_tokens, tiny_model

CUDA = torch.cuda.is_available()
DEVICE, DTYPE = ("cuda", torch.bfloat16) if CUDA else ("cpu", torch.float16)
pytestmark = pytest.mark.gpu if CUDA else []


def random(*shape: int, scale: float = 1.0, dtype: torch.dtype = DTYPE) -> Tensor:
    return (torch.randn(*shape, device=DEVICE) * scale).to(dtype)


def error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.float() - expected.float()).norm() / expected.float().norm()).item()


def kept(seed: Tensor, rows: int, columns: int, p: float, planes: int = 1) -> Tensor:
    """What the kernels' hash keeps: (planes, rows, columns), 1 or 0."""
    mask = 2**32 - 1

    def scramble(h: Tensor) -> Tensor:
        h = ((h ^ (h >> 16)) * 0x7FEB352D) & mask
        h = ((h ^ (h >> 15)) * 0x846CA68B) & mask
        return h ^ (h >> 16)

    row, column, plane = (torch.arange(n, device=seed.device) for n in (rows, columns, planes))
    row = scramble(row ^ seed.long())
    column = scramble((column[None] + 0x9E3779B9 + plane[:, None] * 0x05EBCA6B) & mask ^ seed.long())
    h = row[None, :, None] ^ column[:, None, :]
    return (((h * 0x9E3779B1) & mask) >= int(p * 2**32)).float()


def the_next_seed(p: float) -> Tensor | None:
    """The seed that the next call with dropout draws."""
    torch.manual_seed(5)
    seed = dropout_seed(p, torch.device(DEVICE))
    torch.manual_seed(5)
    return seed


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


LENGTHS = [1, 2, 15, 16, 17, 63, 64, 65] + CUDA * [127, 128, 129, 300, 512]


def attention_inputs(lengths: list[int], heads: int, size: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """Query, key and value as views of one tensor, a gradient, and the bounds of the texts."""
    torch.manual_seed(3)
    bounds = torch.tensor([0, *lengths], device=DEVICE).cumsum(0).to(torch.int32)
    parts = random(int(bounds[-1]), 3, heads, size).unbind(1)
    return [part.requires_grad_() for part in parts], random(int(bounds[-1]), heads, size), bounds


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, keep: Tensor) -> Tensor:
    outputs = []
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        scores = torch.einsum("qhd,khd->hqk", q[begin:end], k[begin:end]) * q.shape[-1] ** -0.5
        weights = scores.softmax(-1) * keep[:, begin:end, begin:end]
        outputs.append(torch.einsum("hqk,khd->qhd", weights, v[begin:end]))
    return torch.cat(outputs)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize(("heads", "size"), [(2, 64), (3, 32), (2, 16)] + CUDA * [(12, 64), (2, 128)])
def test_attention(first: bool, p: float, heads: int, size: int) -> None:
    leaves, grad, bounds = attention_inputs(LENGTHS, heads, size)
    exact = [part.detach().float().requires_grad_() for part in leaves]
    seed = the_next_seed(p)
    output = attention(*leaves, bounds, max(LENGTHS), None, p, first)
    tokens = len(grad)
    read = torch.ones(tokens, dtype=torch.bool, device=DEVICE)
    if first:
        read[:] = False
        read[bounds[:-1]] = True
        grad = grad * read[:, None, None]
    keep = torch.ones(heads, tokens, tokens, device=DEVICE)
    if seed is not None:
        keep = kept(seed, tokens, tokens, p, heads) / (1 - p)
    expected = plain_attention(*exact, bounds, keep)
    assert error(output[read], expected[read]) < 1e-2
    assert not output[~read].any()
    gradients = torch.autograd.grad(output, leaves, grad)
    for actual, reference in zip(gradients, torch.autograd.grad(expected, exact, grad.float()), strict=True):
        assert error(actual, reference) < 2e-2


@pytest.mark.skipif(not CUDA, reason="no CUDA device")
def test_attention_gives_the_same_gradients_every_time() -> None:
    leaves, grad, bounds = attention_inputs([17, 200, 332] * 20, 12, 64)
    first: list[Tensor] = []
    for _ in range(5):
        torch.manual_seed(5)
        again = list(torch.autograd.grad(attention(*leaves, bounds, 332, None, 0.1), leaves, grad))
        first = first or again
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "qwen3"])
def test_a_model_reaches_the_kernels(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings and adapters' gradients are those of the plain model; attention's kernels serve what is not causal.
    Without LoRA nothing is replaced."""
    calls: list[bool] = []  # whether for first tokens only

    def counted(*arguments: Any) -> Tensor:
        calls.append(arguments[-1])
        return attention(*arguments)

    monkeypatch.setattr(fused.attention_kernels, "attention", counted)
    model = tiny_model(architecture, heads=2)  # of 16 numbers, which the kernels do
    if architecture == "bert":
        model.encoder.layer[0].attention.self.value.bias = None  # beside query and key, which have one
    plain = make_encoder(model, POOLING[architecture], DEVICE)
    assert not fused._patches(plain.model, {})
    plain.add_lora(LoraConfig(r=4, dropout=0.0))
    plain.model.to(DEVICE)
    with torch.no_grad():
        for _, parameter in plain.trainable_parameters():
            parameter.normal_(std=0.1)
    quick = copy.deepcopy(plain)
    batch = pack(make_tokens([3, 5, 17, 20])).to(DEVICE)
    expected = plain.forward(batch)
    weight = torch.randn(expected.shape, device=DEVICE)
    (expected * weight).sum().backward()
    quick.model.train()
    with Fused(quick.model, DTYPE):
        actual = quick.forward(batch)
        (actual * weight).sum().backward()
    assert calls == {"bert": [False, False], "xlm-roberta": [False, True], "qwen3": []}[architecture]
    assert error(actual, expected) < 2e-2
    for (name, p), (_, q) in zip(quick.trainable_parameters(), plain.trainable_parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert (p.grad - q.grad).norm() < 0.1 * q.grad.norm() + 1e-3, name


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
