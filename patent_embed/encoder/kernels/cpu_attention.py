"""Attention inside each text of a packed row and its gradients, for training on a CPU.

One text at a time: what is computed of it then stays in the caches between the passes over it, and is not stored. The
backward pass computes the weights again and takes their dropout from the same mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Spans(NamedTuple):
    """n texts: text i asks with the queries ``asked[i]:asked[i + 1]`` for the tokens ``tokens[i]:tokens[i + 1]``, all
    of them or its first ones."""

    asked: Sequence[int]
    tokens: Sequence[int]

    def pairs(self, heads: int) -> int:
        """Weights of all texts and heads: numbers of the mask for their dropout."""
        return sum(text.weights(heads) for text in self.texts())

    def texts(self) -> Iterator[_Text]:
        """One after the other."""
        for bounds in zip(self.asked, self.asked[1:], self.tokens, self.tokens[1:], strict=False):
            yield _Text(*bounds)


class _Text(NamedTuple):
    first: int
    last: int
    low: int
    high: int

    def weights(self, heads: int) -> int:
        return heads * (self.last - self.first) * (self.high - self.low)


def attend(qkv: Tensor, heads: int, spans: Spans, keep: Tensor | None, factor: float) -> Tensor:
    """``factor * (softmax(q k') * keep) v`` of each text.

    Args:
        qkv: (T, 3 * heads * size), query, key and value side by side; the scale of the scores is in one of them.
        keep: int8, 1 where a weight stays and 0 elsewhere, text after text; None: all stay.

    Returns:
        (queries, heads * size).
    """
    work, place = _Work(qkv, heads, spans), 0
    output = qkv.new_empty((spans.asked[-1], qkv.shape[1] // 3))
    for text in spans.texts():
        q, k, v = work.inputs(qkv, text)
        weights = work.softmax(q, k)
        if keep is not None:
            weights.mul_(
                work.of("mask", weights.shape).copy_(keep[place : place + weights.numel()].view(weights.shape))
            )
            place += weights.numel()
        mixed = torch.bmm(weights, v, out=work.of("mixed", q.shape))
        torch.mul(mixed.transpose(0, 1), factor, out=output[text.first : text.last].view(-1, heads, work.size))
    return output


def attend_backward(grad: Tensor, qkv: Tensor, heads: int, spans: Spans, keep: Tensor | None, factor: float) -> Tensor:
    """The gradient of ``qkv`` from the ``grad`` of what ``attend`` returned."""
    work, place = _Work(qkv, heads, spans), 0
    output = torch.empty_like(qkv)
    for text in spans.texts():
        q, k, v = work.inputs(qkv, text)
        dmixed = work.of("mixed", q.shape)
        torch.mul(grad[text.first : text.last].view(-1, heads, work.size).transpose(0, 1), factor, out=dmixed)
        weights = work.softmax(q, k)
        dweights = torch.bmm(dmixed, v.transpose(1, 2), out=work.of("dweights", weights.shape))
        kept = weights
        if keep is not None:
            mask = work.of("mask", weights.shape)
            mask.copy_(keep[place : place + weights.numel()].view(weights.shape))
            place += weights.numel()
            dweights.mul_(mask)
            kept = mask.mul_(weights)
        dq, dk, dv = work.of("dq", q.shape), work.of("dk", k.shape), work.of("dv", v.shape)
        torch.bmm(kept.transpose(1, 2), dmixed, out=dv)
        torch.ops.aten._softmax_backward_data.out(  # noqa: SLF001 - torch has no public form that writes in place
            dweights, weights, -1, weights.dtype, grad_input=dweights
        )
        torch.bmm(dweights, k, out=dq)
        torch.bmm(dweights.transpose(1, 2), q, out=dk)
        rows = output[text.low : text.high].view(-1, 3, heads, work.size)
        asked = text.last - text.first
        rows[:asked, 0], rows[asked:, 0] = dq.transpose(0, 1), 0
        rows[:, 1], rows[:, 2] = dk.transpose(0, 1), dv.transpose(0, 1)
    return output


class _Work:
    """Memory by name for what is computed of one text."""

    def __init__(self, qkv: Tensor, heads: int, spans: Spans) -> None:
        self._heads, self.size = heads, qkv.shape[1] // 3 // heads
        longest = max((text.high - text.low for text in spans.texts()), default=0)
        most = max((text.weights(heads) for text in spans.texts()), default=0)
        sizes = dict.fromkeys(("q", "k", "v", "mixed", "dq", "dk", "dv"), longest * heads * self.size)
        sizes |= dict.fromkeys(("weights", "dweights", "mask"), most)
        self._memory = dict(zip(sizes, qkv.new_empty(sum(sizes.values())).split(list(sizes.values())), strict=True))

    def of(self, name: str, shape: torch.Size) -> Tensor:
        """A tensor of ``shape``; what it holds is anybody's."""
        return self._memory[name][: shape.numel()].view(shape)

    def inputs(self, qkv: Tensor, text: _Text) -> list[Tensor]:
        """The text's query, key and value, each (heads, tokens, size) and contiguous, as products want them."""
        asked, tokens = text.last - text.first, text.high - text.low
        rows = qkv[text.low : text.high].view(tokens, 3, self._heads, self.size)
        return [
            self.of(name, torch.Size((self._heads, count, self.size))).copy_(rows[:count, number].transpose(0, 1))
            for number, (name, count) in enumerate((("q", asked), ("k", tokens), ("v", tokens)))
        ]

    def softmax(self, q: Tensor, k: Tensor) -> Tensor:
        """(heads, queries, tokens)."""
        scores = self.of("weights", torch.Size((len(q), q.shape[1], k.shape[1])))
        torch.bmm(q, k.transpose(1, 2), out=scores)
        return torch.softmax(scores, -1, out=scores)
