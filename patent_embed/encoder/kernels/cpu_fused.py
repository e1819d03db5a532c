"""The training forward on a CPU: the layers of a BERT with LoRA as ``cpu_layer`` computes them, a few texts at a time.

A block of some texts goes through all layers before the next one does, so that what a layer needs beside what it keeps
is one block's, and stays in the caches. Frozen weights lie in memory once more, as the products read them fastest, and
in bf16 where training computes in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from patent_embed.arrays import pieces_within
from patent_embed.encoder.kernels.cpu_attention import Spans
from patent_embed.encoder.kernels.cpu_layer import Adapter, Kept, Layer, Linears, Texts
from patent_embed.encoder.kernels.cpu_memory import Scratch
from patent_embed.encoder.kernels.cpu_threads import each_alone
from patent_embed.encoder.packing import only_first_tokens

TOKENS = 512  # of a block, unless one text has more
# Layers of transformers that compute what ``cpu_layer`` does; others with the same parts may not.
_LAYERS = ("BertLayer", "RobertaLayer", "XLMRobertaLayer", "CamembertLayer", "ElectraLayer", "ErnieLayer")


def supported(model: nn.Module) -> bool:
    """Whether ``CpuFused`` can train ``model``: a BERT whose layers have adapters, and nothing else to train."""
    try:
        _check(model)
    except LookupError:
        return False
    return True


class CpuFused:
    """Trains ``model`` by ``cpu_layer`` while it is entered; afterwards the model is as it was.

    Args:
        dtype: what the layers compute in; the adapters and their gradients stay fp32.

    Raises:
        LookupError: ``model`` is not ``supported``.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype = torch.float32) -> None:
        _check(model)
        self._encoder, self._dtype, scratch = encoder_of(model), dtype, Scratch(dtype)
        modules: list[Any] = list(self._encoder.layer)
        norms = [None, *(module.output.LayerNorm for module in modules)]
        self._layers = [_layer(module, norm, scratch, dtype) for module, norm in zip(modules, norms, strict=False)]
        self._last = modules[-1]

    def __enter__(self) -> CpuFused:
        self._encoder.forward = self._forward
        return self

    def __exit__(self, *exception: object) -> None:
        del self._encoder.forward

    @property
    def bytes_per_token(self) -> int:
        """What is kept of a token for the backward pass."""
        return sum(layer.kept_numbers for layer in self._layers) * self._dtype.itemsize

    def _forward(self, hidden_states: Tensor, *_: Any, cu_seq_lens_q: Tensor, **__: Any) -> Any:
        """``BertEncoder.forward``."""
        for layer in self._layers:
            for linears in layer.linears:
                linears.refresh()
        bounds = cu_seq_lens_q.numpy()
        rows = hidden_states[0].to(self._dtype)
        blocks = list(self._blocks(bounds, only_first_tokens(self._last.attention.self)))
        norm = self._last.output.LayerNorm
        parameters = [p for layer in self._layers for linears in layer.linears for p in linears.parameters]
        sums: Tensor = _Stack.apply(rows, self._layers, blocks, torch.is_grad_enabled(), *parameters)  # type: ignore[no-untyped-call]
        hidden = nn.functional.layer_norm(sums.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden[None])

    def _blocks(self, bounds: np.ndarray, first: bool) -> Iterator[Block]:
        """``first``: of the last layer only the texts' first tokens are read."""
        written = 0
        for piece in pieces_within(np.diff(bounds), TOKENS):
            places = bounds[piece.start : piece.stop + 1]
            own = (places - places[0]).tolist()
            all_ask = Texts(Spans(own, own), None)
            last = Texts(Spans(range(len(own)), own), torch.tensor(own[:-1])) if first else all_ask
            count = last.spans.asked[-1]
            seeds = [int(torch.randint(2**62, ())) if any(layer.rates) else 0 for layer in self._layers]
            yield Block(
                slice(int(places[0]), int(places[-1])),
                slice(written, written + count),
                [all_ask] * (len(self._layers) - 1) + [last],
                seeds,
            )
            written += count


class Block(NamedTuple):
    """Some texts: their rows, those of the result, and of each layer where they lie and its seed."""

    rows: slice
    result: slice
    texts: Sequence[Texts]
    seeds: Sequence[int]

    def forward(self, rows: Tensor, layers: Sequence[Layer], result: Tensor, keep: bool) -> list[Kept]:
        """Write ``result``; what ``backward`` needs, where it is to be kept."""
        kept, s = [], rows[self.rows]
        for layer, texts, seed in zip(layers, self.texts, self.seeds, strict=True):
            s, of_layer = layer.forward(s, texts, seed)
            if keep:
                kept.append(of_layer)
        result[self.result] = s
        return kept

    def backward(self, grad: Tensor, layers: Sequence[Layer], kept: list[Kept], rows: Tensor | None) -> list[Tensor]:
        """Gradients of all layers' parameters; that of the block's rows is written to ``rows``."""
        ds, gradients = grad[self.result], []  # type: Tensor | None, list[list[Tensor]]
        for number, layer in reversed(list(enumerate(layers))):
            assert ds is not None
            ds, found = layer.backward(ds, kept.pop(), needs_input=number > 0 or rows is not None)
            gradients.append(found)
        if rows is not None and ds is not None:
            rows[self.rows] = ds
        return [gradient for found in reversed(gradients) for gradient in found]


