"""The training forward on an NVIDIA GPU: LoRA layers, attention and residual LayerNorms by kernels of this project.

A LoRA layer is ``y = x W' + b + h B'`` with ``h = c keep(x) A'`` (Hu et al., arXiv 2106.09685, eq. 3; ``c`` holds
alpha / r and dropout's 1 / (1 - p)). Beside the two large products with the frozen ``W`` all is bound by memory, and
plain PyTorch passes over the activations about ten times where three times do. All of it is made of five kernels, with
dropout drawn inside from a hash of (seed, position), so that no mask and no dropped copy is stored:

    project:     h = c keep(x) A', with the GELU before it where there is one
    linear:      y = x W' + b + h B'
    up_backward: dh = c dy B  and  dB = dy' h
    outer:       dA = dh' keep(x)
    expand:      dx = keep(dh A); the large product is added to it in place, or before it where a GELU's slope follows

Layers that read the same input (query, key and value) are one, so that ``x`` is read once and its gradient is summed
inside the product. They then drop the same elements of ``x``, where PEFT draws anew for each.

A pair of kernels more does ``LayerNorm(keep(y) + residual)``, the end of both halves of a BERT layer. Attention has its
own module. Nothing here depends on the order in which a GPU's threads finish: a training repeats bit by bit.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from patent_embed.encoder.packing import TRAINS_BY

if TYPE_CHECKING or importlib.util.find_spec("triton") is not None:
    from patent_embed.encoder.kernels import attention, decoder, gpu_dropout
from patent_embed.encoder.kernels.lora import lora_linears, residual_norm

# Triplets, over all epochs, from which ``Fused`` is used, which rounds otherwise than autocast does. Compiling and
# capturing take some 20 s on a machine's first run; a triplet then takes 1 (in batches of 128) to 2.6 ms (of 32) less.
PAYS_FROM_TRIPLETS = 12_000


def supported(model: nn.Module, device: torch.device) -> bool:
    """Whether ``Fused`` does something here.

    It needs Triton and the C compiler that this needs, a GPU with native bf16, and LoRA adapters.
    """
    return (
        device.type == "cuda"
        and importlib.util.find_spec("triton") is not None
        and any(map(shutil.which, (os.environ.get("CC", "gcc"), "gcc", "clang")))
        and torch.cuda.is_bf16_supported(including_emulation=False)
        and bool(patches(model, {}))
    )


class Fused:
    """Trains ``model`` in bf16 without autocast while it is entered; afterwards the model is as it was.

    Frozen weights are bf16 copies, adapters stay fp32, and LoRA layers, attention and residual LayerNorms run through
    this project's kernels. ``dtype`` in place of bf16 is for tests.

    Args:
        last_tokens: nothing but the texts' last tokens is read of the model's states; where that is known to spare
            something, it then gives their states alone.

    Attributes:
        bytes_per_token: what is kept of a token for the backward pass; None where nobody counts it.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype = torch.bfloat16, last_tokens: bool = False) -> None:
        residuals: _Residuals = {}
        copied: set[int] = set()
        forward: Callable[..., Any] = partial(type(model).forward, model)
        self.bytes_per_token: int | None = None
        if decoder.supported(model):
            whole = decoder.Decoder(model, dtype, last_tokens)
            self.bytes_per_token = whole.bytes_per_token
            copied, forward, self._patches = whole.copied, whole.forward, []
        else:
            self._patches = patches(model, residuals)
        self._frozen = [
            (p, p.data, p.data.to(dtype))
            for p in model.parameters()
            if not p.requires_grad and p.is_floating_point() and id(p) not in copied
        ]
        device = next(model.parameters()).device
        self._patches.append((model, "forward", partial(_forward, forward, device, residuals)))

    def __enter__(self) -> None:
        for parameter, _, low in self._frozen:
            parameter.data = low
        for module, name, method in self._patches:
            setattr(module, name, method)

    def __exit__(self, *exception: object) -> None:
        for parameter, data, _ in self._frozen:
            parameter.data = data
        for module, name, _ in reversed(self._patches):
            delattr(module, name)


# What layers pass on to a residual connection, by the id of their input, which stands beside it. The residual's
# gradient then comes back to them, who add it to their own inside a kernel.
_Residuals = dict[int, tuple[Tensor, Tensor]]


def _forward(
    forward: Callable[..., Any], device: torch.device, residuals: _Residuals, *args: Any, **kwargs: Any
) -> Any:
    try:
        with gpu_dropout.seeds_drawn_at_once(device):
            return forward(*args, **kwargs)
    finally:
        residuals.clear()


