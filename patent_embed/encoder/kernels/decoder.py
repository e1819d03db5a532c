"""The training forward of a decoder on a GPU: all layers as ``decoder_layer`` computes them, in one function."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from patent_embed.encoder.kernels.decoder_layer import DecoderLayer, Kept, Linears, Norm

if TYPE_CHECKING or importlib.util.find_spec("triton") is not None:
    from patent_embed.encoder.kernels import attention, decoder_launches

# Layers of transformers that compute what ``decoder_layer`` does; others with the same parts may not.
_LAYERS = ("Qwen3DecoderLayer", "Qwen2DecoderLayer", "LlamaDecoderLayer", "MistralDecoderLayer")


def supported(model: nn.Module) -> bool:
    """Whether ``Decoder`` can train ``model``: all projections have adapters, and nothing else is trained."""
    try:
        _check(model)
    except LookupError:
        return False
    return True


class Decoder:
    """Computes ``model``'s states by ``decoder_layer``.

    Args:
        dtype: what the layers compute in, with frozen weights that are copied to it; adapters stay fp32.
        last_tokens: only the texts' last tokens are asked for: three quarters of the last layer's products are spared.

    Raises:
        LookupError: ``model`` is not ``supported``.
    """

    def __init__(self, model: Any, dtype: torch.dtype, last_tokens: bool = False) -> None:
        _check(model)
        self._last_tokens = last_tokens
        self._model = model
        self._dtype = dtype
        self._layers = [_layer(module, dtype) for module in model.layers]
        self._norm = _norm(model.norm, dtype)

    @property
    def copied(self) -> set[int]:
        """The ids of the parameters that lie here once more, and that ``forward`` does not read."""
        return {id(p) for part in (self._model.layers, self._model.norm) for p in part.parameters()}

    @property
    def bytes_per_token(self) -> int:
        """What is kept of a token for the backward pass, but for ranks and sums of norms."""
        return sum(layer.kept_numbers for layer in self._layers) * self._dtype.itemsize

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, cu_seq_lens_q: Tensor, max_length_q: int, **_: Any
    ) -> Any:
        """What ``model`` returns for a packed row of texts: states (1, T, hidden), or (1, n, hidden) of last tokens."""
        from transformers.modeling_outputs import BaseModelOutputWithPast

        rows = self._model.embed_tokens(input_ids)[0]
        cos, sin = self._model.rotary_emb(rows.new_empty(0, dtype=torch.float32), position_ids)
        asked = attention.Asked(cu_seq_lens_q, max_length_q, 1.0, causal=True)
        asked_rows = cu_seq_lens_q[1:].long() - 1 if self._last_tokens else None
        parameters = [p for layer in self._layers for linears in layer.linears for p in linears.parameters]
        states: Tensor = _Stack.apply(  # type: ignore[no-untyped-call]
            rows, self._layers, self._norm, asked, cos[0], sin[0], asked_rows, torch.is_grad_enabled(), *parameters
        )
        return BaseModelOutputWithPast(last_hidden_state=states[None])


class _Stack(torch.autograd.Function):
    """All layers and the norm after them."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, layers: Sequence[DecoderLayer], norm: Norm, asked: attention.Asked, cos: Tensor,
        sin: Tensor, asked_rows: Tensor | None, keep: bool, *parameters: Tensor,
    ) -> Tensor:  # fmt: skip
        residual, y = rows.contiguous(), None  # type: Tensor, Tensor | None
        kept: list[Kept] = []
        for layer in layers:
            rows_of_layer = asked_rows if layer is layers[-1] else None
            residual, y, of_layer = layer.forward(residual, y, asked, cos, sin, rows_of_layer)
            if keep:
                kept.append(of_layer)
        s, states, rstd = decoder_launches.norm(residual, y, *norm)
        ctx.layers, ctx.norm, ctx.kept, ctx.last = layers, norm, kept, (s, rstd)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.kept is None:
            raise RuntimeError("backward through the layers a second time: what they kept is gone")
        (s, rstd), kept, ctx.kept, ctx.last = ctx.last, ctx.kept, None, None
        ds: Tensor | None = decoder_launches.norm_backward(grads[0].contiguous(), s, rstd, ctx.norm.weight, None)
        gradients: list[list[Tensor]] = []
        for number, layer in reversed(list(enumerate(ctx.layers))):
            assert ds is not None
            ds, found = layer.backward(ds, kept.pop(), needs_input=number > 0 or ctx.needs_input_grad[0])
            gradients.append(found)
        return ds, *(None,) * 7, *(each for found in reversed(gradients) for each in found)


