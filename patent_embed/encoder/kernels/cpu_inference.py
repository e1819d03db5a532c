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
from torch.nn.functional import gelu, layer_norm, linear, pad, scaled_dot_product_attention
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from patent_embed.encoder.kernels.cpu_fused import encoder_of, linear_groups, plain_layers
from patent_embed.encoder.packing import only_first_tokens
from patent_embed.encoder.padding import calls_of

_SHORT = 128  # tokens up to which plain products take half the time of torch's fused attention
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
        self._layers = [_Layer.of(module, dtype) for module in self._encoder.layer]
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
            for layer in self._layers[:-1]:
                hidden = layer(hidden, calls, None)
            hidden = self._layers[-1](hidden, calls, first)
        hidden = hidden[: bounds[-1]]
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden[None])


@dataclass(frozen=True)
class _Call:
    """Texts whose attention is one call: the tokens ``begin:end`` of the row.

    Attributes:
        texts, longest: how many, and tokens of the longest.
        place: (end - begin,) of each token in the padded batch; None: all are as long as the longest.
        mask: (texts, 1, 1, longest) 0 for a token, -inf for padding; None like ``place``.
    """

    begin: int
    end: int
    texts: int
    longest: int
    place: Tensor | None = None
    mask: Tensor | None = None


def _few_sizes(tokens: int) -> int:
    """The next of the sizes to which rows are filled up: eight between a power of two and the next, none below 8 apart.

    oneDNN makes a program for each shape of a product that it has not seen, and keeps 1024 of them: some milliseconds
    and two MiB for those of a pass, so that a server that sees ever other sizes grows.
    """
    step = max(8, 1 << max(0, tokens.bit_length() - 4))
    return -(-tokens // step) * step


def _calls(bounds: Sequence[int], room: Callable[[int], int] = int) -> Iterator[_Call]:
    """The texts between ``bounds``, the shortest first, in few calls of attention (``calls_of``), whose texts have
    ``room`` for as many tokens."""
    lengths = [end - begin for begin, end in pairwise(bounds)]
    for texts in calls_of(lengths):
        mine = lengths[texts]
        longest = room(mine[-1])
        call = _Call(bounds[texts.start], bounds[texts.stop], len(mine), longest)
        if mine[0] < longest:
            real = torch.arange(longest) < torch.tensor(mine)[:, None]
            mask = torch.zeros(real.shape).masked_fill_(~real, -torch.inf)[:, None, None]
            call = _Call(call.begin, call.end, call.texts, longest, real.ravel().nonzero().ravel(), mask)
        yield call


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
        inner = module.attention.self
        qkv, out, up, down = linear_groups(module)
        return cls(
            _product(qkv, dtype, factors=(inner.scaling, 1.0, 1.0)),
            _product(out, dtype),
            module.attention.output.LayerNorm,
            _product(up, dtype, with_gelu=True),
            _product(down, dtype),
            module.output.LayerNorm,
            inner.num_attention_heads,
        )

    def __call__(self, hidden: Tensor, calls: Sequence[_Call], first: Tensor | None) -> Tensor:
        """(T, hidden) fp32 of the same; with ``first``, only of those tokens."""
        mixed = self._attention(self.qkv(hidden), calls)
        if first is not None:
            mixed, hidden = mixed.index_select(0, first), hidden.index_select(0, first)
        hidden = _normed(hidden + self.out(mixed), self.middle)
        return _normed(hidden + self.down(self.up(hidden)), self.end)

    def _attention(self, qkv: Tensor, calls: Sequence[_Call]) -> Tensor:
        outputs = []
        for call in calls:
            rows = qkv[call.begin : call.end]
            if call.place is not None:
                padded = rows.new_zeros((call.texts * call.longest, rows.shape[1]))
                rows = padded.index_copy_(0, call.place, rows)
            shape = (call.texts, call.longest, 3, self.heads, rows.shape[1] // 3 // self.heads)
            q, k, v = rows.view(shape).permute(2, 0, 3, 1, 4)
            mixed = (_mixed_long if call.longest > _SHORT else _mixed)(q, k, v, call.mask)
            mixed = mixed.transpose(1, 2).reshape(call.texts * call.longest, -1)
            outputs.append(mixed if call.place is None else mixed.index_select(0, call.place))
        if (filling := len(qkv) - calls[-1].end) > 0:
            outputs.append(outputs[-1].new_zeros((filling, outputs[-1].shape[1])))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _mixed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention, (texts, heads, longest, size), of queries whose weights have its scale."""
    flat = (q.shape[0] * q.shape[1], *q.shape[2:])
    scores = torch.bmm(q.reshape(flat), k.reshape(flat).transpose(1, 2)).float()
    if mask is not None:
        scores.view(*q.shape[:3], -1).add_(mask)
    return torch.bmm(scores.softmax(-1).to(v.dtype), v.reshape(flat)).view(q.shape)


def _mixed_long(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.to(q.dtype), scale=1.0)


def _normed(rows: Tensor, norm: nn.LayerNorm) -> Tensor:
    return layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _product(
    layers: Sequence[Any], dtype: torch.dtype, *, factors: Sequence[float] = (1.0,), with_gelu: bool = False
) -> Callable[[Tensor], Tensor]:
    """The linear layers of one input, each times its factor, as one product, with weights as oneDNN or, fp16, FBGEMM
    reads them fastest where it is there."""
    parts = list(zip(layers, factors, strict=True))
    weight = torch.cat([layer.weight.detach() * factor for layer, factor in parts])
    none = [torch.zeros(layer.out_features) for layer in layers]
    biases = [zeros if layer.bias is None else layer.bias for layer, zeros in zip(layers, none, strict=True)]
    bias = torch.cat([each.detach() * factor for each, factor in zip(biases, factors, strict=True)])
    if dtype == torch.float16:
        return _by_halves(weight, bias, with_gelu)
    weight, bias = weight.to(dtype), bias.to(dtype)
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return lambda rows: _plain(rows.to(dtype), weight, bias, with_gelu)
    # What torch's own compiler writes for a linear layer whose weights are frozen.
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, _LAID_OUT_FOR)  # noqa: SLF001
    end: tuple[str, list[float], str] = ("gelu", [], "none") if with_gelu else ("none", [], "")
    return lambda rows: torch.ops.mkldnn._linear_pointwise(rows.to(dtype), packed, bias, *end)  # noqa: SLF001


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
