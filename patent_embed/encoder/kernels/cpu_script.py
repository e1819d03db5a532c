"""The layers of ``cpu_inference`` as one TorchScript program, which does not wait for Python's lock.

A pass calls some thousand operators, and between any two of them Python's lock has to be had again. In a server that
encodes on several cores and answers meanwhile, this takes a tenth of the time.

TorchScript reads the annotations, so they are none of ``from __future__``, and it has no values of the module.
"""

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Call(NamedTuple):
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


class PackedLayer(NamedTuple):
    """A layer of BERT's kind: weights as oneDNN reads them, biases, and the two LayerNorms."""

    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    out_bias: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor
    middle: Tensor
    middle_bias: Tensor
    end: Tensor
    end_bias: Tensor


Run = Callable[[Tensor, Sequence[PackedLayer], Sequence[Call], Tensor | None, int, int, float, float], Tensor]


@functools.cache
def scripted() -> Run:
    """``_run`` by TorchScript, as it is written: without what its executor would try out for shapes that come again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have everything compiled by another compiler
        run: Any = torch.jit.script(_run)

    def without_trials(*given: Any) -> Tensor:
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            found: Tensor = run(*given)
            return found

    return without_trials


def _run(
    hidden: Tensor,
    layers: list[PackedLayer],
    calls: list[Call],
    first: Tensor | None,
    heads: int,
    short: int,
    middle_eps: float,
    end_eps: float,
) -> Tensor:
    """(T, hidden) fp32 of the same; with ``first``, only of those tokens."""
    for number, layer in enumerate(layers):
        dtype, size = layer.qkv_bias.dtype, hidden.shape[1:]
        qkv = torch.ops.mkldnn._linear_pointwise(hidden.to(dtype), layer.qkv, layer.qkv_bias, "none", [], "")  # noqa: SLF001
        mixed = attention(qkv, calls, heads, short)
        if first is not None and number == len(layers) - 1:
            mixed, hidden = mixed.index_select(0, first), hidden.index_select(0, first)
        hidden = hidden + torch.ops.mkldnn._linear_pointwise(mixed, layer.out, layer.out_bias, "none", [], "")  # noqa: SLF001
        hidden = torch.layer_norm(hidden, size, layer.middle, layer.middle_bias, middle_eps)
        wide = torch.ops.mkldnn._linear_pointwise(hidden.to(dtype), layer.up, layer.up_bias, "gelu", [], "none")  # noqa: SLF001
        hidden = hidden + torch.ops.mkldnn._linear_pointwise(wide, layer.down, layer.down_bias, "none", [], "")  # noqa: SLF001
        hidden = torch.layer_norm(hidden, size, layer.end, layer.end_bias, end_eps)
    return hidden


def attention(qkv: Tensor, calls: list[Call], heads: int, short: int) -> Tensor:
    """(T, 3 * hidden), query, key and value side by side → (T, hidden). Texts of up to ``short`` tokens by plain
    products."""
    outputs: list[Tensor] = []
    end = 0
    for call in calls:
        rows, place, end = qkv[call.begin : call.end], call.place, call.end
        if place is not None:
            rows = rows.new_zeros((call.texts * call.longest, rows.shape[1])).index_copy_(0, place, rows)
        size = rows.shape[1] // 3 // heads
        q, k, v = rows.view(call.texts, call.longest, 3, heads, size).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = _mixed(q, k, v, call.mask, short)
        mixed = mixed.transpose(1, 2).reshape(call.texts * call.longest, heads * size)
        outputs.append(mixed if place is None else mixed.index_select(0, place))
    if qkv.shape[0] > end:
        outputs.append(outputs[-1].new_zeros((qkv.shape[0] - end, outputs[-1].shape[1])))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _mixed(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, short: int) -> Tensor:
    """Attention, (texts, heads, longest, size), of queries whose weights have its scale."""
    texts, heads, longest, size = q.shape
    if longest > short:
        given = None if mask is None else mask.to(q.dtype)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=given, scale=1.0)
    flat = [texts * heads, longest, size]
    scores = torch.bmm(q.reshape(flat), k.reshape(flat).transpose(1, 2)).float()
    if mask is not None:
        scores.view(texts, heads, longest, longest).add_(mask)
    return torch.bmm(scores.softmax(-1).to(v.dtype), v.reshape(flat)).view(q.shape)
