"""The training forward on a CPU: the layers of a BERT with LoRA as ``cpu_layer`` computes them, a few texts at a time.

A block of some texts goes through all layers before the next one does, so that what a layer needs beside what it keeps
is one block's, and stays in the caches. Frozen weights lie in memory once more, as the products read them fastest, and
in bf16 where training computes in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from patent_embed.arrays import pieces_within
from patent_embed.encoder.kernels.cpu_attention import Spans
from patent_embed.encoder.kernels.cpu_layer import Adapter, Layer, Linears, Scratch
from patent_embed.encoder.packing import only_first_tokens

TOKENS = 1024  # of a block, unless one text has more
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
        first = only_first_tokens(self._last.attention.self)
        norm = self._last.output.LayerNorm
        blocks = [self._block(rows, bounds[begin : end + 1], first) for begin, end in _texts(bounds)]
        hidden = nn.functional.layer_norm(
            torch.cat(blocks).float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps
        )
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden[None])

    def _block(self, rows: Tensor, bounds: np.ndarray, first: bool) -> Tensor:
        """The last residual sum of the texts between ``bounds``, or of their first tokens."""
        places = (bounds - bounds[0]).tolist()
        hidden, spans = rows[bounds[0] : bounds[-1]], Spans(places, places)
        for layer in self._layers[:-1]:
            hidden = layer(hidden, spans, None)
        if not first:
            return self._layers[-1](hidden, spans, None)
        return self._layers[-1](hidden, Spans(range(len(places)), places), torch.tensor(places[:-1]))


def _texts(bounds: np.ndarray) -> Iterator[tuple[int, int]]:
    """First and last + 1 of each block's texts."""
    return ((piece.start, piece.stop) for piece in pieces_within(np.diff(bounds), TOKENS))


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


def _check(model: nn.Module) -> None:
    """Raises LookupError where ``model`` is not ``supported``."""
    adapted: set[int] = set()
    for module in encoder_of(model).layer:
        if module.is_decoder or module.add_cross_attention or activation_of(module) is None:
            raise LookupError("not an encoder's layer with the exact GELU")
        for layers in linear_groups(module):
            parts = [_parts(layer) for layer in layers]
            if len({getattr(dropout, "p", 0.0) for _, adapter, dropout in parts if adapter is not None}) > 1:
                raise LookupError("adapters of one input drop other shares of it")
            adapted |= {id(p) for _, adapter, _ in parts if adapter is not None for p in (adapter.down, adapter.up)}
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if not trained or trained - adapted:
        raise LookupError("not only the layers' adapters are trained")


def activation_of(module: Any) -> Any:
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
