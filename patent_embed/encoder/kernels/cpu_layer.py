"""One BERT layer with LoRA as one differentiable function, for training on a CPU.

Beside the products with the frozen weights, plain PyTorch spends more than half of the time on adding, copying and
masking, and keeps 75 kB of a token a layer (384 wide). Here

- an adapter costs no pass over a layer's output: ``x W' + b + h B'`` is the one product ``[x h] [W B]' + b``, and its
  gradient ``dy [W B]`` gives those of ``x`` and ``h`` together;
- query, key and value are one product, with the scale of attention's scores in its weights, and their adapters read one
  dropped ``x`` (where PEFT draws anew for each);
- what is cheap is computed again in the backward pass: LayerNorms, GELU, attention's weights, and dropout from a seed.
  Kept are 10 times the hidden size of a token (with the usual feed-forward network), without masks.

A layer begins with the LayerNorm that ends the one before it, so that a residual sum is kept once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import torch
from torch import Tensor, nn

from patent_embed.encoder.kernels.cpu_attention import Spans, attend, attend_backward
from patent_embed.encoder.kernels.cpu_dropout import keep_mask, kept_share
from patent_embed.encoder.kernels.cpu_memory import Scratch, Slab, drop


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: ``A`` (r, k), ``B`` (n, r) and its factor."""

    down: nn.Parameter
    up: nn.Parameter
    scale: float


