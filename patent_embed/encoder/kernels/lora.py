"""LoRA layers and the residual norm after them as differentiable functions over the kernels of ``launches``."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING or importlib.util.find_spec("triton") is not None:
    from patent_embed.encoder.kernels import gpu_dropout, launches


def lora_linears(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    adapters: Sequence[tuple[Tensor, Tensor]],
    scale: float,
    dropout: float,
    gelu: bool = False,
) -> tuple[Tensor, ...]:
    """``x W' + bias + scale * dropout(x) A' B'`` of each layer; ``W`` and ``bias`` are frozen.

    Args:
        x: (..., k) bf16.
        weight: (n, k) bf16, the layers' ``W`` under one another, n the sum of theirs; bias: (n,) bf16.
        adapters: (A, B) of each layer: A (r, k) and B (its n, r), fp32.
        gelu: ``GELU(x)`` takes the place of ``x``.

    Returns:
        the layers' outputs, and ``x``: who reads it from here has his gradient added to theirs at no cost.
    """
    flat = [tensor for pair in adapters for tensor in pair]
    seed = gpu_dropout.dropout_seed(dropout, x.device)
    outputs: tuple[Tensor, ...] = _LoraLinears.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, scale, dropout, seed, gelu, *flat
    )
    return outputs


def residual_norm(y: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, dropout: float) -> Tensor:
    """``LayerNorm(dropout(y) + residual)`` over the last dimension, with frozen ``weight`` and ``bias``; all bf16."""
    z: Tensor = _ResidualNorm.apply(  # type: ignore[no-untyped-call]
        y, residual, weight, bias, eps, dropout, gpu_dropout.dropout_seed(dropout, y.device)
    )
    return z


class _LoraLinears(torch.autograd.Function):
    """Layers of one input as one: their ``A`` stand under one another and their ``B`` on a diagonal of blocks."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, scale: float, p: float, seed: Tensor | None,
        gelu: bool, *adapters: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        downs, ups = adapters[::2], adapters[1::2]
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        ctx.factor, ctx.dropout, ctx.shape = scale / (1 - p), (p, seed), x.shape
        down, up = downs[0], ups[0]
        if len(ups) > 1:
            down, up = torch.cat(downs), torch.block_diag(*ups)  # type: ignore[no-untyped-call]
        before, rows = rows, torch.empty_like(rows) if gelu else rows
        h = launches.project(before, down, ctx.factor, p, seed, rows if gelu else None)
        y = launches.linear(rows, weight, bias, h, up)
        ctx.save_for_backward(rows, h, down, up, weight, before if gelu else None)
        ctx.blocks = [tuple(each.shape) for each in ups]
        ctx.set_materialize_grads(False)
        parts = torch.split(y, [len(each) for each in ups], 1)
        return *(part.view(*x.shape[:-1], -1) for part in parts), x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, h, down, up, weight, before = ctx.saved_tensors
        again, (p, seed) = grads[-1], ctx.dropout
        dy = _side_by_side([grad.reshape(len(rows), -1) for grad in grads[:-1]])
        dh, dups = launches.up_backward(dy, up, h, ctx.factor, ctx.blocks)
        ddowns = torch.split(launches.outer(dh, rows, p, seed), [rank for _, rank in ctx.blocks])
        dx = None
        if ctx.needs_input_grad[0]:
            if before is None:
                beside = None if again is None else again.reshape(rows.shape).contiguous()
                dx = launches.expand(dh, down, None, p, seed, beside).addmm_(dy, weight)
            else:
                dx = launches.expand_through_gelu(dy @ weight, before, dh, down, p, seed)
                dx = dx if again is None else dx.add_(again.reshape(rows.shape))
            dx = dx.view(ctx.shape)
        adapters = [grad for pair in zip(ddowns, dups, strict=True) for grad in pair]
        return dx, None, None, None, None, None, None, *adapters


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """``torch.cat(parts, 1)`` of (rows, n) tensors; no copy where they lie so already, as attention leaves them."""
    first, width, place = parts[0], sum(part.shape[1] for part in parts), parts[0].storage_offset()
    for part in parts:
        same = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (same and part.stride() == (width, 1) and part.storage_offset() == place):
            return torch.cat(list(parts), 1)
        place += part.shape[1]
    return first.as_strided((len(first), width), (width, 1))


class _ResidualNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, y: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, p: float, seed: Tensor | None
    ) -> Tensor:
        out, z, mean, rstd = launches.residual_norm(y.contiguous(), residual.contiguous(), weight, bias, eps, p, seed)
        ctx.save_for_backward(z, mean, rstd, weight)
        ctx.dropout = (p, seed)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dy, dresidual = launches.residual_norm_backward(grads[0].contiguous(), *ctx.saved_tensors, *ctx.dropout)
        return dy, dresidual, None, None, None, None, None
