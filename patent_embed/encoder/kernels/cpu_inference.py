"""The forward pass of a BERT on a CPU for a few short texts: what a server embeds.

A query of 40 tokens is 1.6 GFLOP, milliseconds of a core, beside which plain PyTorch under autocast casts all weights
to bf16 in each pass, has oneDNN lay them out anew in each product, and calls some 1000 operators. Here weights are cast
and laid out once, query, key and value are one product, GELU is a product's end, and texts of about one length share
one call of attention. The residual sums and the LayerNorms are fp32, as under autocast. The scale of attention's scores
is in the query's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear, pad
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from patent_embed.encoder.kernels.cpu_fused import encoder_of, linear_groups, plain_layers
from patent_embed.encoder.kernels.cpu_script import Call, PackedLayer, attention, scripted
from patent_embed.encoder.packing import only_first_tokens
from patent_embed.encoder.padding import calls_of

_SHORT = 128  # tokens up to which plain products take half the time of torch's fused attention
_Run = Callable[[Tensor, Sequence[Call], Tensor | None], Tensor]
_LAID_OUT_FOR = 64  # rows of the products whose layout oneDNN is asked for; it serves all


def supported(model: nn.Module) -> bool:
    """Whether ``CpuInference`` can run ``model``: a plain BERT, without adapters."""
    try:
        modules = plain_layers(model)
    except LookupError:
        return False
    return all(type(each) is nn.Linear for module in modules for group in linear_groups(module) for each in group)


def keeps_halves() -> bool:
    """Whether this CPU multiplies fp32 by weights that are kept in fp16.

    A pass over a few short texts waits for its weights, which are more than a cache holds; these are half the bytes.
    """
    return "fbgemm" in torch.backends.quantized.supported_engines


class CpuInference:
    """Runs ``model``, which is ``supported``, by this module from ``enter`` on. Its weights must not change then.

    Args:
        dtype: what the weights are kept in: fp32, bf16, in which products then compute, or fp16, with products in fp32
            (see ``keeps_halves``).

    Raises:
        LookupError: ``model`` has no layers of BERT's kind.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self._encoder = encoder_of(model)
        packs = dtype != torch.float16 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        self._run = (_packed_run if packs else _plain_run)(list(self._encoder.layer), dtype)
        self._room = int if dtype == torch.float16 else _few_sizes  # FBGEMM takes any size as it is
        self._last = self._encoder.layer[-1].attention.self

    def enter(self) -> None:
        """From now on."""
        self._encoder.forward = self._forward

    def leave(self) -> None:
        """The model is as it was."""
        del self._encoder.forward

    def _forward(self, hidden_states: Tensor, *_: Any, cu_seq_lens_q: Tensor, **__: Any) -> Any:
        """``BertEncoder.forward`` of a packed row."""
        bounds = cu_seq_lens_q.tolist()
        calls = list(_calls(bounds, self._room))
        first = torch.tensor(bounds[:-1]) if only_first_tokens(self._last) else None
        with torch.autocast("cpu", enabled=False):
            hidden = pad(hidden_states[0].float(), (0, 0, 0, self._room(bounds[-1]) - bounds[-1]))
            hidden = self._run(hidden, calls, first)
        hidden = hidden[: bounds[-1]]
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden[None])


def _few_sizes(tokens: int) -> int:
    """The next of the sizes to which rows are filled up: eight between a power of two and the next, none below 8 apart.

    oneDNN makes a program for each shape of a product that it has not seen, and keeps 1024 of them: some milliseconds
    and two MiB for those of a pass, so that a server that sees ever other sizes grows.
    """
    step = max(8, 1 << max(0, tokens.bit_length() - 4))
    return -(-tokens // step) * step


def _calls(bounds: Sequence[int], room: Callable[[int], int] = int) -> Iterator[Call]:
    """The texts between ``bounds``, the shortest first, in few calls of attention (``calls_of``), whose texts have
    ``room`` for as many tokens."""
    lengths = [end - begin for begin, end in pairwise(bounds)]
    for texts in calls_of(lengths):
        mine = lengths[texts]
        longest = room(mine[-1])
        call = Call(bounds[texts.start], bounds[texts.stop], len(mine), longest)
        if mine[0] < longest:
            real = torch.arange(longest) < torch.tensor(mine)[:, None]
            mask = torch.zeros(real.shape).masked_fill_(~real, -torch.inf)[:, None, None]
            call = Call(call.begin, call.end, call.texts, longest, real.ravel().nonzero().ravel(), mask)
        yield call


def _packed_run(modules: Sequence[Any], dtype: torch.dtype) -> _Run:
    """By oneDNN, in one program."""
    layers, first = [_packed_layer(module, dtype) for module in modules], modules[0]
    run, heads = scripted(), first.attention.self.num_attention_heads
    middle_eps, end_eps = first.attention.output.LayerNorm.eps, first.output.LayerNorm.eps
    return lambda hidden, calls, rows: run(hidden, layers, calls, rows, heads, _SHORT, middle_eps, end_eps)


def _packed_layer(module: Any, dtype: torch.dtype) -> PackedLayer:
    tensors = list[Tensor]()
    for weight, bias in _weights_of(module):
        # What torch's own compiler writes for a linear layer whose weights are frozen.
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), _LAID_OUT_FOR)  # noqa: SLF001
        tensors += [packed, bias.to(dtype)]
    for norm in (module.attention.output.LayerNorm, module.output.LayerNorm):
        tensors += [norm.weight.detach(), norm.bias.detach()]
    return PackedLayer(*tensors)


