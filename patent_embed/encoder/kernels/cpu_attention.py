"""Attention inside each text of a packed row and its gradients, for training on a CPU.

One text at a time: its weights (heads x length x length) then stay in the caches between the passes over them. They are
never stored: the backward pass computes them again, and takes its dropout from the same mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Spans(NamedTuple):
    """Where texts lie: text i asks with the queries ``asked[i]:asked[i + 1]`` for the keys ``keys[i]:keys[i + 1]``."""

    asked: Sequence[int]
    keys: Sequence[int]

    def pairs(self, heads: int) -> int:
        """Weights of all texts and heads: numbers of the mask for their dropout."""
        return heads * sum((b - a) * (d - c) for a, b, c, d in self)  # type: ignore[misc]

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:  # type: ignore[override]
        return zip(self.asked, self.asked[1:], self.keys, self.keys[1:], strict=False)


def attend(q: Tensor, k: Tensor, v: Tensor, spans: Spans, keep: Tensor | None) -> Tensor:
    """``(softmax(q k') * keep) v`` of each text.

    Args:
        q: (heads, queries, size); k, v: (heads, T, size). The scale of the scores is in ``k``.
        keep: int8, 1 where a weight stays and 0 elsewhere, text after text; None: all stay. Nobody scales what stays.

    Returns:
        (heads, queries, size).
    """
    output, work = torch.empty_like(q), _Work(q, spans)
    for asked, keys, place in _places(spans, len(q)):
        weights = work.softmax(q[:, asked], k[:, keys])
        if keep is not None:
            weights.mul_(work.mask(keep[place], weights))
        torch.bmm(weights, v[:, keys], out=output[:, asked])
    return output


def attend_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, spans: Spans, keep: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``q``, ``k`` (with the scale in it) and ``v`` from the ``grad`` of what ``attend`` returned."""
    dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
    work = _Work(q, spans)
    for asked, keys, place in _places(spans, len(q)):
        tq, tk, tv, tgrad = q[:, asked], k[:, keys], v[:, keys], grad[:, asked]
        weights = work.softmax(tq, tk)
        dweights = work.second(weights)
        torch.bmm(tgrad, tv.transpose(1, 2), out=dweights)
        kept = weights
        if keep is not None:
            mask = work.mask(keep[place], weights)
            dweights.mul_(mask)
            kept = mask.mul_(weights)
        torch.bmm(kept.transpose(1, 2), tgrad, out=dv[:, keys])
        torch.ops.aten._softmax_backward_data.out(  # noqa: SLF001 - torch has no public form that writes in place
            dweights, weights, -1, weights.dtype, grad_input=dweights
        )
        torch.bmm(dweights, tk, out=dq[:, asked])
        torch.bmm(dweights.transpose(1, 2), tq, out=dk[:, keys])
    return dq, dk, dv


def _places(spans: Spans, heads: int) -> Iterator[tuple[slice, slice, slice]]:
    """Of each text: its queries, its keys, and its part of the mask."""
    begin = 0
    for first, last, low, high in spans:
        end = begin + heads * (last - first) * (high - low)
        yield slice(first, last), slice(low, high), slice(begin, end)
        begin = end


class _Work:
    """Memory for the weights of the longest text, three times."""

    def __init__(self, q: Tensor, spans: Spans) -> None:
        most = max((len(q) * (b - a) * (d - c) for a, b, c, d in spans), default=0)
        self._memory = q.new_empty((3, most))

    def softmax(self, q: Tensor, k: Tensor) -> Tensor:
        scores = self._memory[0, : len(q) * q.shape[1] * k.shape[1]].view(len(q), q.shape[1], k.shape[1])
        torch.bmm(q, k.transpose(1, 2), out=scores)
        torch.softmax(scores, -1, out=scores)
        return scores

    def second(self, like: Tensor) -> Tensor:
        return self._memory[1, : like.numel()].view(like.shape)

    def mask(self, keep: Tensor, like: Tensor) -> Tensor:
        return self._memory[2, : like.numel()].copy_(keep).view(like.shape)
