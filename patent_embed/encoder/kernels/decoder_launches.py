"""Triton kernels of ``decoder_layer``, and what launches them: RMSNorm, rotary positions and SwiGLU.

Activations are (rows, k), bf16 and contiguous, sums in fp32. What a backward pass needs of a norm, a rotation or an
activation is computed again from what it has read, beside reading it.
"""

# Triton comes with torch's CUDA builds only, and its language is not typed.
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from patent_embed.encoder.kernels.gpu_dropout import keep, threshold
from patent_embed.encoder.kernels.launches import padded_rank

SWIGLU_BACKWARD = {"BM": 32, "BK": 64, "num_warps": 4, "num_stages": 2}


@triton.jit(do_not_specialize=["rows"])
def _norm(y, residual, weight, s_out, x_out, rstd_out, rows, eps, K: tl.constexpr, ADD: tl.constexpr,
          BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, k = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, BK)
    index = m[:, None].to(tl.int64) * K + k[None, :]
    inside = (m[:, None] < rows) & (k[None, :] < K)
    s = tl.load(residual + index, mask=inside, other=0.0)
    if ADD:
        s = (s.to(tl.float32) + tl.load(y + index, mask=inside, other=0.0)).to(s.dtype)
        tl.store(s_out + index, s, mask=inside)
    s = s.to(tl.float32)
    rstd = 1.0 / tl.sqrt(tl.sum(s * s, 1) / K + eps)
    w = tl.load(weight + k, mask=k < K, other=0.0).to(tl.float32)
    tl.store(x_out + index, (s * rstd[:, None] * w[None, :]).to(x_out.dtype.element_ty), mask=inside)
    tl.store(rstd_out + m, rstd, mask=m < rows)


