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
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from patent_embed.encoder import Encoder
from patent_embed.packing import TRAINS_BY, PackedBatch, fill_up, to_device

if TYPE_CHECKING or importlib.util.find_spec("triton") is not None:
    from patent_embed import attention_kernels
    from patent_embed import fused_kernels as kernels


# Compiling and capturing take some 20 s on a machine's first run; a triplet then takes 1 (in batches of 128) to 2.6 ms
# (of 32) less.
PAYS_FROM_TRIPLETS = 12_000


def supported(model: nn.Module, device: torch.device) -> bool:
    """Whether ``Fused`` does something here: Triton and the C compiler that it needs, a GPU with native bf16, and LoRA
    adapters."""
    return (
        device.type == "cuda"
        and importlib.util.find_spec("triton") is not None
        and any(map(shutil.which, (os.environ.get("CC", "gcc"), "gcc", "clang")))
        and torch.cuda.is_bf16_supported(including_emulation=False)
        and bool(_patches(model, {}))
    )


class Fused:
    """Trains ``model`` in bf16 without autocast while it is entered: frozen weights are bf16 copies, adapters stay
    fp32, and LoRA layers, attention and residual LayerNorms run through this project's kernels. Afterwards the model
    is as it was. ``dtype`` in place of bf16 is for tests."""

    def __init__(self, model: nn.Module, dtype: torch.dtype = torch.bfloat16) -> None:
        self._frozen = [
            (p, p.data, p.data.to(dtype)) for p in model.parameters() if not p.requires_grad and p.is_floating_point()
        ]
        residuals: _Residuals = {}
        self._patches = [(model, "forward", partial(_forward, model, residuals)), *_patches(model, residuals)]

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


def _forward(model: Any, residuals: _Residuals, *args: Any, **kwargs: Any) -> Any:
    device = next(model.parameters()).device
    try:
        with kernels.seeds_drawn_at_once(device):
            return type(model).forward(model, *args, **kwargs)
    finally:
        residuals.clear()


