"""Attention inside each text of a packed row and its gradients, for training on a CPU.

One text at a time: what is computed of it then stays in the caches between the passes over it, and is not stored. The
backward pass computes the weights again and takes their dropout from the same mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from patent_embed.encoder.kernels.cpu_memory import Scratch, as_mask, drop


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


def attend(
    qkv: Tensor, heads: int, spans: Spans, keep: Tensor | None, factor: float, scratch: Scratch, output: Tensor
) -> None:
    """``factor * (softmax(q k') * keep) v`` of each text, written to ``output`` (queries, heads * size).

    Args:
        qkv: (T, 3 * heads * size), query, key and value side by side; the scale of the scores is in one of them.
        keep: booleans, True where a weight stays, text after text; None: all stay.
    """
    work, place = _Work(qkv, heads, scratch), 0
    for text in spans.texts():
        q, k, v = work.inputs(qkv, text)
        weights = work.softmax(q, k)
        if keep is not None:
            drop(weights, work.mask(weights.shape, keep, place), weights)
            place += weights.numel()
        mixed = torch.bmm(weights, v, out=work.of("mixed", q.shape))
        torch.mul(mixed.transpose(0, 1), factor, out=output[text.first : text.last].view(-1, heads, work.size))


def attend_backward(
    grad: Tensor,
    qkv: Tensor,
    heads: int,
    spans: Spans,
    keep: Tensor | None,
    factor: float,
    scratch: Scratch,
    output: Tensor,
) -> None:
    """The gradient of ``qkv``, written to ``output``, from the ``grad`` of what ``attend`` wrote."""
    work, place = _Work(qkv, heads, scratch), 0
    for text in spans.texts():
        q, k, v = work.inputs(qkv, text)
        dmixed = work.of("mixed", q.shape)
        torch.mul(grad[text.first : text.last].view(-1, heads, work.size).transpose(0, 1), factor, out=dmixed)
        weights = work.softmax(q, k)
        dweights = torch.bmm(dmixed, v.transpose(1, 2), out=work.of("dweights", weights.shape))
        kept = weights
        if keep is not None:
            mask = work.mask(weights.shape, keep, place)
            place += weights.numel()
            drop(dweights, mask, dweights)
            kept = drop(weights, mask, mask.view(weights.dtype))
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


class _Work:
    """Memory by name for what is computed of one text."""

    def __init__(self, qkv: Tensor, heads: int, scratch: Scratch) -> None:
        self._heads, self._scratch, self.size = heads, scratch, qkv.shape[1] // 3 // heads

    def of(self, name: str, shape: torch.Size) -> Tensor:
        """A tensor of ``shape``; what it holds is anybody's."""
        return self._scratch(f"attention {name}", *shape)

    def mask(self, shape: torch.Size, keep: Tensor, place: int) -> Tensor:
        """Those from ``place`` on of ``keep``, for ``drop``."""
        return as_mask(keep[place : place + shape.numel()].view(shape), self.of("mask", shape))

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
        torch.softmax(scores, -1, out=scores)
        return scores
