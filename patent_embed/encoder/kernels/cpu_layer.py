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
from typing import Any

import torch
from torch import Tensor, nn

from patent_embed.encoder.kernels.cpu_attention import Spans, attend, attend_backward
from patent_embed.encoder.kernels.cpu_dropout import keep_mask, kept_share


class Scratch:
    """Memory by name for what does not outlive a call: the same pages each time."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype, self._memory = dtype, {}  # type: torch.dtype, dict[str, Tensor]

    def __call__(self, name: str, rows: int, columns: int) -> Tensor:
        """(rows, columns); what it holds is anybody's."""
        memory = self._memory.get(name)
        if memory is None or memory.numel() < rows * columns:
            memory = self._memory[name] = torch.empty(rows * columns, dtype=self._dtype)
        return memory[: rows * columns].view(rows, columns)

    def mask(self, rows: int, columns: int, p: float, seed: int) -> Tensor:
        """1 with probability ``1 - p``, else 0: the same for the same seed."""
        return self("mask", rows, columns).copy_(keep_mask(torch.Size((rows, columns)), p, seed).view(torch.int8))


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
            bases, self._weight.split(outputs, 1), self._bias.split(outputs), factors, strict=True
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

    def __call__(self, x: Tensor, p: float, seed: int) -> tuple[Tensor, Tensor]:
        """``y`` (T, n) and the adapters' ``h`` (T, rank), of ``x`` (T, k)."""
        both = self._scratch("input", len(x), self.inputs + self.rank)
        rows, h = self._active(x), both[:, self.inputs :]
        both[:, : self.inputs] = rows
        if self.rank:
            h.copy_(self._dropped(rows, self._mask(x, p, seed)) @ self._down.t())
        return torch.addmm(self._bias, both, self._weight), h.clone()

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
                dx = dx.add_(more) if mask is None else dx.addcmul_(more, mask)
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
        return self._scratch.mask(*x.shape, p, seed) if p else None

    def _dropped(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``x`` with zeros; what stays is not scaled, since ``A`` is."""
        return x if mask is None else torch.mul(x, mask, out=self._scratch("more", *x.shape))


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

    def __call__(self, s: Tensor, spans: Spans, first: Tensor | None) -> Tensor:
        """The residual sum before the layer's last LayerNorm, (queries, hidden).

        Args:
            s: (T, hidden), what ``before`` reads.
            spans: where texts lie.
            first: the queries' tokens, where not all of them ask.
        """
        rates = (*(linears.dropout for linears in self.linears), *map(rate, self.dropouts))
        seed = int(torch.randint(2**62, ())) if any(rates) else 0
        parameters = [parameter for linears in self.linears for parameter in linears.parameters]
        result: Tensor = _Forward.apply(s, self, spans, first, rates, seed, *parameters)  # type: ignore[no-untyped-call]
        return result


def rate(dropout: nn.Module | None) -> float:
    """Of a dropout layer, as it is now."""
    return float(getattr(dropout, "p", 0.0)) if dropout is not None and dropout.training else 0.0


def _normed(s: Tensor, norm: nn.LayerNorm | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    if norm is None:
        return s, None, None
    return torch.native_layer_norm(s, norm.normalized_shape, norm.weight.to(s.dtype), norm.bias.to(s.dtype), norm.eps)


def _norm_backward(grad: Tensor, s: Tensor, mean: Tensor, rstd: Tensor, norm: nn.LayerNorm) -> Tensor:
    weight, bias = norm.weight.to(s.dtype), norm.bias.to(s.dtype)
    gradient: Tensor = torch.ops.aten.native_layer_norm_backward(
        grad, s, norm.normalized_shape, mean, rstd, weight, bias, [True, False, False]
    )[0]
    return gradient


class _Forward(torch.autograd.Function):
    """``rates``: dropout of the four products' adapters, of attention's weights and of the two sums."""

    @staticmethod
    def forward(
        ctx: Any, s: Tensor, layer: Layer, spans: Spans, first: Tensor | None, rates: Sequence[float], seed: int,
        *parameters: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.layer, ctx.spans, ctx.first, ctx.rates, ctx.seed = layer, spans, first, rates, seed
        x, *_ = _normed(s, layer.before)
        qkv, h_qkv = layer.qkv(x, rates[0], seed)
        mixed = attend(qkv, layer.heads, spans, _attention_mask(ctx), 1 / kept_share(rates[4]))
        x = x if first is None else x.index_select(0, first)
        y, h_out = layer.out(mixed, rates[1], seed + 1)
        s1 = _residual(layer, x, y, rates[5], seed + 5)
        x, *_ = _normed(s1, layer.middle)
        wide, h_up = layer.up(x, rates[2], seed + 2)
        y, h_down = layer.down(wide, rates[3], seed + 3)
        ctx.save_for_backward(s, qkv, mixed, s1, wide, h_qkv, h_out, h_up, h_down)
        return _residual(layer, x, y, rates[6], seed + 6)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        layer, rates, seed = ctx.layer, ctx.rates, ctx.seed
        s, qkv, mixed, s1, wide, h_qkv, h_out, h_up, h_down = ctx.saved_tensors
        ds = grads[0].contiguous()
        dy = _dropped(layer, ds, rates[6], seed + 6)
        dwide, of_down = layer.down.backward(dy, wide, h_down, rates[3], seed + 3)
        x, mean, rstd = _normed(s1, layer.middle)
        dx, of_up = layer.up.backward(dwide, x, h_up, rates[2], seed + 2)
        ds = _norm_backward(dx + ds, s1, mean, rstd, layer.middle)
        dy = _dropped(layer, ds, rates[5], seed + 5)
        dmixed, of_out = layer.out.backward(dy, mixed, h_out, rates[1], seed + 1)
        dy = attend_backward(dmixed, qkv, layer.heads, ctx.spans, _attention_mask(ctx), 1 / kept_share(rates[4]))
        x, mean, rstd = _normed(s, layer.before)
        needed = ctx.needs_input_grad[0]
        dx, of_qkv = layer.qkv.backward(dy, x, h_qkv, rates[0], seed, needed)
        if needed:
            dx = dx + ds if ctx.first is None else dx.index_add(0, ctx.first, ds)
            dx = dx if layer.before is None else _norm_backward(dx, s, mean, rstd, layer.before)
        return dx, None, None, None, None, None, *of_qkv, *of_out, *of_up, *of_down


def _attention_mask(ctx: Any) -> Tensor | None:
    p = ctx.rates[4]
    if not p:
        return None
    return keep_mask(torch.Size((ctx.spans.pairs(ctx.layer.heads),)), p, ctx.seed + 4).view(torch.int8)


def _residual(layer: Layer, x: Tensor, y: Tensor, p: float, seed: int) -> Tensor:
    """``x + dropout(y)``."""
    return torch.addcmul(x, y, layer.scratch.mask(*y.shape, p, seed), value=1 / kept_share(p)) if p else x + y


def _dropped(layer: Layer, grad: Tensor, p: float, seed: int) -> Tensor:
    """The gradient of ``y`` in ``_residual``."""
    return grad.mul(layer.scratch.mask(*grad.shape, p, seed)).mul_(1 / kept_share(p)) if p else grad