class _Stack(torch.autograd.Function):
    """All layers. Each thread takes one block at a time, so that none waits for another within an operation."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, layers: Sequence[Layer], blocks: Sequence[Block], keep: bool, *parameters: Tensor
    ) -> Tensor:
        result = rows.new_empty((blocks[-1].result.stop, rows.shape[1]))
        ctx.layers, ctx.blocks = layers, blocks
        ctx.kept = list(each_alone(lambda block: block.forward(rows, layers, result, keep), blocks))
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.kept is None:
            raise RuntimeError("backward through the layers a second time: what they kept is gone")
        kept, ctx.kept = ctx.kept, None
        (grad,) = (each.contiguous() for each in grads)
        length = ctx.blocks[-1].rows.stop
        rows = grad.new_empty((length, grad.shape[1])) if ctx.needs_input_grad[0] else None
        work = zip(ctx.blocks, kept, strict=True)
        found = each_alone(lambda part: part[0].backward(grad, ctx.layers, part[1], rows), work)
        total: list[Tensor] = []
        for gradients in found:  # in the order of the blocks: the same sums for any number of threads
            total = [a.add_(b) for a, b in zip(total, gradients, strict=True)] if total else gradients
        return rows, None, None, None, *total


def encoder_of(model: nn.Module) -> Any:
    """The module whose ``layer`` are the layers of a BERT. Raises LookupError."""
    for module in model.modules():
        layers = getattr(module, "layer", None)
        if isinstance(layers, nn.ModuleList) and len(layers):
            if all(
                type(layer).__name__ in _LAYERS and type(layer).__module__.startswith("transformers.models.")
                for layer in layers
            ):
                return module
            break
    raise LookupError(f"{type(model).__name__} has no layers of BERT's kind")


def plain_layers(model: nn.Module) -> list[Any]:
    """The layers of a BERT. Raises LookupError where one is no encoder's, or without the exact GELU."""
    layers = list(encoder_of(model).layer)
    if any(each.is_decoder or each.add_cross_attention or _activation(each) is None for each in layers):
        raise LookupError("not an encoder's layer with the exact GELU")
    return layers


def _check(model: nn.Module) -> None:
    """Raises LookupError where ``model`` is not ``supported``."""
    adapted: set[int] = set()
    for module in plain_layers(model):
        for layers in linear_groups(module):
            parts = [_parts(layer) for layer in layers]
            if len({getattr(dropout, "p", 0.0) for _, adapter, dropout in parts if adapter is not None}) > 1:
                raise LookupError("adapters of one input drop other shares of it")
            adapted |= {id(p) for _, adapter, _ in parts if adapter is not None for p in (adapter.down, adapter.up)}
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if not trained or trained - adapted:
        raise LookupError("not only the layers' adapters are trained")


def _activation(module: Any) -> Any:
    """GELU without approximation, or None."""
    activation = module.intermediate.intermediate_act_fn
    exact = getattr(activation, "act", None) is nn.functional.gelu or (
        isinstance(activation, nn.GELU) and activation.approximate == "none"
    )
    return activation if exact else None


def linear_groups(module: Any) -> tuple[Sequence[nn.Module], ...]:
    """Linear layers of one input, in the order of ``Layer``."""
    inner = module.attention.self
    return (
        (inner.query, inner.key, inner.value),
        (module.attention.output.dense,),
        (module.intermediate.dense,),
        (module.output.dense,),
    )


def _parts(linear: Any) -> tuple[nn.Linear, Adapter | None, nn.Module | None]:
    """The frozen layer, its adapter and this one's dropout. Raises LookupError for what is not plain LoRA."""
    from peft.tuners.lora import Linear

    if type(linear) is nn.Linear:
        return linear, None, None
    if type(linear) is not Linear or len(linear.active_adapters) != 1 or linear.merged or linear.disable_adapters:
        raise LookupError(f"{type(linear).__name__} is neither a linear layer nor one with one adapter")
    (name,) = linear.active_adapters
    base: Any = linear.get_base_layer()
    down, up = linear.lora_A[name], linear.lora_B[name]
    if type(base) is not nn.Linear or linear.lora_variant or down.bias is not None or up.bias is not None:
        raise LookupError("not plain LoRA")
    return base, Adapter(down.weight, up.weight, linear.scaling[name]), linear.lora_dropout[name]


def _layer(module: Any, before: nn.LayerNorm | None, scratch: Scratch, dtype: torch.dtype) -> Layer:
    groups: list[Linears] = []
    inner = module.attention.self
    for layers in linear_groups(module):
        parts = [_parts(layer) for layer in layers]
        dropout = next((dropout for _, adapter, dropout in parts if adapter is not None), None)
        bases, adapters = [base for base, *_ in parts], [adapter for _, adapter, _ in parts]
        factors = (1.0,) if groups else (inner.scaling, 1.0, 1.0)
        gelu = layers[0] is module.output.dense
        groups.append(Linears(bases, adapters, dropout, scratch, dtype, factors, gelu))
    qkv, out, up, down = groups
    return Layer(
        before,
        qkv,
        out,
        module.attention.output.LayerNorm,
        up,
        down,
        heads=inner.num_attention_heads,
        dropouts=(inner.dropout, module.attention.output.dropout, module.output.dropout),
        scratch=scratch,
    )
