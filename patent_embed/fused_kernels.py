"""Triton kernels of ``fused``. Activations are (rows, k), bf16 and contiguous; products accumulate in fp32."""

# Triton comes with torch's CUDA builds only, and its language is not typed.
# mypy: disable-error-code="import-not-found, untyped-decorator, no-untyped-def, no-untyped-call"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BM, _BK = 64, 128  # rows and columns of a tile


@triton.jit
def _hash(h):
    """An integer hash (Wellons, "lowbias32")."""
    h = (h ^ (h >> 16)) * 0x7FEB352D
    h = (h ^ (h >> 15)) * 0x846CA68B
    return h ^ (h >> 16)


@triton.jit
def _keep(seed, m, k, threshold: tl.constexpr):
    """Dropout's decision on the elements of rows ``m`` and columns ``k``, against p * 2**32. Rows and columns are
    hashed with the seed that lies at ``seed``; an element costs one round more: the kernels would wait for a full hash.
    """
    start = tl.load(seed).to(tl.uint32)
    row, column = _hash(m.to(tl.uint32) ^ start), _hash(k.to(tl.uint32) + 0x9E3779B9)
    h = row[:, None] ^ column[None, :]
    h = (h ^ (h >> 16)) * 0x7FEB352D
    return (h ^ (h >> 15)) >= threshold


