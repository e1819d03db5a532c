"""Attention inside each text of a packed row, with dropout, as Triton kernels for training on a GPU.

Flash attention (Dao, arXiv 2307.08691) for short texts. Its backward pass computes the scores twice, for the gradients
of keys and values and for those of queries: nothing is summed by atomic operations, so that gradients are the same in
every run, and small tiles suit short texts. Dropout is drawn from a hash of (seed, query, key, head) and never stored.
"""

# Triton comes with torch's CUDA builds only, and its language is not typed.
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from patent_embed.encoder.kernels.gpu_dropout import column_hash, dropout_seed, row_hash, survives, threshold

HEAD_SIZES = (16, 32, 64, 128)
FORWARD = {"BM": 64, "BN": 32, "num_warps": 4, "num_stages": 3}
BACKWARD = {"BLOCK": 64, "STEP": 16, "num_warps": 4, "num_stages": 4}


@triton.jit
def _rows(base, begin, m, d, token_stride, head_stride, head):
    """Pointers to the numbers ``d`` of the tokens ``m`` of a text: (len(m), len(d))."""
    return base + (begin + m)[:, None].to(tl.int64) * token_stride + head * head_stride + d[None, :]


@triton.jit(do_not_specialize=["tokens"])
def _forward(q, k, v, out, lse, bounds, seed, scale, tokens, q_t, q_h, k_t, k_h, v_t, v_h, HEADS: tl.constexpr,
             D: tl.constexpr, DROP: tl.constexpr, KEPT: tl.constexpr, FIRST: tl.constexpr, BM: tl.constexpr,
             BN: tl.constexpr):  # fmt: skip
    text, head = (tl.num_programs(0) - 1 - tl.program_id(0)) // HEADS, tl.program_id(0) % HEADS
    begin = tl.load(bounds + text)
    length = tl.load(bounds + text + 1) - begin
    asked = tl.minimum(length, 1) if FIRST else length
    m, d = tl.program_id(1) * BM + tl.arange(0, BM), tl.arange(0, D)
    if tl.program_id(1) * BM >= asked:
        return
    qs = tl.load(_rows(q, begin, m, d, q_t, q_h, head), mask=m[:, None] < asked, other=0.0)
    top, total = tl.full((BM,), float("-inf"), tl.float32), tl.zeros((BM,), tl.float32)
    acc = tl.zeros((BM, D), tl.float32)
    if DROP:
        start = tl.load(seed).to(tl.uint32)
        row = row_hash(start, begin + m)
    for n0 in range(0, length, BN):
        n = n0 + tl.arange(0, BN)
        ks = tl.load(_rows(k, begin, n, d, k_t, k_h, head), mask=n[:, None] < length, other=0.0)
        vs = tl.load(_rows(v, begin, n, d, v_t, v_h, head), mask=n[:, None] < length, other=0.0)
        s = tl.where(n[None, :] < length, tl.dot(qs, tl.trans(ks)) * scale, float("-inf"))
        higher = tl.maximum(top, tl.max(s, 1))
        p, shrink = tl.exp2(s - higher[:, None]), tl.exp2(top - higher)
        total = total * shrink + tl.sum(p, 1)
        if DROP:
            p = tl.where(survives(row[:, None] ^ column_hash(start, begin + n, head)[None, :], DROP), p, 0.0)
        acc = tl.dot(p.to(q.dtype.element_ty), vs, acc * shrink[:, None])
        top = higher
    acc = acc / (total * KEPT)[:, None]
    tl.store(_rows(out, begin, m, d, HEADS * D, D, head), acc.to(q.dtype.element_ty), mask=m[:, None] < asked)
    tl.store(lse + head * tokens + begin + m, top + tl.log2(total), mask=m < asked)


