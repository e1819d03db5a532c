"""Triton kernels of ``lora``, and what launches them.

Activations are (rows, k), bf16 and contiguous; products accumulate in fp32.
"""

# Triton comes with torch's CUDA builds only, and its language is not typed.
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from patent_embed.encoder.kernels.gpu_dropout import keep, threshold

_BM, _BK = 64, 128  # rows and columns of a tile


@triton.jit
def _normal(u):
    """The standard normal distribution's function and density at ``u``, fp32, to 1e-7.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: the library's erf would take longer than what is
    around it.
    """
    x = tl.abs(u) * 0.7071067811865476
    t = 1 / (1 + 0.3275911 * x)
    falling = tl.exp2(x * x * -1.4426950408889634)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * series * falling
    return tl.where(u < 0, tail, 1 - tail), 0.3989422804014327 * falling


@triton.jit(do_not_specialize=["rows"])
def _project(x, a, out, activated, rows, seed, scale, rank, K: tl.constexpr, R: tl.constexpr, GELU: tl.constexpr,
             DROP: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, r = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, R)
    acc = tl.zeros((BM, R), tl.float32)
    for k0 in range(0, K, BK):
        k = k0 + tl.arange(0, BK)
        index = m[:, None].to(tl.int64) * K + k[None, :]
        within = (m[:, None] < rows) & (k[None, :] < K)
        tile = tl.load(x + index, mask=within, other=0.0)
        if GELU:
            below, _ = _normal(tile.to(tl.float32))
            tile = (tile * below).to(tile.dtype)
            tl.store(activated + index, tile, mask=within)
        if DROP:
            tile = tl.where(keep(seed, m, k, DROP), tile, 0.0)
        w = tl.load(a + r[None, :] * K + k[:, None], mask=(k[:, None] < K) & (r[None, :] < rank), other=0.0)
        acc = tl.dot(tile, w.to(tile.dtype), acc)
    inside = (m[:, None] < rows) & (r[None, :] < rank)
    tl.store(out + m[:, None] * rank + r[None, :], (acc * scale).to(x.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _expand(y, h, a, bias, beside, before, rows, seed, a_r, a_k, rank, K: tl.constexpr, R: tl.constexpr,
            DROP: tl.constexpr, BIAS: tl.constexpr, BESIDE: tl.constexpr, GELU: tl.constexpr, BM: tl.constexpr,
            BK: tl.constexpr):  # fmt: skip
    m, r = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, R)
    k = tl.program_id(1) * BK + tl.arange(0, BK)
    hs = tl.load(h + m[:, None] * rank + r[None, :], mask=(m[:, None] < rows) & (r[None, :] < rank), other=0.0)
    w = tl.load(a + r[:, None] * a_r + k[None, :] * a_k, mask=(r[:, None] < rank) & (k[None, :] < K), other=0.0)
    total = tl.dot(hs, w.to(hs.dtype))
    if DROP:
        total = tl.where(keep(seed, m, k, DROP), total, 0.0)
    if BIAS:
        total += tl.load(bias + k, mask=k < K, other=0.0).to(tl.float32)[None, :]
    index = m[:, None].to(tl.int64) * K + k[None, :]
    inside = (m[:, None] < rows) & (k[None, :] < K)
    if BESIDE:
        total += tl.load(beside + index, mask=inside, other=0.0).to(tl.float32)
    if GELU:
        u = tl.load(before + index, mask=inside, other=0.0).to(tl.float32)
        below, density = _normal(u)
        total = (total + tl.load(y + index, mask=inside, other=0.0)) * (below + u * density)
    tl.store(y + index, total.to(hs.dtype), mask=inside)


@triton.jit(do_not_specialize=["rows", "chunk"])
def _outer(h, x, out, rstd, weight, rows, seed, chunk, rank, K: tl.constexpr, R: tl.constexpr, DROP: tl.constexpr,
           NORM: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    r, k = tl.arange(0, R), tl.program_id(0) * BK + tl.arange(0, BK)
    if NORM:
        scale = tl.load(weight + k, mask=k < K, other=0.0).to(tl.float32)[None, :]
    acc = tl.zeros((R, BK), tl.float32)
    begin = tl.program_id(1) * chunk
    for m0 in range(begin, begin + chunk, BM):
        m = m0 + tl.arange(0, BM)
        hs = tl.load(h + m[None, :] * rank + r[:, None], mask=(m[None, :] < rows) & (r[:, None] < rank), other=0.0)
        index = m[:, None].to(tl.int64) * K + k[None, :]
        tile = tl.load(x + index, mask=(m[:, None] < rows) & (k[None, :] < K), other=0.0)
        if NORM:
            tile = (tile * tl.load(rstd + m, mask=m < rows, other=0.0)[:, None] * scale).to(tile.dtype)
        if DROP:
            tile = tl.where(keep(seed, m, k, DROP), tile, 0.0)
        acc = tl.dot(hs, tile, acc)
    place = tl.program_id(1).to(tl.int64) * (rank * K) + r[:, None] * K + k[None, :]
    tl.store(out + place, acc, mask=(r[:, None] < rank) & (k[None, :] < K))


@triton.jit(do_not_specialize=["rows"])
def _up_backward(dy, up, h, dh, out, rows, scale, y_m, u_k, h_m, rank, K: tl.constexpr, R: tl.constexpr,
                 BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, r = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, R)
    layer = tl.program_id(1)
    inside = (m[:, None] < rows) & (r[None, :] < rank)
    place = m[:, None] * h_m + layer * rank + r[None, :]
    hs = tl.trans(tl.load(h + place, mask=inside, other=0.0))
    acc = tl.zeros((BM, R), tl.float32)
    dy += layer * K
    up += layer * (K * u_k + rank)  # a block on the diagonal
    out += (layer * tl.num_programs(0) + tl.program_id(0)).to(tl.int64) * (rank * K)
    for k0 in range(0, K, BK):
        k = k0 + tl.arange(0, BK)
        index = m[:, None].to(tl.int64) * y_m + k[None, :]
        tile = tl.load(dy + index, mask=(m[:, None] < rows) & (k[None, :] < K), other=0.0)
        w = tl.load(up + k[:, None] * u_k + r[None, :], mask=(k[:, None] < K) & (r[None, :] < rank), other=0.0)
        acc = tl.dot(tile, w.to(tile.dtype), acc)
        part = tl.dot(hs, tile)  # (R, BK); up's gradient is stored as (K, rank)
        tl.store(out + k[None, :] * rank + r[:, None], part, mask=(k[None, :] < K) & (r[:, None] < rank))
    tl.store(dh + place, (acc * scale).to(dy.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _linear(x, w, y, h, up, bias, rows, rank, N: tl.constexpr, K: tl.constexpr, R: tl.constexpr,
            BIAS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr):  # fmt: skip
    # Tiles in groups of rows, so that what they share stays in the cache.
    across = tl.cdiv(N, BN)
    group, place = tl.program_id(0) // (GROUP * across), tl.program_id(0) % (GROUP * across)
    height = min(tl.cdiv(rows, BM) - group * GROUP, GROUP)
    m = (group * GROUP + place % height) * BM + tl.arange(0, BM)
    n, kk, r = place // height * BN + tl.arange(0, BN), tl.arange(0, BK), tl.arange(0, R)
    inside_m, inside_n = m < rows, n < N
    # What lies outside is computed from the first row and column, and not stored.
    xs = x + tl.where(inside_m, m, 0)[:, None].to(tl.int64) * K + kk[None, :]
    ws = w + tl.where(inside_n, n, 0)[None, :] * K + kk[:, None]
    acc = tl.zeros((BM, BN), tl.float32)
    for k0 in range(0, K, BK):
        if K % BK == 0:
            acc = tl.dot(tl.load(xs + k0), tl.load(ws + k0), acc)
        else:
            left = K - k0
            tile = tl.load(xs + k0, mask=kk[None, :] < left, other=0.0)
            acc = tl.dot(tile, tl.load(ws + k0, mask=kk[:, None] < left, other=0.0), acc)
    hs = tl.load(h + m[:, None] * rank + r[None, :], mask=inside_m[:, None] & (r[None, :] < rank), other=0.0)
    us = tl.load(up + n[None, :] * rank + r[:, None], mask=inside_n[None, :] & (r[:, None] < rank), other=0.0)
    acc = tl.dot(hs, us.to(hs.dtype), acc)
    if BIAS:
        acc += tl.load(bias + n, mask=inside_n, other=0.0).to(tl.float32)[None, :]
    index = m[:, None].to(tl.int64) * N + n[None, :]
    tl.store(y + index, acc.to(hs.dtype), mask=inside_m[:, None] & inside_n[None, :])


@triton.jit(do_not_specialize=["rows"])
def _norm(y, residual, weight, bias, out, z_out, mean_out, rstd_out, rows, seed, eps, K: tl.constexpr,
          DROP: tl.constexpr, KEPT: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, k = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, BK)
    index = m[:, None].to(tl.int64) * K + k[None, :]
    inside = (m[:, None] < rows) & (k[None, :] < K)
    z = tl.load(y + index, mask=inside, other=0.0).to(tl.float32)
    if DROP:
        z = tl.where(keep(seed, m, k, DROP), z / KEPT, 0.0)
    z = (z + tl.load(residual + index, mask=inside, other=0.0).to(tl.float32)).to(y.dtype.element_ty)
    tl.store(z_out + index, z, mask=inside)
    z = z.to(tl.float32)
    mean = tl.sum(z, 1) / K
    centred = tl.where(k[None, :] < K, z - mean[:, None], 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / K + eps)
    w = tl.load(weight + k, mask=k < K, other=0.0).to(tl.float32)
    b = tl.load(bias + k, mask=k < K, other=0.0).to(tl.float32)
    result = centred * rstd[:, None] * w[None, :] + b[None, :]
    tl.store(out + index, result.to(y.dtype.element_ty), mask=inside)
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
    tl.store(dresidual + index, dz.to(grad.dtype.element_ty), mask=inside)
    if DROP:
        dz = tl.where(keep(seed, m, k, DROP), dz / KEPT, 0.0)
        tl.store(dy + index, dz.to(grad.dtype.element_ty), mask=inside)


def padded_rank(rank: int) -> int:
    """A power of two, and the least that the tensor cores multiply."""
    return max(16, 1 << (rank - 1).bit_length())


def project(
    x: Tensor, a: Tensor, scale: float, dropout: float, seed: Tensor | None, activated: Tensor | None = None
) -> Tensor:
    """``scale * keep(x) a'``: x (rows, k), a (r, k) → (rows, r).

    With ``activated``, which has x's shape, gelu(x) takes the place of x and is written there.
    """
    (rows, width), rank = x.shape, len(a)
    out = x.new_empty((rows, rank))
    tile = {"BM": 32, "BK": 128, "num_stages": 3} if rank <= 32 else {"BM": 64, "BK": 64, "num_stages": 4}
    _project[(triton.cdiv(rows, tile["BM"]),)](
        x, a, out, activated, rows, seed, scale, rank, K=width, R=padded_rank(rank), GELU=activated is not None,
        DROP=threshold(dropout), **tile, num_warps=4,
    )  # fmt: skip
    return out


def expand(
    h: Tensor, a: Tensor, bias: Tensor | None, dropout: float, seed: Tensor | None, beside: Tensor | None = None
) -> Tensor:
    """``bias + beside + keep(h a)``: h (rows, r), a (r, k) of any strides, beside (rows, k) → (rows, k)."""
    y = h.new_empty((len(h), a.shape[1]))
    _launch_expand(y, h, a, bias, beside, None, dropout, seed)
    return y


def expand_through_gelu(y: Tensor, before: Tensor, h: Tensor, a: Tensor, dropout: float, seed: Tensor | None) -> Tensor:
    """``(y + keep(h a)) * gelu'(before)``, in place of y: the gradient of what a GELU has read."""
    _launch_expand(y, h, a, None, None, before, dropout, seed)
    return y


def _launch_expand(
    y: Tensor, h: Tensor, a: Tensor, bias: Tensor | None, beside: Tensor | None, before: Tensor | None, dropout: float,
    seed: Tensor | None,
) -> None:  # fmt: skip
    rows, width = y.shape
    height = _BM if before is None else 16  # the slope needs many registers
    _expand[(triton.cdiv(rows, height), triton.cdiv(width, _BK))](
        y, h, a, bias, beside, before, rows, seed, a.stride(0), a.stride(1), a.shape[0], K=width,
        R=padded_rank(a.shape[0]), DROP=threshold(dropout), BIAS=bias is not None, BESIDE=beside is not None,
        GELU=before is not None, BM=height, BK=_BK,
    )  # fmt: skip


def outer(
    h: Tensor, x: Tensor, dropout: float, seed: Tensor | None, norm: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """``h' keep(x)``: h (rows, r), x (rows, k) → (r, k) fp32.

    ``norm``: factors of x's rows and columns, which an RMSNorm multiplies with. Rows are cut into pieces whose sums are
    added in a fixed order.
    """
    (rows, width), rank = x.shape, h.shape[1]
    pieces = max(1, min(triton.cdiv(512 * _BK, width), triton.cdiv(rows, 4 * _BM)))
    chunk = triton.cdiv(triton.cdiv(rows, pieces), _BM) * _BM
    parts = torch.empty((pieces, rank, width), dtype=torch.float32, device=x.device)
    _outer[(triton.cdiv(width, _BK), pieces)](
        h, x, parts, *(norm or (None, None)), rows, seed, chunk, rank, K=width, R=padded_rank(rank),
        DROP=threshold(dropout), NORM=norm is not None, BM=_BM, BK=_BK,
    )  # fmt: skip
    return parts.sum(0)


def up_backward(
    dy: Tensor, up: Tensor, h: Tensor, scale: float, blocks: Sequence[tuple[int, int]]
) -> tuple[Tensor, list[Tensor]]:
    """``scale * dy up``, and the gradient of ``up``, ``dy' h``, in one pass over dy.

    Args:
        dy: (rows, n); h: (rows, r); up: (n, r) with ``blocks`` (n_i, r_i) on its diagonal and zeros elsewhere.

    Returns:
        (rows, r), and (n_i, r_i) fp32 for each block.
    """
    dh, gradients = torch.empty_like(h), []
    together = len(blocks) if len(set(blocks)) == 1 else 1  # like blocks share a launch
    column = place = 0
    for width, rank in blocks[::together]:
        pieces = _launch_up_backward(
            dy[:, column:], up[column:, place:], h[:, place:], dh[:, place:], scale, width, rank, together
        )
        gradients += list(pieces.sum(1))
        column, place = column + width, place + rank
    return dh, gradients


def _launch_up_backward(
    dy: Tensor, up: Tensor, h: Tensor, dh: Tensor, scale: float, width: int, rank: int, layers: int
) -> Tensor:
    rows, padded = len(dy), padded_rank(rank)
    tile = min(256 if rows >= 32_768 else 128, max(32, 8192 // padded))  # few rows: smaller pieces for all of the GPU
    pieces = triton.cdiv(rows, tile)
    parts = torch.empty((layers, pieces, width, rank), dtype=torch.float32, device=dy.device)
    _up_backward[(pieces, layers)](
        dy, up, h, dh, parts, rows, scale, dy.stride(0), up.stride(0), h.stride(0), rank, K=width, R=padded, BM=tile,
        BK=128 if padded <= 32 else 64, num_warps=8 if tile == 256 else 4, num_stages=3,
    )  # fmt: skip
    return parts


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, h: Tensor, up: Tensor) -> Tensor:
    """``x weight' + bias + h up'``: x (rows, k), weight (n, k), h (rows, r), up (n, r) → (rows, n)."""
    (rows, width), n = x.shape, len(weight)
    if width > n:  # the vendor's product is the faster one by more than a pass over so few results
        return expand(h, up.T, bias, 0.0, None).addmm_(x, weight.T)
    y = x.new_empty((rows, n))
    tile = {"BM": 128, "BN": 256, "BK": 64}
    _linear[(triton.cdiv(rows, tile["BM"]) * triton.cdiv(n, tile["BN"]),)](
        x, weight, y, h, up, bias, rows, up.shape[1], N=n, K=width, R=padded_rank(up.shape[1]),
        BIAS=bias is not None, GROUP=8, **tile, num_warps=8, num_stages=3,
    )  # fmt: skip
    return y


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
        y, residual, weight, bias, out, z, mean, rstd, rows, seed, eps, K=width, DROP=threshold(dropout),
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
        grad, z, mean, rstd, weight, dy, dresidual, rows, seed, K=width, DROP=threshold(dropout), KEPT=1 - dropout,
        BM=4, BK=block, num_warps=min(16, max(4, block // 256)),
    )  # fmt: skip
    return dy, dresidual