@triton.jit(do_not_specialize=["rows"])
def _project(x, a, out, rows, seed, scale, a_r, a_k, o_m, rank, K: tl.constexpr, R: tl.constexpr, DROP: tl.constexpr,
             BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, r = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, R)
    acc = tl.zeros((BM, R), tl.float32)
    for k0 in range(0, K, BK):
        k = k0 + tl.arange(0, BK)
        index = m[:, None].to(tl.int64) * K + k[None, :]
        tile = tl.load(x + index, mask=(m[:, None] < rows) & (k[None, :] < K), other=0.0)
        if DROP:
            tile = tl.where(_keep(seed, m, k, DROP), tile, 0.0)
        w = tl.load(a + k[:, None] * a_k + r[None, :] * a_r, mask=(k[:, None] < K) & (r[None, :] < rank), other=0.0)
        acc = tl.dot(tile, w.to(tl.bfloat16), acc)
    inside = (m[:, None] < rows) & (r[None, :] < rank)
    tl.store(out + m[:, None] * o_m + r[None, :], (acc * scale).to(tl.bfloat16), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _expand(y, h, a, bias, rows, seed, h_m, a_r, a_k, rank, K: tl.constexpr, R: tl.constexpr, DROP: tl.constexpr,
            BIAS: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, r = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, R)
    k = tl.program_id(1) * BK + tl.arange(0, BK)
    hs = tl.load(h + m[:, None] * h_m + r[None, :], mask=(m[:, None] < rows) & (r[None, :] < rank), other=0.0)
    w = tl.load(a + r[:, None] * a_r + k[None, :] * a_k, mask=(r[:, None] < rank) & (k[None, :] < K), other=0.0)
    total = tl.dot(hs, w.to(tl.bfloat16))
    if DROP:
        total = tl.where(_keep(seed, m, k, DROP), total, 0.0)
    if BIAS:
        total += tl.load(bias + k, mask=k < K, other=0.0).to(tl.float32)[None, :]
    index = m[:, None].to(tl.int64) * K + k[None, :]
    tl.store(y + index, total.to(tl.bfloat16), mask=(m[:, None] < rows) & (k[None, :] < K))


@triton.jit(do_not_specialize=["rows", "chunk"])
def _outer(h, x, out, rows, seed, chunk, h_m, o_r, o_k, rank, K: tl.constexpr, R: tl.constexpr, DROP: tl.constexpr,
           BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    r, k = tl.arange(0, R), tl.program_id(0) * BK + tl.arange(0, BK)
    acc = tl.zeros((R, BK), tl.float32)
    begin = tl.program_id(1) * chunk
    for m0 in range(begin, begin + chunk, BM):
        m = m0 + tl.arange(0, BM)
        hs = tl.load(h + m[None, :] * h_m + r[:, None], mask=(m[None, :] < rows) & (r[:, None] < rank), other=0.0)
        index = m[:, None].to(tl.int64) * K + k[None, :]
        tile = tl.load(x + index, mask=(m[:, None] < rows) & (k[None, :] < K), other=0.0)
        if DROP:
            tile = tl.where(_keep(seed, m, k, DROP), tile, 0.0)
        acc = tl.dot(hs, tile, acc)
    place = tl.program_id(1).to(tl.int64) * (rank * K) + r[:, None] * o_r + k[None, :] * o_k
    tl.store(out + place, acc, mask=(r[:, None] < rank) & (k[None, :] < K))


@triton.jit(do_not_specialize=["rows"])
def _norm(y, residual, weight, bias, out, z_out, mean_out, rstd_out, rows, seed, eps, K: tl.constexpr,
          DROP: tl.constexpr, KEPT: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, k = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, BK)
    index = m[:, None].to(tl.int64) * K + k[None, :]
    inside = (m[:, None] < rows) & (k[None, :] < K)
    z = tl.load(y + index, mask=inside, other=0.0).to(tl.float32)
    if DROP:
        z = tl.where(_keep(seed, m, k, DROP), z / KEPT, 0.0)
    z = (z + tl.load(residual + index, mask=inside, other=0.0).to(tl.float32)).to(tl.bfloat16)
    tl.store(z_out + index, z, mask=inside)
    z = z.to(tl.float32)
    mean = tl.sum(z, 1) / K
    centred = tl.where(k[None, :] < K, z - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / K + eps)
    w = tl.load(weight + k, mask=k < K, other=0.0).to(tl.float32)
    b = tl.load(bias + k, mask=k < K, other=0.0).to(tl.float32)
    result = centred * rstd[:, None] * w[None, :] + b[None, :]
    tl.store(out + index, result.to(tl.bfloat16), mask=inside)
    tl.store(mean_out + m, mean, mask=m < rows)
    tl.store(rstd_out + m, rstd, mask=m < rows)


@triton.jit(do_not_specialize=["rows"])
def _norm_backward(grad, z_in, mean_in, rstd_in, weight, dy, dresidual, rows, seed, K: tl.constexpr,
                   DROP: tl.constexpr, KEPT: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, k = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, BK)
    index = m[:, None].to(tl.int64) * K + k[None, :]
    inside = (m[:, None] < rows) & (k[None, :] < K)
    mean, rstd = tl.load(mean_in + m, mask=m < rows, other=0.0), tl.load(rstd_in + m, mask=m < rows, other=0.0)
    z = tl.load(z_in + index, mask=inside, other=0.0).to(tl.float32)
    normal = tl.where(k[None, :] < K, (z - mean[:, None]) * rstd[:, None], 0.0)
    w = tl.load(weight + k, mask=k < K, other=0.0).to(tl.float32)
    g = tl.load(grad + index, mask=inside, other=0.0).to(tl.float32) * w[None, :]
    dz = rstd[:, None] * (g - tl.sum(g, 1)[:, None] / K - normal * (tl.sum(g * normal, 1)[:, None] / K))
    tl.store(dresidual + index, dz.to(tl.bfloat16), mask=inside)
    if DROP:
        dz = tl.where(_keep(seed, m, k, DROP), dz / KEPT, 0.0)
        tl.store(dy + index, dz.to(tl.bfloat16), mask=inside)


def _threshold(dropout: float) -> int:
    return int(dropout * 2**32)


def _padded_rank(rank: int) -> int:
    return max(16, 1 << (rank - 1).bit_length())  # the least that the tensor cores multiply


def project(x: Tensor, a: Tensor, out: Tensor, scale: float, dropout: float, seed: Tensor | None) -> None:
    """``out = scale * keep(x) a'``: x (rows, k), a (r, k) of any strides, out (rows, r) of any row stride."""
    rows, width = x.shape
    _project[(triton.cdiv(rows, _BM),)](
        x, a, out, rows, seed, scale, a.stride(0), a.stride(1), out.stride(0), a.shape[0], K=width,
        R=_padded_rank(a.shape[0]), DROP=_threshold(dropout), BM=_BM, BK=_BK,
    )  # fmt: skip


def expand(h: Tensor, a: Tensor, bias: Tensor | None, dropout: float, seed: Tensor | None) -> Tensor:
    """``bias + keep(h a)``: h (rows, r) of any row stride, a (r, k) of any strides → (rows, k)."""
    rows, width = h.shape[0], a.shape[1]
    y = h.new_empty((rows, width))
    _expand[(triton.cdiv(rows, _BM), triton.cdiv(width, _BK))](
        y, h, a, bias, rows, seed, h.stride(0), a.stride(0), a.stride(1), a.shape[0], K=width,
        R=_padded_rank(a.shape[0]), DROP=_threshold(dropout), BIAS=bias is not None, BM=_BM, BK=_BK,
    )  # fmt: skip
    return y


def outer(h: Tensor, x: Tensor, like: Tensor, dropout: float, seed: Tensor | None) -> Tensor:
    """``h' keep(x)``: h (rows, r) of any row stride, x (rows, k) → (r, k) fp32 in the order of ``like``'s elements.

    Rows are cut into pieces whose sums are added in a fixed order.
    """
    (rows, width), rank = x.shape, h.shape[1]
    pieces = max(1, min(triton.cdiv(512 * _BK, width), triton.cdiv(rows, 4 * _BM)))
    chunk = triton.cdiv(triton.cdiv(rows, pieces), _BM) * _BM
    shape, strides = ((width, rank), (1, rank)) if like.stride(0) == 1 else ((rank, width), (width, 1))
    partial = torch.empty((pieces, *shape), dtype=torch.float32, device=x.device)
    _outer[(triton.cdiv(width, _BK), pieces)](
        h, x, partial, rows, seed, chunk, h.stride(0), *strides, rank, K=width, R=_padded_rank(rank),
        DROP=_threshold(dropout), BM=_BM, BK=_BK,
    )  # fmt: skip
    total = partial.sum(0)
    return total.T if like.stride(0) == 1 else total


def residual_norm(
    y: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, dropout: float, seed: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``LayerNorm(z)`` with ``z = dropout(y) + residual``; also z, and the mean and 1 / deviation of its rows, fp32."""
    width = y.shape[-1]
    rows = y.numel() // width
    out, z = torch.empty_like(y), torch.empty_like(y)
    mean, rstd = (torch.empty(rows, dtype=torch.float32, device=y.device) for _ in range(2))
    block = triton.next_power_of_2(width)
    _norm[(triton.cdiv(rows, 4),)](
        y, residual, weight, bias, out, z, mean, rstd, rows, seed, eps, K=width, DROP=_threshold(dropout),
        KEPT=1 - dropout, BM=4, BK=block, num_warps=min(16, max(4, block // 256)),
    )  # fmt: skip
    return out, z, mean, rstd


def residual_norm_backward(
    grad: Tensor, z: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, dropout: float, seed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradients of ``y`` and ``residual``; one tensor for both without dropout."""
    width = z.shape[-1]
    rows = z.numel() // width
    dresidual = torch.empty_like(z)
    dy = torch.empty_like(z) if dropout else dresidual
    block = triton.next_power_of_2(width)
    _norm_backward[(triton.cdiv(rows, 4),)](
        grad, z, mean, rstd, weight, dy, dresidual, rows, seed, K=width, DROP=_threshold(dropout), KEPT=1 - dropout,
        BM=4, BK=block, num_warps=min(16, max(4, block // 256)),
    )  # fmt: skip
    return dy, dresidual