def _plain_run(modules: Sequence[Any], dtype: torch.dtype) -> _Run:
    """Layer by layer: by FBGEMM, whose weights are no tensors, or where oneDNN is not there."""
    layers = [_Layer.of(module, dtype) for module in modules]

    def run(hidden: Tensor, calls: Sequence[Call], first: Tensor | None) -> Tensor:
        for layer in layers[:-1]:
            hidden = layer(hidden, calls, None)
        return layers[-1](hidden, calls, first)

    return run


@dataclass(frozen=True)
class _Layer:
    """A layer of BERT's kind, each product with its weights laid out."""

    qkv: Callable[[Tensor], Tensor]
    out: Callable[[Tensor], Tensor]
    middle: nn.LayerNorm
    up: Callable[[Tensor], Tensor]
    down: Callable[[Tensor], Tensor]
    end: nn.LayerNorm
    heads: int

    @classmethod
    def of(cls, module: Any, dtype: torch.dtype) -> _Layer:
        qkv, out, up, down = _weights_of(module)
        return cls(
            _product(*qkv, dtype),
            _product(*out, dtype),
            module.attention.output.LayerNorm,
            _product(*up, dtype, with_gelu=True),
            _product(*down, dtype),
            module.output.LayerNorm,
            module.attention.self.num_attention_heads,
        )

    def __call__(self, hidden: Tensor, calls: Sequence[Call], first: Tensor | None) -> Tensor:
        """(T, hidden) fp32 of the same; with ``first``, only of those tokens."""
        mixed = attention(self.qkv(hidden), list(calls), self.heads, _SHORT)
        if first is not None:
            mixed, hidden = mixed.index_select(0, first), hidden.index_select(0, first)
        hidden = _normed(hidden + self.out(mixed), self.middle)
        return _normed(hidden + self.down(self.up(hidden)), self.end)


def _normed(rows: Tensor, norm: nn.LayerNorm) -> Tensor:
    return layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _weights_of(module: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of a layer's four products, fp32; the first is query, key and value, attention's scale in the
    first third."""
    for group in linear_groups(module):
        layers: Sequence[Any] = group
        factors = (module.attention.self.scaling, 1.0, 1.0) if len(layers) == 3 else (1.0,)
        biases = [torch.zeros(each.out_features) if each.bias is None else each.bias.detach() for each in layers]
        yield (
            torch.cat([each.weight.detach() * factor for each, factor in zip(layers, factors, strict=True)]),
            torch.cat([bias * factor for bias, factor in zip(biases, factors, strict=True)]),
        )


def _product(
    weight: Tensor, bias: Tensor, dtype: torch.dtype, *, with_gelu: bool = False
) -> Callable[[Tensor], Tensor]:
    """A product; with weights in fp16 as FBGEMM reads them fastest."""
    if dtype == torch.float16:
        return _by_halves(weight, bias, with_gelu)
    weight, bias = weight.to(dtype), bias.to(dtype)
    return lambda rows: _plain(rows.to(dtype), weight, bias, with_gelu)


def _by_halves(weight: Tensor, bias: Tensor, with_gelu: bool) -> Callable[[Tensor], Tensor]:
    """The product of fp32 rows; with weights in fp32 where many are outside of fp16's range, too large or too small."""
    if not (weight.half().float() - weight).norm() <= 2.0**-11 * weight.norm():
        return lambda rows: _plain(rows, weight, bias, with_gelu)
    halves = torch.ops.quantized.linear_prepack_fp16(weight, bias)

    def product(rows: Tensor) -> Tensor:
        found: Tensor = torch.ops.quantized.linear_dynamic_fp16(rows.contiguous(), halves)
        return gelu(found) if with_gelu else found

    return product


def _plain(rows: Tensor, weight: Tensor, bias: Tensor, with_gelu: bool) -> Tensor:
    found = linear(rows, weight, bias)
    return gelu(found) if with_gelu else found