class Linears:
    """Frozen linear layers of one input, with or without adapters, as one product.

    Args:
        bases: the layers, of k inputs each.
        adapters: of each; None where it has none. dropout: of their common input.
        factors: of each layer's output.
        gelu: the input's GELU takes its place.
    """

    def __init__(
        self,
        bases: Sequence[nn.Linear],
        adapters: Sequence[Adapter | None],
        dropout: nn.Module | None,
        scratch: Scratch,
        dtype: torch.dtype,
        factors: Sequence[float],
        gelu: bool = False,
    ) -> None:
        self._scratch, self._dropout, self._gelu = scratch, dropout, gelu
        self.inputs, outputs = bases[0].in_features, [base.out_features for base in bases]
        self.adapters = [adapter for adapter in adapters if adapter is not None]
        ranks = [len(adapter.down) for adapter in self.adapters]
        self.rank = sum(ranks)
        places = [
            (slice(sum(outputs[:i]), sum(outputs[: i + 1])), factors[i])
            for i, adapter in enumerate(adapters)
            if adapter is not None
        ]
        self._columns, self._factors = [columns for columns, _ in places], [factor for _, factor in places]
        self._ranks = [slice(sum(ranks[:i]), sum(ranks[: i + 1])) for i in range(len(ranks))]
        # Input-major: rows are inputs, those of the adapters' h last.
        self._weight = torch.zeros(self.inputs + self.rank, sum(outputs), dtype=dtype)
        self._bias = torch.zeros(sum(outputs), dtype=dtype)
        for base, weight, bias, factor in zip(
            bases, torch.split(self._weight, outputs, 1), torch.split(self._bias, outputs), factors, strict=True
        ):
            weight[: self.inputs] = base.weight.detach().t() * factor
            if base.bias is not None:
                bias.copy_(base.bias.detach() * factor)
        self._down = torch.empty(self.rank, self.inputs, dtype=dtype)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """A and B of each adapter."""
        return [parameter for adapter in self.adapters for parameter in (adapter.down, adapter.up)]

    @property
    def dropout(self) -> float:
        """Of the adapters' input, now."""
        return rate(self._dropout)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the adapters' weights as they are now."""
        for adapter, columns, ranks, factor in self._placed():
            self._down[ranks] = adapter.down * (adapter.scale / kept_share(self.dropout))
            self._weight[self.inputs :][ranks, columns] = adapter.up.t() * factor

    def __call__(self, x: Tensor, p: float, seed: int, y: Tensor, h: Tensor) -> None:
        """Write ``y`` (T, n) and the adapters' ``h`` (T, rank), of ``x`` (T, k)."""
        both = self._scratch("input", len(x), self.inputs + self.rank)
        rows = self._active(x)
        both[:, : self.inputs] = rows
        if self.rank:
            torch.mm(self._dropped(rows, self._mask(x, p, seed)), self._down.t(), out=h)
            both[:, self.inputs :] = h
        torch.addmm(self._bias, both, self._weight, out=y)

    @overload
    def backward(self, dy: Tensor, x: Tensor, h: Tensor, p: float, seed: int) -> tuple[Tensor, list[Tensor]]: ...

    @overload
    def backward(
        self, dy: Tensor, x: Tensor, h: Tensor, p: float, seed: int, needs_input: bool
    ) -> tuple[Tensor | None, list[Tensor]]: ...

    def backward(
        self, dy: Tensor, x: Tensor, h: Tensor, p: float, seed: int, needs_input: bool = True
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients of ``x``, a view of memory that the next call takes again, and of ``parameters``."""
        both, dx = None, None
        if needs_input:
            both = torch.mm(dy, self._weight.t(), out=self._scratch("gradient", len(x), self.inputs + self.rank))
            dx = both[:, : self.inputs]
        gradients: list[Tensor] = []
        if self.rank:
            dh = (dy @ self._weight[self.inputs :].t()) if both is None else both[:, self.inputs :].contiguous()
            mask = self._mask(x, p, seed)
            ddown, dup = dh.t() @ self._dropped(self._active(x), mask), h.t() @ dy
            for adapter, columns, ranks, factor in self._placed():
                gradients.append(ddown[ranks].float() * (adapter.scale / kept_share(p)))
                gradients.append(dup[ranks, columns].t().float() * factor)
            if dx is not None:
                more = torch.mm(dh, self._down, out=self._scratch("more", *x.shape))
                dx = dx.add_(more if mask is None else drop(more, mask, more))
        if self._gelu and dx is not None:
            dx = torch.ops.aten.gelu_backward.grad_input(dx, x, grad_input=self._scratch("input", *x.shape))
        return dx, gradients

    def _active(self, x: Tensor) -> Tensor:
        """``x``, or its GELU."""
        # Written to memory that is not contiguous, torch's result is wrong.
        return torch.ops.aten.gelu.out(x, out=self._scratch("more", *x.shape)) if self._gelu else x

    def _placed(self) -> Iterator[tuple[Adapter, slice, slice, float]]:
        """Each adapter with its columns of the output, its rows of h and the factor of its layer."""
        return zip(self.adapters, self._columns, self._ranks, self._factors, strict=True)

    def _mask(self, x: Tensor, p: float, seed: int) -> Tensor | None:
        return self._scratch.mask(x.shape, p, seed) if p else None

    def _dropped(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``x`` with zeros; what stays is not scaled, since ``A`` is."""
        return x if mask is None else drop(x, mask, self._scratch("more", *x.shape))


@dataclass(frozen=True)
class Layer:
    """A layer of BERT's kind. ``before``: the LayerNorm that ends the layer before it; the first has none."""

    before: nn.LayerNorm | None
    qkv: Linears
    out: Linears
    middle: nn.LayerNorm
    up: Linears
    down: Linears
    heads: int
    dropouts: tuple[nn.Module, nn.Module, nn.Module]  # of attention's weights and of the two residual sums
    scratch: Scratch

    @property
    def linears(self) -> tuple[Linears, Linears, Linears, Linears]:
        """In the order of ``parameters``."""
        return self.qkv, self.out, self.up, self.down

    @property
    def kept_numbers(self) -> int:
        """Of a token, for the backward pass."""
        rank = sum(linears.rank for linears in self.linears)
        return 2 * self.qkv.inputs + 3 * self.out.inputs + self.out.inputs + self.down.inputs + rank

    @property
    def rates(self) -> tuple[float, ...]:
        """Dropout, as it is now, of the four products' adapters, of attention's weights and of the two sums."""
        return (*(linears.dropout for linears in self.linears), *map(rate, self.dropouts))

    def forward(self, s: Tensor, texts: Texts, seed: int) -> tuple[Tensor, Kept]:
        """The residual sum before the layer's last LayerNorm, (queries, hidden), and what ``backward`` needs.

        Args:
            s: (T, hidden), what ``before`` reads.
            seed: of all dropout; a layer uses the six after it, too.
        """
        rates, slab, count = self.rates, Slab(self.kept_numbers * len(s), s.dtype), texts.spans.asked[-1]
        hidden, rows = self.out.inputs, (len(s), count, count, count)
        qkv, mixed, s1, wide, result = (
            slab(*shape)
            for shape in (
                (len(s), 3 * hidden), (count, hidden), (count, hidden), (count, self.down.inputs), (count, hidden)
            )
        )  # fmt: skip
        h = [slab(length, linears.rank) for length, linears in zip(rows, self.linears, strict=True)]
        kept = Kept(texts, rates, seed, s, qkv, mixed, s1, wide, h)
        x, _ = _normed(s, self.before)
        self.qkv(x, rates[0], seed, qkv, h[0])
        mask = _attention_mask(self.heads, texts.spans, rates[4], seed + 4)
        attend(qkv, self.heads, texts.spans, mask, 1 / kept_share(rates[4]), self.scratch, mixed)
        x = x if texts.first is None else x.index_select(0, texts.first)
        y = self.scratch("y", count, hidden)
        self.out(mixed, rates[1], seed + 1, y, h[1])
        self._residual(x, y, rates[5], seed + 5, s1)
        x, _ = _normed(s1, self.middle)
        self.up(x, rates[2], seed + 2, wide, h[2])
        self.down(wide, rates[3], seed + 3, y, h[3])
        return self._residual(x, y, rates[6], seed + 6, result), kept

    def backward(self, ds: Tensor, kept: Kept, needs_input: bool = True) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients of ``s`` and of the ``parameters`` from that of what ``forward`` returned."""
        texts, rates, seed, s, qkv, mixed, s1, wide, (h_qkv, h_out, h_up, h_down) = kept
        dy = self._dropped(ds, rates[6], seed + 6)
        dwide, of_down = self.down.backward(dy, wide, h_down, rates[3], seed + 3)
        x, stats = _normed(s1, self.middle)
        dx, of_up = self.up.backward(dwide, x, h_up, rates[2], seed + 2)
        ds = _norm_backward(dx + ds, s1, stats, self.middle)
        dy = self._dropped(ds, rates[5], seed + 5)
        dmixed, of_out = self.out.backward(dy, mixed, h_out, rates[1], seed + 1)
        mask = _attention_mask(self.heads, texts.spans, rates[4], seed + 4)
        dy = self.scratch("dqkv", *qkv.shape)
        attend_backward(dmixed, qkv, self.heads, texts.spans, mask, 1 / kept_share(rates[4]), self.scratch, dy)
        x, stats = _normed(s, self.before)
        below, of_qkv = self.qkv.backward(dy, x, h_qkv, rates[0], seed, needs_input)
        if below is not None:
            below = below + ds if texts.first is None else below.index_add(0, texts.first, ds)
            below = below if self.before is None else _norm_backward(below, s, stats, self.before)
        return below, [*of_qkv, *of_out, *of_up, *of_down]

    def _residual(self, x: Tensor, y: Tensor, p: float, seed: int, out: Tensor) -> Tensor:
        """``x + dropout(y)`` in ``out``; ``y`` is overwritten."""
        y = drop(y, self.scratch.mask(y.shape, p, seed), y) if p else y
        return torch.add(x, y, alpha=1 / kept_share(p), out=out)

    def _dropped(self, grad: Tensor, p: float, seed: int) -> Tensor:
        """The gradient of ``y`` in ``_residual``."""
        if not p:
            return grad
        return drop(grad, self.scratch.mask(grad.shape, p, seed), self.scratch("y", *grad.shape)).mul_(
            1 / kept_share(p)
        )


class Texts(NamedTuple):
    """Where the texts of a block lie, and the queries' tokens where not all of them ask."""

    spans: Spans
    first: Tensor | None


class Kept(NamedTuple):
    """Of a layer's forward pass."""

    texts: Texts
    rates: Sequence[float]
    seed: int
    s: Tensor
    qkv: Tensor
    mixed: Tensor
    s1: Tensor
    wide: Tensor
    h: Sequence[Tensor]


def rate(dropout: nn.Module | None) -> float:
    """Of a dropout layer, as it is now."""
    return float(getattr(dropout, "p", 0.0)) if dropout is not None and dropout.training else 0.0


def _normed(s: Tensor, norm: nn.LayerNorm | None) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What the LayerNorm makes of ``s``, and what its backward pass needs."""
    if norm is None:
        return s, ()
    weight, bias = norm.weight.to(s.dtype), norm.bias.to(s.dtype)
    x, *stats = torch.native_layer_norm(s, norm.normalized_shape, weight, bias, norm.eps)
    return x, tuple(stats)


def _norm_backward(grad: Tensor, s: Tensor, stats: tuple[Tensor, ...], norm: nn.LayerNorm) -> Tensor:
    weight, bias = norm.weight.to(s.dtype), norm.bias.to(s.dtype)
    gradient: Tensor = torch.ops.aten.native_layer_norm_backward(
        grad, s, norm.normalized_shape, *stats, weight, bias, [True, False, False]
    )[0]
    return gradient


def _attention_mask(heads: int, spans: Spans, p: float, seed: int) -> Tensor | None:
    return keep_mask(torch.Size((spans.pairs(heads),)), p, seed) if p else None