def _check(model: Any) -> None:
    """Raises LookupError where ``model`` is not ``supported``."""
    layers = list(getattr(model, "layers", []))
    if not layers or not all(
        type(layer).__name__ in _LAYERS and type(layer).__module__.startswith("transformers.models.")
        for layer in layers
    ):
        raise LookupError(f"{type(model).__name__} has no layers of Qwen3's kind")
    adapted: set[int] = set()
    for layer in layers:
        if getattr(layer.self_attn, "sliding_window", None) or _window(model.config, layer):
            raise LookupError("attention with local windows")
        if model.config.hidden_act != "silu" or layer.self_attn.head_dim not in attention.HEAD_SIZES:
            raise LookupError("another activation, or heads of another size")
        for group in linear_groups(layer):
            adapted |= _adapters_of(group)
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if not trained or trained - adapted:
        raise LookupError("not only the layers' adapters are trained")


def _window(config: Any, layer: Any) -> bool:
    """Whether Mistral's configuration gives its layers local windows."""
    return type(layer).__name__ == "MistralDecoderLayer" and getattr(config, "sliding_window", None) is not None


def linear_groups(layer: Any) -> tuple[Sequence[Any], ...]:
    """Linear layers of one input, in the order of ``DecoderLayer.linears``."""
    inner, mlp = layer.self_attn, layer.mlp
    return (inner.q_proj, inner.k_proj, inner.v_proj), (inner.o_proj,), (mlp.gate_proj, mlp.up_proj), (mlp.down_proj,)


def _adapters_of(group: Sequence[Any]) -> set[int]:
    """Ids of the group's A and B. Raises LookupError for what is not plain LoRA, alike in all of the group."""
    from peft.tuners.lora import Linear

    kinds, found = set[tuple[Any, ...]](), set[int]()
    for linear in group:
        if type(linear) is not Linear or len(linear.active_adapters) != 1 or linear.merged or linear.disable_adapters:
            raise LookupError(f"{type(linear).__name__} is no linear layer with one adapter")
        (name,) = linear.active_adapters
        down, up = linear.lora_A[name], linear.lora_B[name]
        if (
            type(linear.get_base_layer()) is not nn.Linear
            or linear.lora_variant
            or down.bias is not None
            or up.bias is not None
        ):
            raise LookupError("not plain LoRA")
        kinds.add((len(down.weight), linear.scaling[name], getattr(linear.lora_dropout[name], "p", 0.0)))
        found |= {id(down.weight), id(up.weight)}
    if len(kinds) > 1:
        raise LookupError("adapters of one input differ in rank, scale or dropout")
    return found


def _norm(module: Any, dtype: torch.dtype) -> Norm:
    return Norm(module.weight.detach().to(dtype), module.variance_epsilon)


def _layer(module: Any, dtype: torch.dtype) -> DecoderLayer:
    inner = module.self_attn
    size = inner.head_dim
    qkv, out, gate_up, down = (Linears(group, dtype) for group in linear_groups(module))
    norms = [getattr(inner, name, None) for name in ("q_norm", "k_norm")]
    return DecoderLayer(
        before=_norm(module.input_layernorm, dtype),
        qkv=qkv,
        out=out,
        middle=_norm(module.post_attention_layernorm, dtype),
        gate_up=gate_up,
        down=down,
        heads=(inner.q_proj.out_features // size, inner.k_proj.out_features // size),
        size=size,
        head_norms=None if None in norms else (_norm(norms[0], dtype), _norm(norms[1], dtype)),
        attention=inner,
    )