_SAME_INPUT = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def patches(model: nn.Module, residuals: _Residuals) -> list[tuple[nn.Module, str, Callable[..., Tensor]]]:
    """What ``Fused`` replaces: (module, method, what takes its place in training); nothing without LoRA layers."""
    from peft.tuners.lora import Linear

    found: list[tuple[nn.Module, str, Callable[..., Tensor]]] = []
    alone = {module: None for module in model.modules() if isinstance(module, Linear)}
    if not alone:
        return []
    for module in model.modules():
        gelu = _gelu_between(module)
        if gelu is not None:
            first, second = gelu
            found.append((first, "forward", first.dense.__call__))
            found.append((second, "forward", partial(_SameInput([second], gelu=True), second)))
            alone.pop(second, None)
            if isinstance(first.dense, Linear):
                group = _SameInput([first.dense], residuals=residuals)
                found.append((first.dense, "forward", partial(group, first.dense)))
                alone.pop(first.dense, None)
        size = getattr(module, "attention_head_size", None)
        if getattr(module, "is_causal", None) is False and size in attention.HEAD_SIZES:
            found.append((module, TRAINS_BY, attention.attention))
        for names in _SAME_INPUT:
            layers = [layer for name in names if isinstance(layer := getattr(module, name, None), Linear)]
            if len(layers) == len(names) and len({_shape(layer) for layer in layers}) == 1:
                group = _SameInput(layers, residuals=residuals if names[0] == "query" else None)
                found += [(layer, "forward", partial(group, layer)) for layer in layers]
                for layer in layers:
                    alone.pop(layer)
        # BertSelfOutput and BertOutput, and their namesakes in RoBERTa models.
        norm, dropout = getattr(module, "LayerNorm", None), getattr(module, "dropout", None)
        if (
            type(module).__name__.endswith("Output")
            and isinstance(norm, nn.LayerNorm)
            and isinstance(dropout, nn.Dropout)
            and not norm.weight.requires_grad
        ):
            found.append((module, "forward", partial(_output_forward, module, residuals)))
    return found + [(layer, "forward", partial(_SameInput([layer]), layer)) for layer in alone]


def _gelu_between(layer: Any) -> tuple[Any, Any] | None:
    """The halves of a BERT layer's feed-forward network with the exact GELU in between, if it is one.

    They are what calls the GELU, and the LoRA layer that reads its output.
    """
    from peft.tuners.lora import Linear

    first, output = getattr(layer, "intermediate", None), getattr(layer, "output", None)
    second, activation = getattr(output, "dense", None), getattr(first, "intermediate_act_fn", None)
    exact = getattr(activation, "act", None) is nn.functional.gelu or (
        isinstance(activation, nn.GELU) and activation.approximate == "none"
    )
    return (first, second) if exact and isinstance(second, Linear) else None


def _shape(layer: Any) -> tuple[Any, ...]:
    """What layers of one input must have in common."""
    (adapter,) = layer.active_adapters
    return layer.lora_A[adapter].weight.shape, layer.scaling[adapter], _dropout(layer)


def _dropout(layer: Any) -> float:
    (adapter,) = layer.active_adapters
    p: float = getattr(layer.lora_dropout[adapter], "p", 0.0)
    return p


class _SameInput:
    """LoRA layers that a model calls one after the other on the same tensor: the first call computes all of them.

    ``gelu``: they apply GELU to it first. ``residuals``: where a residual connection finds their input.
    """

    def __init__(self, layers: list[Any], gelu: bool = False, residuals: _Residuals | None = None) -> None:
        self._layers, self._gelu, self._residuals = layers, gelu, residuals
        self._input: Tensor | None = None
        self._waiting: dict[Any, Tensor] = {}
        self._frozen: tuple[Tensor, Tensor | None] | None = None

    def __call__(self, layer: Any, x: Tensor) -> Tensor:
        if self._input is not x or layer not in self._waiting:
            (adapter,) = layer.active_adapters
            adapters = [(each.lora_A[adapter].weight, each.lora_B[adapter].weight) for each in self._layers]
            dropout = _dropout(layer) if layer.training else 0.0
            *outputs, again = lora_linears(x, *self._weights(), adapters, layer.scaling[adapter], dropout, self._gelu)
            self._input, self._waiting = x, dict(zip(self._layers, outputs, strict=True))
            if self._residuals is not None:
                self._residuals[id(x)] = x, again
        output = self._waiting.pop(layer)
        if not self._waiting:
            self._input = None
        return output

    def _weights(self) -> tuple[Tensor, Tensor | None]:
        """Frozen weights and biases of all layers. Several are copied side by side once: they never change."""
        bases = [layer.get_base_layer() for layer in self._layers]
        if len(bases) == 1:
            return bases[0].weight, bases[0].bias
        if self._frozen is None:
            some = any(base.bias is not None for base in bases)
            zeros = [base.weight.new_zeros(len(base.weight)) if base.bias is None else base.bias for base in bases]
            self._frozen = torch.cat([base.weight for base in bases]), torch.cat(zeros) if some else None
        return self._frozen


def _output_forward(module: Any, residuals: _Residuals, hidden: Tensor, residual: Tensor) -> Tensor:
    norm, p = module.LayerNorm, module.dropout.p if module.training else 0.0
    _, residual = residuals.pop(id(residual), (residual, residual))
    return residual_norm(module.dense(hidden), residual, norm.weight, norm.bias, norm.eps, p)
