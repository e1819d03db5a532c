"""Attention inside each text of a packed row, with dropout, as Triton kernels for training on a GPU.

Flash attention (Dao, arXiv 2307.08691) for short texts. Its backward pass computes the scores twice, for the gradients
of keys and values and for those of queries: nothing is summed by atomic operations, so that gradients are the same in
every run, and small tiles suit short texts. Dropout is drawn from a hash of (seed, query, key, head) and never stored.
"""

# Triton comes with torch's CUDA builds only, and its language is not typed.
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from __future__ import annotations

import math
from typing import Any, NamedTuple

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


@triton.jit
def _seen(query, key, length, CAUSAL: tl.constexpr):
    """Whether a query reads a key of its text."""
    inside = key < length
    if CAUSAL:
        inside = inside & (key <= query)
    return inside


@triton.jit(do_not_specialize=["tokens"])
def _forward(q, k, v, out, lse, bounds, seed, scale, tokens, q_t, q_h, k_t, k_h, v_t, v_h, HEADS: tl.constexpr,
             GROUP: tl.constexpr, D: tl.constexpr, CAUSAL: tl.constexpr, DROP: tl.constexpr, KEPT: tl.constexpr,
             FIRST: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):  # fmt: skip
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
    until = tl.minimum(length, (tl.program_id(1) + 1) * BM) if CAUSAL else length
    for n0 in range(0, until, BN):
        n = n0 + tl.arange(0, BN)
        ks = tl.load(_rows(k, begin, n, d, k_t, k_h, head // GROUP), mask=n[:, None] < length, other=0.0)
        vs = tl.load(_rows(v, begin, n, d, v_t, v_h, head // GROUP), mask=n[:, None] < length, other=0.0)
        s = tl.where(_seen(m[:, None], n[None, :], length, CAUSAL), tl.dot(qs, tl.trans(ks)) * scale, float("-inf"))
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


@triton.jit
def _gradients_of_queries(q, k, v, grad, lse, dots, dq, start, begin, first, asked, length, shared_head, scale,
                          scale_log2, tokens, q_t, q_h, k_t, k_h, v_t, v_h, d_t, HEADS: tl.constexpr,
                          GROUP: tl.constexpr, D: tl.constexpr, CAUSAL: tl.constexpr, DROP: tl.constexpr,
                          KEPT: tl.constexpr, BLOCK: tl.constexpr, STEP: tl.constexpr):  # fmt: skip
    """Of the block of a text at ``first``, in all heads that share ``shared_head``'s keys and values."""
    b, d = first + tl.arange(0, BLOCK), tl.arange(0, D)
    inside_b, asked_b = b[:, None] < length, b[:, None] < asked
    until = tl.where(first < asked, length, 0)  # a block without queries gets zeros
    if CAUSAL:
        until = tl.minimum(until, first + BLOCK)
    if DROP:
        hash_b = row_hash(start, begin + b)
    for head in range(shared_head * GROUP, (shared_head + 1) * GROUP):
        qb = tl.load(_rows(q, begin, b, d, q_t, q_h, head), mask=asked_b, other=0.0)
        gb = tl.load(_rows(grad, begin, b, d, HEADS * D, D, head), mask=asked_b, other=0.0)
        lb = tl.load(lse + head * tokens + b, mask=b < asked, other=float("inf"))
        db = tl.load(dots + head * tokens + b, mask=b < asked, other=0.0)
        dq_acc = tl.zeros((BLOCK, D), tl.float32)
        for n0 in range(0, until, STEP):  # (queries, keys); keys beyond the end are zero, and so is what they add
            n = n0 + tl.arange(0, STEP)
            ks = tl.load(_rows(k, begin, n, d, k_t, k_h, shared_head), mask=n[:, None] < length, other=0.0)
            vs = tl.load(_rows(v, begin, n, d, v_t, v_h, shared_head), mask=n[:, None] < length, other=0.0)
            p = tl.exp2(tl.dot(qb, tl.trans(ks)) * scale_log2 - lb[:, None])
            p = tl.where(_seen(b[:, None], n[None, :], length, CAUSAL), p, 0.0)
            dp = tl.dot(gb, tl.trans(vs))
            if DROP:
                keep = survives(hash_b[:, None] ^ column_hash(start, begin + n, head)[None, :], DROP)
                dp = tl.where(keep, dp, 0.0)
            dq_acc = tl.dot((p * (dp - db[:, None])).to(q.dtype.element_ty), ks, dq_acc)
        of_queries = _rows(dq, begin, b, d, d_t, D, head)
        tl.store(of_queries, (dq_acc * (scale / KEPT)).to(q.dtype.element_ty), mask=inside_b)


@triton.jit(do_not_specialize=["tokens"])
def _backward(q, k, v, grad, lse, dots, dq, dk, dv, bounds, seed, scale, scale_log2, tokens, q_t, q_h, k_t, k_h, v_t,
              v_h, d_t, HEADS: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, CAUSAL: tl.constexpr,
              DROP: tl.constexpr, KEPT: tl.constexpr, FIRST: tl.constexpr, BLOCK: tl.constexpr,
              STEP: tl.constexpr):  # fmt: skip
    """Gradients of a block of keys and values, then of the same block of the queries that read them.

    Where a query reads what is before it, the later blocks have fewer queries to read and more keys: all take as long.
    """
    shared = HEADS // GROUP  # heads of keys and values
    text, shared_head = (tl.num_programs(0) - 1 - tl.program_id(0)) // shared, tl.program_id(0) % shared
    begin = tl.load(bounds + text)
    length = tl.load(bounds + text + 1) - begin
    first = tl.program_id(1) * BLOCK
    if first >= length:
        return
    asked = tl.minimum(length, 1) if FIRST else length
    b, d = first + tl.arange(0, BLOCK), tl.arange(0, D)
    inside_b = b[:, None] < length
    lse += begin
    dots += begin
    kb = tl.load(_rows(k, begin, b, d, k_t, k_h, shared_head), mask=inside_b, other=0.0)
    vb = tl.load(_rows(v, begin, b, d, v_t, v_h, shared_head), mask=inside_b, other=0.0)
    dk_acc, dv_acc = tl.zeros((BLOCK, D), tl.float32), tl.zeros((BLOCK, D), tl.float32)
    start = tl.load(seed).to(tl.uint32) if DROP else 0
    for head in range(shared_head * GROUP, (shared_head + 1) * GROUP):
        if DROP:
            hash_b = column_hash(start, begin + b, head)
        for m0 in range(first if CAUSAL else 0, asked, STEP):  # (keys, queries)
            m = m0 + tl.arange(0, STEP)
            qs = tl.load(_rows(q, begin, m, d, q_t, q_h, head), mask=m[:, None] < asked, other=0.0)
            gs = tl.load(_rows(grad, begin, m, d, HEADS * D, D, head), mask=m[:, None] < asked, other=0.0)
            ls = tl.load(lse + head * tokens + m, mask=m < asked, other=float("inf"))
            ds = tl.load(dots + head * tokens + m, mask=m < asked, other=0.0)
            p = tl.exp2(tl.dot(kb, tl.trans(qs)) * scale_log2 - ls[None, :])
            if CAUSAL:
                p = tl.where(b[:, None] <= m[None, :], p, 0.0)
            dp = tl.dot(vb, tl.trans(gs))
            kept = p
            if DROP:
                keep = survives(hash_b[:, None] ^ row_hash(start, begin + m)[None, :], DROP)
                kept, dp = tl.where(keep, p, 0.0), tl.where(keep, dp, 0.0)
            dv_acc = tl.dot(kept.to(q.dtype.element_ty), gs, dv_acc)
            dk_acc = tl.dot((p * (dp - ds[None, :])).to(q.dtype.element_ty), qs, dk_acc)
    of_keys = _rows(dk, begin, b, d, d_t, D, shared_head)
    tl.store(of_keys, (dk_acc * (scale / KEPT)).to(q.dtype.element_ty), mask=inside_b)
    of_values = _rows(dv, begin, b, d, d_t, D, shared_head)
    tl.store(of_values, (dv_acc * (1 / KEPT)).to(q.dtype.element_ty), mask=inside_b)
    _gradients_of_queries(
        q, k, v, grad, lse, dots, dq, start, begin, first, asked, length, shared_head, scale, scale_log2, tokens, q_t,
        q_h, k_t, k_h, v_t, v_h, d_t, HEADS, GROUP, D, CAUSAL, DROP, KEPT, BLOCK, STEP,
    )  # fmt: skip


class Asked(NamedTuple):
    """What attention is asked for.

    Attributes:
        bounds: (n + 1,) int32, where texts begin and end.
        longest: at least the tokens of the longest text.
        scale: of the scores.
        dropout: of the weights; its seed lies at ``seed``.
        causal: a token reads what is not behind it.
        first: only for each text's first token; the result's other rows are zero.
    """

    bounds: Tensor
    longest: int
    scale: float
    dropout: float = 0.0
    seed: Tensor | None = None
    causal: bool = False
    first: bool = False

    def kinds(self, q: Tensor, k: Tensor) -> dict[str, int | float]:
        """The kernels' constants."""
        _, heads, size = q.shape
        return {
            "HEADS": heads, "GROUP": heads // k.shape[1], "D": size, "CAUSAL": self.causal,
            "DROP": threshold(self.dropout), "KEPT": 1 - self.dropout, "FIRST": self.first,
        }  # fmt: skip


def attend(q: Tensor, k: Tensor, v: Tensor, asked: Asked) -> tuple[Tensor, Tensor]:
    """Softmax attention of each text over its own tokens, and the logarithm (base 2) of its sums for the backward pass.

    Args:
        q: (T, heads, size) bf16, the last dimension contiguous; size one of ``HEAD_SIZES``.
        k, v: the same, or of fewer heads, each of which that many query heads in a row read.
    """
    tokens, heads, _ = q.shape
    out = q.new_zeros(q.shape) if asked.first else q.new_empty(q.shape)
    lse = q.new_empty((heads, tokens), dtype=torch.float32)
    grid = ((len(asked.bounds) - 1) * heads, 1 if asked.first else triton.cdiv(asked.longest, FORWARD["BM"]))
    _forward[grid](
        q, k, v, out, lse, asked.bounds, asked.seed, asked.scale * math.log2(math.e), tokens, *q.stride()[:2],
        *k.stride()[:2], *v.stride()[:2], **asked.kinds(q, k), **FORWARD,
    )  # fmt: skip
    return out, lse


def attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, asked: Asked
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``q``, ``k`` and ``v``, views of one tensor (T, all heads, size) in that order."""
    tokens, heads, size = q.shape
    shared, grad = k.shape[1], grad.contiguous()
    dq, dk, dv = q.new_empty((tokens, heads + 2 * shared, size)).split([heads, shared, shared], 1)
    dots = torch.empty_like(lse)
    _dots[(triton.cdiv(tokens, 64), heads)](out, grad, dots, tokens, 1 - asked.dropout, HEADS=heads, D=size, BM=64)
    grid = ((len(asked.bounds) - 1) * shared, triton.cdiv(asked.longest, BACKWARD["BLOCK"]))
    _backward[grid](
        q, k, v, grad, lse, dots, dq, dk, dv, asked.bounds, asked.seed, asked.scale, asked.scale * math.log2(math.e),
        tokens, *q.stride()[:2], *k.stride()[:2], *v.stride()[:2], dq.stride(0), **asked.kinds(q, k), **BACKWARD,
    )  # fmt: skip
    return dq, dk, dv


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, asked: Asked) -> Tensor:
        out, lse = attend(q, k, v, asked)
        ctx.asked = asked
        ctx.save_for_backward(q, k, v, out, lse)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        return *attend_backward(grads[0], q, k, v, out, lse, ctx.asked), None


def attention(
    q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int, scale: float | None, dropout: float,
    first: bool = False, causal: bool = False,
) -> Tensor:  # fmt: skip
    """``attend`` with its gradients; ``scale`` None: 1 / sqrt(size). Dropout is drawn from torch's generator."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    asked = Asked(bounds, longest, scale, dropout, dropout_seed(dropout, q.device), causal, first)
    output: Tensor = _Attention.apply(q, k, v, asked)
    return output