@triton.jit(do_not_specialize=["tokens"])
def _dots(out, grad, dots, tokens, kept, HEADS: tl.constexpr, D: tl.constexpr, BM: tl.constexpr):
    """``kept * (out . grad)`` of every token and head: what the gradient of softmax subtracts, times ``kept``."""
    m, d = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, D)
    head = tl.program_id(1)
    inside = m[:, None] < tokens
    os = tl.load(_rows(out, 0, m, d, HEADS * D, D, head), mask=inside, other=0.0).to(tl.float32)
    gs = tl.load(_rows(grad, 0, m, d, HEADS * D, D, head), mask=inside, other=0.0).to(tl.float32)
    tl.store(dots + head * tokens + m, kept * tl.sum(os * gs, 1), mask=m < tokens)


@triton.jit(do_not_specialize=["tokens"])
def _backward(q, k, v, grad, lse, dots, dq, dk, dv, bounds, seed, scale, scale_log2, tokens, q_t, q_h, k_t, k_h, v_t,
              v_h, d_t, HEADS: tl.constexpr, D: tl.constexpr, DROP: tl.constexpr, KEPT: tl.constexpr,
              FIRST: tl.constexpr, BLOCK: tl.constexpr, STEP: tl.constexpr):  # fmt: skip
    """Gradients of a block of keys and values, then of the same block of queries."""
    text, head = (tl.num_programs(0) - 1 - tl.program_id(0)) // HEADS, tl.program_id(0) % HEADS
    begin = tl.load(bounds + text)
    length = tl.load(bounds + text + 1) - begin
    if tl.program_id(1) * BLOCK >= length:
        return
    asked = tl.minimum(length, 1) if FIRST else length
    b, d = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, D)
    inside_b, asked_b = b[:, None] < length, b[:, None] < asked
    lse += head * tokens + begin
    dots += head * tokens + begin
    kb = tl.load(_rows(k, begin, b, d, k_t, k_h, head), mask=inside_b, other=0.0)
    vb = tl.load(_rows(v, begin, b, d, v_t, v_h, head), mask=inside_b, other=0.0)
    dk_acc, dv_acc = tl.zeros((BLOCK, D), tl.float32), tl.zeros((BLOCK, D), tl.float32)
    if DROP:
        start = tl.load(seed).to(tl.uint32)
        hash_b = column_hash(start, begin + b, head)
    for m0 in range(0, asked, STEP):  # (keys, queries)
        m = m0 + tl.arange(0, STEP)
        qs = tl.load(_rows(q, begin, m, d, q_t, q_h, head), mask=m[:, None] < asked, other=0.0)
        gs = tl.load(_rows(grad, begin, m, d, HEADS * D, D, head), mask=m[:, None] < asked, other=0.0)
        ls = tl.load(lse + m, mask=m < asked, other=float("inf"))
        ds = tl.load(dots + m, mask=m < asked, other=0.0)
        p = tl.exp2(tl.dot(kb, tl.trans(qs)) * scale_log2 - ls[None, :])
        dp = tl.dot(vb, tl.trans(gs))
        kept = p
        if DROP:
            keep = survives(hash_b[:, None] ^ row_hash(start, begin + m)[None, :], DROP)
            kept, dp = tl.where(keep, p, 0.0), tl.where(keep, dp, 0.0)
        dv_acc = tl.dot(kept.to(q.dtype.element_ty), gs, dv_acc)
        dk_acc = tl.dot((p * (dp - ds[None, :])).to(q.dtype.element_ty), qs, dk_acc)
    tl.store(_rows(dk, begin, b, d, d_t, D, head), (dk_acc * (scale / KEPT)).to(q.dtype.element_ty), mask=inside_b)
    tl.store(_rows(dv, begin, b, d, d_t, D, head), (dv_acc * (1 / KEPT)).to(q.dtype.element_ty), mask=inside_b)

    qb = tl.load(_rows(q, begin, b, d, q_t, q_h, head), mask=asked_b, other=0.0)
    gb = tl.load(_rows(grad, begin, b, d, HEADS * D, D, head), mask=asked_b, other=0.0)
    lb = tl.load(lse + b, mask=b < asked, other=float("inf"))
    db = tl.load(dots + b, mask=b < asked, other=0.0)
    dq_acc = tl.zeros((BLOCK, D), tl.float32)
    if DROP:
        hash_b = row_hash(start, begin + b)
    until = tl.where(tl.program_id(1) * BLOCK < asked, length, 0)  # a block without queries gets zeros
    for n0 in range(0, until, STEP):  # (queries, keys); keys beyond the end are zero, and so is what they add
        n = n0 + tl.arange(0, STEP)
        ks = tl.load(_rows(k, begin, n, d, k_t, k_h, head), mask=n[:, None] < length, other=0.0)
        vs = tl.load(_rows(v, begin, n, d, v_t, v_h, head), mask=n[:, None] < length, other=0.0)
        p = tl.exp2(tl.dot(qb, tl.trans(ks)) * scale_log2 - lb[:, None])
        p = tl.where(n[None, :] < length, p, 0.0)
        dp = tl.dot(gb, tl.trans(vs))
        if DROP:
            keep = survives(hash_b[:, None] ^ column_hash(start, begin + n, head)[None, :], DROP)
            dp = tl.where(keep, dp, 0.0)
        dq_acc = tl.dot((p * (dp - db[:, None])).to(q.dtype.element_ty), ks, dq_acc)
    tl.store(_rows(dq, begin, b, d, d_t, D, head), (dq_acc * (scale / KEPT)).to(q.dtype.element_ty), mask=inside_b)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, scale: float, p: float,
        seed: Tensor | None, first: bool,
    ) -> Tensor:  # fmt: skip
        tokens, heads, size = q.shape
        out = q.new_zeros(q.shape) if first else q.new_empty(q.shape)
        lse = q.new_empty((heads, tokens), dtype=torch.float32)
        ctx.kinds = {"DROP": threshold(p), "KEPT": 1 - p, "FIRST": first}
        ctx.scale, ctx.seed, ctx.longest = scale, seed, longest
        grid = ((len(bounds) - 1) * heads, 1 if first else triton.cdiv(longest, FORWARD["BM"]))
        _forward[grid](
            q, k, v, out, lse, bounds, seed, scale * math.log2(math.e), tokens, *q.stride()[:2], *k.stride()[:2],
            *v.stride()[:2], HEADS=heads, D=size, **ctx.kinds, **FORWARD,
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, out, lse, bounds)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse, bounds = ctx.saved_tensors
        tokens, heads, size = q.shape
        grad = grads[0].contiguous()
        dq, dk, dv = q.new_empty((tokens, 3, heads, size)).unbind(1)
        dots = torch.empty_like(lse)
        _dots[(triton.cdiv(tokens, 64), heads)](out, grad, dots, tokens, ctx.kinds["KEPT"], HEADS=heads, D=size, BM=64)
        grid = ((len(bounds) - 1) * heads, triton.cdiv(ctx.longest, BACKWARD["BLOCK"]))
        _backward[grid](
            q, k, v, grad, lse, dots, dq, dk, dv, bounds, ctx.seed, ctx.scale, ctx.scale * math.log2(math.e), tokens,
            *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], dq.stride(0), HEADS=heads, D=size, **ctx.kinds,
            **BACKWARD,
        )  # fmt: skip
        return dq, dk, dv, None, None, None, None, None, None


def attention(
    q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, scale: float | None, dropout: float,
    first: bool = False,
) -> Tensor:  # fmt: skip
    """Softmax attention of each text over its own tokens.

    Args:
        q, k, v: (T, heads, size) bf16, the last dimension contiguous; size one of ``HEAD_SIZES``.
        bounds: (n + 1,) int32, where texts begin and end.
        longest: at least the tokens of the longest text.
        scale: of the scores; None: 1 / sqrt(size).
        dropout: of the weights; drawn from torch's generator.
        first: only for each text's first token; the result's other rows are zero.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    seed = dropout_seed(dropout, q.device)
    output: Tensor = _Attention.apply(q, k, v, bounds, longest, scale, dropout, seed, first)
    return output
