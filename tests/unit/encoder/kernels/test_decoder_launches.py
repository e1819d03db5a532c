"""RMSNorm, rotary positions and SwiGLU compute what plain formulas compute, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

pytest.importorskip("triton", reason="no Triton: install the extra 'kernels'")
from patent_embed.encoder.kernels import decoder_launches, launches
from patent_embed.encoder.kernels.decoder_launches import Rotation
from tests.unit.encoder.kernels.tensors import CUDA, DEVICE, error, kept, random, the_next_seed

pytestmark = pytest.mark.gpu if CUDA else []
EPS = 1e-6


@pytest.mark.parametrize("width", [200, 1024] + CUDA * [2560, 5120])
@pytest.mark.parametrize("add", [False, True])
def test_norm(add: bool, width: int) -> None:
    torch.manual_seed(3)
    residual, y, weight, grad, beside = (random(*shape) for shape in 2 * [(33, width)] + [(width,)] + 2 * [(33, width)])
    s, x, rstd = decoder_launches.norm(residual, y if add else None, weight, EPS)
    plain = (residual.float() + y.float() if add else residual.float()).requires_grad_()
    expected = rms_norm(plain, (width,), weight.float(), EPS)
    assert error(s, plain) < 1e-2
    assert error(x, expected) < 1e-2
    assert error(rstd, (plain.square().mean(1) + EPS) ** -0.5) < 1e-2
    (gradient,) = torch.autograd.grad(expected, plain, grad.float())
    assert error(decoder_launches.norm_backward(grad, s, rstd, weight, None), gradient) < 1e-2
    assert error(decoder_launches.norm_backward(grad, s, rstd, weight, beside), gradient + beside.float()) < 1e-2


def plain_rotation(heads: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
    """As transformers do it: heads (T, n, size)."""
    if weight is not None:
        heads = rms_norm(heads, weight.shape, weight.float(), EPS)
    left, right = heads.chunk(2, -1)
    return heads * cos[:, None] + torch.cat((-right, left), -1) * sin[:, None]


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize(("queries", "keys", "size"), [(4, 2, 16), (3, 3, 32), (6, 1, 64)] + CUDA * [(16, 8, 128)])
def test_rotation(queries: int, keys: int, size: int, norms: bool) -> None:
    torch.manual_seed(3)
    rows = 50
    angles = torch.arange(rows, device=DEVICE)[:, None] * 10.0 ** -torch.linspace(0, 3, size // 2, device=DEVICE)
    cos, sin = torch.cat((angles, angles), -1).cos() * 1.1, torch.cat((angles, angles), -1).sin() * 1.1
    weights = (random(size), random(size))
    rotation = Rotation(cos, sin, queries, keys, size, weights if norms else None, EPS)
    qkv, grad = random(rows, (queries + 2 * keys) * size), random(rows, (queries + 2 * keys) * size)
    exact = qkv.float().requires_grad_()
    q, k, v = rotation.split(exact)
    expected = (plain_rotation(q, weights[0] if norms else None, cos, sin),
                plain_rotation(k, weights[1] if norms else None, cos, sin))  # fmt: skip
    for actual, reference in zip(rotation(qkv), expected, strict=True):
        assert error(actual, reference) < 1e-2
    (gradient,) = torch.autograd.grad((*expected, v), exact, [part.float() for part in rotation.split(grad)])
    rotation.backward(grad, qkv)
    assert error(grad, gradient) < 1e-2


@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize(
    ("rows", "k", "r"), [(130, 200, 6), (300, 96, 20), (5, 64, 40)] + CUDA * [(3000, 3072, 16), (1000, 9728, 64)]
)
def test_swiglu(rows: int, k: int, r: int, p: float) -> None:
    """With what an adapter reads of it: ``2 keep(y) a'``."""
    torch.manual_seed(3)
    x, a = random(rows, 2 * k), random(r, k, scale=0.2, dtype=torch.float32)
    seed = the_next_seed(p)
    y, h = decoder_launches.swiglu_project(x, a, 2.0, p, seed)
    keep = 1.0 if seed is None else kept(seed, rows, k, p)[0]
    exact, down = x.float().requires_grad_(), a.clone().requires_grad_()
    gate, up = exact.chunk(2, -1)
    plain = silu(gate) * up
    expected = 2.0 * (plain * keep) @ down.T
    assert error(y, plain) < 1e-2
    assert error(h, expected) < 1e-2
    dy, dh = random(rows, k), random(rows, r)
    gradients = torch.autograd.grad((plain, expected), (exact, down), (dy.float(), dh.float()))
    actual = decoder_launches.swiglu_backward(dy, x, 2.0 * dh, a, p, seed)
    for some, reference in zip(actual, gradients, strict=True):
        assert error(some, reference) < 1e-2


@pytest.mark.parametrize("p", [0.0, 0.1])
def test_an_adapter_reads_a_norm_that_is_not_kept(p: float) -> None:
    torch.manual_seed(3)
    s, weight, dh = random(130, 200), random(200), random(130, 6)
    seed = the_next_seed(p)
    _, x, rstd = decoder_launches.norm(s, None, weight, EPS)
    expected = launches.outer(dh, x, p, seed)
    assert error(launches.outer(dh, s, p, seed, (rstd, weight)), expected) < 1e-2