class Graphs:
    """``encoder.forward`` and its backward pass as CUDA graphs, one for each size of a batch: a small batch is
    otherwise bound by the time Python takes to launch some 2,000 kernels.

    Batches are filled up to few sizes, since every graph keeps memory; a size's first batch costs some forward and
    backward passes. For use inside one ``Fused`` only: the graphs remember where the weights lie. Collectives stay
    outside, so ranks may capture beside NCCL; that all fill up to one size makes them capture at the same time.

    Args:
        longest: tokens of the longest text that will come.
    """

    LARGEST = 49_152  # tokens; above, the GPU is the slower one
    _TOKENS, _TEXTS = 1024, 32  # sizes are multiples of these
    _FILLERS = 8  # so many meaningless texts at least share what is missing: ranks differ by two texts at most

    def __init__(self, encoder: Encoder, longest: int) -> None:
        self._encoder = encoder
        self._longest = -(-max(longest, self._TOKENS // self._FILLERS + 2) // 128) * 128
        self._graphs: dict[tuple[int, int], nn.Module] = {}
        self._pool = torch.cuda.graph_pool_handle()
        # Capturing makes the gradients' nodes on a stream of its own; the waiting that this costs is nothing.
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)

    def prepare(self, batch: PackedBatch, sizes: Sequence[tuple[int, int]]) -> Callable[[], Tensor] | None:
        """What embeds ``batch``, which lies on the CPU; its result is valid until the next call. None: too large.

        Args:
            sizes: texts and tokens of every rank's batch of this step.
        """
        own = len(batch.inverse)
        if max(tokens for _, tokens in sizes) > self.LARGEST:
            return None
        to_texts = -(-(max(texts for texts, _ in sizes) + self._FILLERS) // self._TEXTS) * self._TEXTS
        to_tokens = -(-max(tokens + to_texts - texts for texts, tokens in sizes) // self._TOKENS) * self._TOKENS
        batch = fill_up(batch, to_texts, to_tokens)
        arguments = tuple(to_device(t, self._encoder.device) for t in batch.tensors)
        key = (to_texts, to_tokens)
        if key not in self._graphs:
            graphed: Any = torch.cuda.make_graphed_callables(
                _Embed(self._encoder, self._longest), arguments, allow_unused_input=True, pool=self._pool
            )
            self._graphs[key] = graphed
        return lambda: self._graphs[key](*arguments)[:own]


class _Embed(nn.Module):
    def __init__(self, encoder: Encoder, longest: int) -> None:
        super().__init__()
        self.model, self._embed, self._longest = encoder.model, encoder.forward, longest

    def forward(self, ids: Tensor, positions: Tensor, bounds: Tensor, inverse: Tensor) -> Tensor:
        return self._embed(PackedBatch(ids, positions, bounds, self._longest, inverse))


_SAME_INPUT = (("query", "key", "value"), ("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def _patches(model: nn.Module, residuals: _Residuals) -> list[tuple[nn.Module, str, Callable[..., Tensor]]]:
    """(module, method, what takes its place in training)."""
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
        if getattr(module, "is_causal", None) is False and size in attention_kernels.HEAD_SIZES:
            found.append((module, TRAINS_BY, attention_kernels.attention))
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
    """The halves of a BERT layer's feed-forward network with the exact GELU in between, if it is one: what calls the
    GELU, and the LoRA layer that reads its output."""
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
    ``gelu``: they apply GELU to it first. ``residuals``: where a residual connection finds their input."""

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


def lora_linears(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    adapters: Sequence[tuple[Tensor, Tensor]],
    scale: float,
    dropout: float,
    gelu: bool = False,
) -> tuple[Tensor, ...]:
    """``x W' + bias + scale * dropout(x) A' B'`` of each layer; ``W`` and ``bias`` are frozen.

    Args:
        x: (..., k) bf16.
        weight: (n, k) bf16, the layers' ``W`` under one another, n the sum of theirs; bias: (n,) bf16.
        adapters: (A, B) of each layer: A (r, k) and B (its n, r), fp32.
        gelu: ``GELU(x)`` takes the place of ``x``.

    Returns:
        the layers' outputs, and ``x``: who reads it from here has his gradient added to theirs at no cost.
    """
    flat = [tensor for pair in adapters for tensor in pair]
    seed = kernels.dropout_seed(dropout, x.device)
    outputs: tuple[Tensor, ...] = _LoraLinears.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, scale, dropout, seed, gelu, *flat
    )
    return outputs


def residual_norm(y: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, dropout: float) -> Tensor:
    """``LayerNorm(dropout(y) + residual)`` over the last dimension, with frozen ``weight`` and ``bias``; all bf16."""
    z: Tensor = _ResidualNorm.apply(  # type: ignore[no-untyped-call]
        y, residual, weight, bias, eps, dropout, kernels.dropout_seed(dropout, y.device)
    )
    return z


class _LoraLinears(torch.autograd.Function):
    """Layers of one input as one: their ``A`` stand under one another and their ``B`` on a diagonal of blocks."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, scale: float, p: float, seed: Tensor | None,
        gelu: bool, *adapters: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        downs, ups = adapters[::2], adapters[1::2]
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        ctx.factor, ctx.dropout, ctx.shape = scale / (1 - p), (p, seed), x.shape
        down, up = downs[0], ups[0]
        if len(ups) > 1:
            down, up = torch.cat(downs), torch.block_diag(*ups)  # type: ignore[no-untyped-call]
        before, rows = rows, torch.empty_like(rows) if gelu else rows
        h = kernels.project(before, down, ctx.factor, p, seed, rows if gelu else None)
        y = kernels.linear(rows, weight, bias, h, up)
        ctx.save_for_backward(rows, h, down, up, weight, before if gelu else None)
        ctx.blocks = [tuple(each.shape) for each in ups]
        ctx.set_materialize_grads(False)
        parts = torch.split(y, [len(each) for each in ups], 1)
        return *(part.view(*x.shape[:-1], -1) for part in parts), x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, h, down, up, weight, before = ctx.saved_tensors
        again, (p, seed) = grads[-1], ctx.dropout
        dy = _side_by_side([grad.reshape(len(rows), -1) for grad in grads[:-1]])
        dh, dups = kernels.up_backward(dy, up, h, ctx.factor, ctx.blocks)
        ddowns = torch.split(kernels.outer(dh, rows, p, seed), [rank for _, rank in ctx.blocks])
        dx = None
        if ctx.needs_input_grad[0]:
            if before is None:
                beside = None if again is None else again.reshape(rows.shape).contiguous()
                dx = kernels.expand(dh, down, None, p, seed, beside).addmm_(dy, weight)
            else:
                dx = kernels.expand_through_gelu(dy @ weight, before, dh, down, p, seed)
                dx = dx if again is None else dx.add_(again.reshape(rows.shape))
            dx = dx.view(ctx.shape)
        adapters = [grad for pair in zip(ddowns, dups, strict=True) for grad in pair]
        return dx, None, None, None, None, None, None, *adapters


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """``torch.cat(parts, 1)`` of (rows, n) tensors; no copy where they lie so already, as attention leaves them."""
    first, width, place = parts[0], sum(part.shape[1] for part in parts), parts[0].storage_offset()
    for part in parts:
        same = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (same and part.stride() == (width, 1) and part.storage_offset() == place):
            return torch.cat(list(parts), 1)
        place += part.shape[1]
    return first.as_strided((len(first), width), (width, 1))


class _ResidualNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, y: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, p: float, seed: Tensor | None
    ) -> Tensor:
        out, z, mean, rstd = kernels.residual_norm(y.contiguous(), residual.contiguous(), weight, bias, eps, p, seed)
        ctx.save_for_backward(z, mean, rstd, weight)
        ctx.dropout = (p, seed)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dy, dresidual = kernels.residual_norm_backward(grads[0].contiguous(), *ctx.saved_tensors, *ctx.dropout)
        return dy, dresidual, None, None, None, None, None