@triton.jit(do_not_specialize=["rows"])
def _norm_backward(grad, s_in, rstd_in, weight, beside, out, rows, K: tl.constexpr, BESIDE: tl.constexpr,
                   BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, k = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, BK)
    index = m[:, None].to(tl.int64) * K + k[None, :]
    inside = (m[:, None] < rows) & (k[None, :] < K)
    rstd = tl.load(rstd_in + m, mask=m < rows, other=0.0)[:, None]
    normal = tl.load(s_in + index, mask=inside, other=0.0).to(tl.float32) * rstd
    w = tl.load(weight + k, mask=k < K, other=0.0).to(tl.float32)
    g = tl.load(grad + index, mask=inside, other=0.0).to(tl.float32) * w[None, :]
    ds = rstd * (g - normal * (tl.sum(g * normal, 1)[:, None] / K))
    if BESIDE:
        ds += tl.load(beside + index, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + index, ds.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _halves(x, m, d, stride, HALF: tl.constexpr, inside):
    """The two halves of a head's numbers that a rotation joins, fp32."""
    index = m[:, None].to(tl.int64) * stride + d[None, :]
    left = tl.load(x + index, mask=inside, other=0.0).to(tl.float32)
    return left, tl.load(x + index + HALF, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store_halves(x, left, right, m, d, stride, HALF: tl.constexpr, inside):
    index = m[:, None].to(tl.int64) * stride + d[None, :]
    tl.store(x + index, left.to(x.dtype.element_ty), mask=inside)
    tl.store(x + index + HALF, right.to(x.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _rotate(x, out, q_weight, k_weight, cos, sin, rows, eps, QUERIES: tl.constexpr, GROUP: tl.constexpr,
            D: tl.constexpr, WIDTH: tl.constexpr, OUT: tl.constexpr, NORM: tl.constexpr, BM: tl.constexpr):  # fmt: skip
    # A program: some tokens, a head of keys and the heads of queries that read it.
    HALF: tl.constexpr = D // 2
    m, d = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, HALF)
    inside = (m < rows)[:, None]
    place = m[:, None] * D + d[None, :]
    c, s = tl.load(cos + place, mask=inside, other=0.0), tl.load(sin + place, mask=inside, other=0.0)
    for turn in tl.static_range(GROUP + 1):
        head = tl.program_id(1) + QUERIES if turn == GROUP else tl.program_id(1) * GROUP + turn
        left, right = _halves(x + head * D, m, d, WIDTH, HALF, inside)
        if NORM:
            weight = k_weight if turn == GROUP else q_weight
            rstd = 1.0 / tl.sqrt(tl.sum(left * left + right * right, 1) / D + eps)[:, None]
            left *= rstd * tl.load(weight + d).to(tl.float32)[None, :]
            right *= rstd * tl.load(weight + d + HALF).to(tl.float32)[None, :]
        _store_halves(out + head * D, left * c - right * s, right * c + left * s, m, d, OUT, HALF, inside)


@triton.jit(do_not_specialize=["rows"])
def _rotate_backward(grad, x, q_weight, k_weight, cos, sin, rows, eps, QUERIES: tl.constexpr, GROUP: tl.constexpr,
                     D: tl.constexpr, WIDTH: tl.constexpr, NORM: tl.constexpr, BM: tl.constexpr):  # fmt: skip
    HALF: tl.constexpr = D // 2
    m, d = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, HALF)
    inside = (m < rows)[:, None]
    place = m[:, None] * D + d[None, :]
    c, s = tl.load(cos + place, mask=inside, other=0.0), tl.load(sin + place, mask=inside, other=0.0)
    for turn in tl.static_range(GROUP + 1):
        head = tl.program_id(1) + QUERIES if turn == GROUP else tl.program_id(1) * GROUP + turn
        a, b = _halves(grad + head * D, m, d, WIDTH, HALF, inside)
        da, db = a * c + b * s, b * c - a * s
        if NORM:
            weight = k_weight if turn == GROUP else q_weight
            left, right = _halves(x + head * D, m, d, WIDTH, HALF, inside)
            rstd = 1.0 / tl.sqrt(tl.sum(left * left + right * right, 1) / D + eps)[:, None]
            left, right = left * rstd, right * rstd
            da *= tl.load(weight + d).to(tl.float32)[None, :]
            db *= tl.load(weight + d + HALF).to(tl.float32)[None, :]
            common = (tl.sum(da * left + db * right, 1) / D)[:, None]
            da, db = rstd * (da - left * common), rstd * (db - right * common)
        _store_halves(grad + head * D, da, db, m, d, WIDTH, HALF, inside)


@triton.jit(do_not_specialize=["rows"])
def _swiglu_project(x, a, out, activated, rows, seed, scale, rank, K: tl.constexpr, R: tl.constexpr,
                    DROP: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    m, r = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, R)
    acc = tl.zeros((BM, R), tl.float32)
    for k0 in range(0, K, BK):
        k = k0 + tl.arange(0, BK)
        index = m[:, None].to(tl.int64) * K + k[None, :]
        within = (m[:, None] < rows) & (k[None, :] < K)
        gate = tl.load(x + index + m[:, None].to(tl.int64) * K, mask=within, other=0.0).to(tl.float32)
        up = tl.load(x + index + (m[:, None].to(tl.int64) + 1) * K, mask=within, other=0.0).to(tl.float32)
        tile = (gate * tl.sigmoid(gate) * up).to(x.dtype.element_ty)
        tl.store(activated + index, tile, mask=within)
        if DROP:
            tile = tl.where(keep(seed, m, k, DROP), tile, 0.0)
        w = tl.load(a + r[None, :] * K + k[:, None], mask=(k[:, None] < K) & (r[None, :] < rank), other=0.0)
        acc = tl.dot(tile, w.to(tile.dtype), acc)
    inside = (m[:, None] < rows) & (r[None, :] < rank)
    tl.store(out + m[:, None] * rank + r[None, :], (acc * scale).to(x.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "chunk"])
def _swiglu_backward(grad, x, h, a, dx, out, rows, seed, chunk, rank, K: tl.constexpr, R: tl.constexpr,
                     DROP: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr):  # fmt: skip
    # Some columns of all rows of a piece: the gradients of gate and up, and the piece's part of that of A.
    r, k = tl.arange(0, R), tl.program_id(0) * BK + tl.arange(0, BK)
    w = tl.load(a + r[:, None] * K + k[None, :], mask=(r[:, None] < rank) & (k[None, :] < K), other=0.0)
    w = w.to(x.dtype.element_ty)
    acc = tl.zeros((R, BK), tl.float32)
    begin = tl.program_id(1) * chunk
    for m0 in range(begin, begin + chunk, BM):
        m = m0 + tl.arange(0, BM)
        within = (m[:, None] < rows) & (k[None, :] < K)
        hs = tl.load(h + m[:, None] * rank + r[None, :], mask=(m[:, None] < rows) & (r[None, :] < rank), other=0.0)
        index = m[:, None].to(tl.int64) * (2 * K) + k[None, :]
        gate = tl.load(x + index, mask=within, other=0.0).to(tl.float32)
        up = tl.load(x + index + K, mask=within, other=0.0).to(tl.float32)
        of_input = tl.dot(hs, w)
        slope = tl.sigmoid(gate)
        silu = gate * slope
        activated = (silu * up).to(x.dtype.element_ty)
        if DROP:
            kept = keep(seed, m, k, DROP)
            of_input, activated = tl.where(kept, of_input, 0.0), tl.where(kept, activated, 0.0)
        acc = tl.dot(tl.trans(hs), activated, acc)
        place = m[:, None].to(tl.int64) * K + k[None, :]
        of_input += tl.load(grad + place, mask=within, other=0.0).to(tl.float32)
        tl.store(dx + index, (of_input * up * (slope + silu * (1 - slope))).to(x.dtype.element_ty), mask=within)
        tl.store(dx + index + K, (of_input * silu).to(x.dtype.element_ty), mask=within)
    place = tl.program_id(1).to(tl.int64) * (rank * K) + r[:, None] * K + k[None, :]
    tl.store(out + place, acc, mask=(r[:, None] < rank) & (k[None, :] < K))


def _rows_at_once(width: int) -> dict[str, int]:
    block = triton.next_power_of_2(width)
    return {"BM": max(1, min(4, 4096 // block)), "BK": block, "num_warps": min(16, max(4, block // 256))}


def norm(residual: Tensor, y: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """``s = residual + y``, ``RMSNorm(s)`` (Zhang and Sennrich, arXiv 1910.07467) and 1 / root mean square of s's rows.

    Args:
        residual: (rows, k); y: the same, or None where there is nothing to add.

    Returns:
        (rows, k) twice, and (rows,) fp32.
    """
    (rows, width), x = residual.shape, torch.empty_like(residual)
    s = residual if y is None else torch.empty_like(residual)
    rstd = torch.empty(rows, dtype=torch.float32, device=x.device)
    tile = _rows_at_once(width)
    _norm[(triton.cdiv(rows, tile["BM"]),)](
        y, residual, weight, s, x, rstd, rows, eps, K=width, ADD=y is not None, **tile
    )  # fmt: skip
    return s, x, rstd


def norm_backward(grad: Tensor, s: Tensor, rstd: Tensor, weight: Tensor, beside: Tensor | None) -> Tensor:
    """The gradient of ``s`` from that of ``RMSNorm(s)``, with ``beside`` added to it."""
    (rows, width), out = s.shape, torch.empty_like(s)
    tile = _rows_at_once(width)
    _norm_backward[(triton.cdiv(rows, tile["BM"]),)](
        grad, s, rstd, weight, beside, out, rows, K=width, BESIDE=beside is not None, **tile
    )  # fmt: skip
    return out


class Rotation(NamedTuple):
    """What turns queries and keys by their positions (Su et al., arXiv 2104.09864), after a norm of each head or none.

    Attributes:
        cos, sin: (T, size) fp32, both halves of a row the same.
        queries, keys: heads of each; size: of a head.
        norms: (size,) weights of the queries' norm and of the keys'; None without norms.
        eps: of the norms.
    """

    cos: Tensor
    sin: Tensor
    queries: int
    keys: int
    size: int
    norms: tuple[Tensor, Tensor] | None
    eps: float

    def split(self, qkv: Tensor) -> Sequence[Tensor]:
        """Queries, keys and values, each (T, heads, size): views of (T, all heads * size)."""
        heads = qkv.view(len(qkv), -1, self.size)
        parts: Sequence[Tensor] = heads.split([self.queries, self.keys, self.keys], 1)
        return parts

    def __call__(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (T, queries, size) and keys (T, keys, size) as attention reads them."""
        out = qkv.new_empty((len(qkv), self.queries + self.keys, self.size))
        self._launch(_rotate, qkv, out, OUT=out.stride(0))
        q, k = out.split([self.queries, self.keys], 1)
        return q, k

    def backward(self, grad: Tensor, qkv: Tensor) -> None:
        """Turn ``grad``, (T, all heads * size), from the gradient of what attention has read into that of ``qkv``."""
        self._launch(_rotate_backward, grad, qkv)

    def _launch(self, kernel: Any, first: Tensor, second: Tensor, **more: int) -> None:
        rows, width = first.shape
        q_weight, k_weight = (None, None) if self.norms is None else self.norms
        kernel[(triton.cdiv(rows, 16), self.keys)](
            first, second, q_weight, k_weight, self.cos, self.sin, rows, self.eps, QUERIES=self.queries,
            GROUP=self.queries // self.keys, D=self.size, WIDTH=width, NORM=self.norms is not None, BM=16, **more,
        )  # fmt: skip


def swiglu_project(x: Tensor, a: Tensor, scale: float, dropout: float, seed: Tensor | None) -> tuple[Tensor, Tensor]:
    """``y = silu(gate) * up`` (Shazeer, arXiv 2002.05202) and ``scale * keep(y) a'``.

    Args:
        x: (rows, 2 k), gate and up beside one another; a: (r, k).

    Returns:
        (rows, k) and (rows, r).
    """
    (rows, both), rank = x.shape, len(a)
    activated, out = x.new_empty((rows, both // 2)), x.new_empty((rows, rank))
    tile = {"BM": 32, "BK": 128, "num_stages": 3} if rank <= 32 else {"BM": 64, "BK": 64, "num_stages": 3}
    _swiglu_project[(triton.cdiv(rows, tile["BM"]),)](
        x, a, out, activated, rows, seed, scale, rank, K=both // 2, R=padded_rank(rank), DROP=threshold(dropout),
        **tile, num_warps=4,
    )  # fmt: skip
    return activated, out


def swiglu_backward(
    grad: Tensor, x: Tensor, h: Tensor, a: Tensor, dropout: float, seed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gradients of ``x`` and of ``a`` in one pass over x.

    Args:
        grad: (rows, k), of ``y`` but for what comes through ``a``; x: (rows, 2 k) as in ``swiglu_project``.
        h: (rows, r), ``scale`` times the gradient of ``keep(y) a'``.

    Returns:
        (rows, 2 k), and (r, k) fp32, whose rows are summed in a fixed order.
    """
    (rows, width), rank = grad.shape, len(a)
    tile = SWIGLU_BACKWARD
    pieces = max(1, min(triton.cdiv(1024 * tile["BK"], width), triton.cdiv(rows, 8 * tile["BM"])))
    chunk = triton.cdiv(triton.cdiv(rows, pieces), tile["BM"]) * tile["BM"]
    dx, parts = torch.empty_like(x), torch.empty((pieces, rank, width), dtype=torch.float32, device=x.device)
    _swiglu_backward[(triton.cdiv(width, tile["BK"]), pieces)](
        grad, x, h, a, dx, parts, rows, seed, chunk, rank, K=width, R=padded_rank(rank), DROP=threshold(dropout),
        **tile,
    )  # fmt: skip
    return dx, parts.sum(0)
