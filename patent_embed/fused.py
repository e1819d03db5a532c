"""The training forward on an NVIDIA GPU: LoRA layers and residual LayerNorms in few passes over the activations.

A LoRA layer is ``y = x W' + b + c h B'`` with ``h = keep(x) A'`` (Hu et al., arXiv 2106.09685, eq. 3; ``c`` holds
alpha / r and dropout's 1 / (1 - p)). Beside the two large products with the frozen ``W`` all is bound by memory, and
plain PyTorch passes over the activations about ten times where three times do. All of it is made of three kernels, with
dropout drawn inside from a hash of (seed, position), so that no mask and no dropped copy is stored:

    project: h = keep(x) A'          also  dh = dy B
    expand:  y += h B'               also  dx += keep(dh A)
    outer:   dA = dh' keep(x)        also  dB' = h' dy

A pair more does ``LayerNorm(keep(y) + residual)``, the end of both halves of a BERT layer.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from patent_embed.encoder import Encoder
from patent_embed.packing import PackedBatch, fill_up, to_device

if TYPE_CHECKING or importlib.util.find_spec("triton") is not None:
    from patent_embed import fused_kernels as kernels


def supported(model: nn.Module, device: torch.device) -> bool:
    """Whether ``Fused`` does something here: Triton, a GPU with native bf16, and LoRA adapters."""
    return (
        device.type == "cuda"
        and importlib.util.find_spec("triton") is not None
        and torch.cuda.is_bf16_supported(including_emulation=False)
        and bool(_patches(model))
    )


class Fused:
    """Trains ``model`` in bf16 without autocast while it is entered: frozen weights are bf16 copies, adapters stay
    fp32, and LoRA layers and residual LayerNorms run through this module's kernels. Afterwards the model is as it
    was."""

    def __init__(self, model: nn.Module) -> None:
        self._frozen = [
            (p, p.data, p.data.to(torch.bfloat16))
            for p in model.parameters()
            if not p.requires_grad and p.is_floating_point()
        ]
        self._patches = _patches(model)

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


class Graphs:
    """``encoder.forward`` and its backward pass as CUDA graphs, one for each size of a batch: a small batch is
    otherwise bound by the time Python takes to launch some 2,000 kernels.

    Batches are filled up to few sizes; a size's first batch costs some forward and backward passes. For use inside one
    ``Fused`` only: the graphs remember where the weights lie.
    """

    LARGEST = 32_768  # tokens; above, the GPU is the slower one
    _QUANTUM = 1024

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._graphs: dict[tuple[int, int, int], nn.Module] = {}
        self._pool = torch.cuda.graph_pool_handle()
        # Capturing makes the gradients' nodes on a stream of its own; the waiting that this costs is nothing.
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)

    def prepare(self, batch: PackedBatch) -> Callable[[], Tensor] | None:
        """What embeds ``batch``, which lies on the CPU; its result is valid until the next call. None: too large."""
        texts = len(batch.inverse)
        if batch.input_ids.shape[1] > self.LARGEST:
            return None
        to_texts = (texts + 4 + 7) // 8 * 8
        tokens = -(-(batch.input_ids.shape[1] + to_texts - texts) // self._QUANTUM) * self._QUANTUM
        batch = fill_up(batch, to_texts, tokens)
        longest = -(-batch.max_length // 128) * 128
        arguments = tuple(to_device(t, self._encoder.device) for t in batch.tensors)
        key = (to_texts, tokens, longest)
        if key not in self._graphs:
            graphed: Any = torch.cuda.make_graphed_callables(
                _Embed(self._encoder, longest), arguments, allow_unused_input=True, pool=self._pool
            )
            self._graphs[key] = graphed
        return lambda: self._graphs[key](*arguments)[:texts]


class _Embed(nn.Module):
    def __init__(self, encoder: Encoder, longest: int) -> None:
        super().__init__()
        self.model, self._embed, self._longest = encoder.model, encoder.forward, longest

    def forward(self, ids: Tensor, positions: Tensor, bounds: Tensor, inverse: Tensor) -> Tensor:
        return self._embed(PackedBatch(ids, positions, bounds, self._longest, inverse))


def _patches(model: nn.Module) -> list[tuple[nn.Module, str, Callable[..., Tensor]]]:
    """(module, method, what takes its place in training)."""
    from peft.tuners.lora import Linear

    found: list[tuple[nn.Module, str, Callable[..., Tensor]]] = []
    for module in model.modules():
        if isinstance(module, Linear):
            found.append((module, "forward", partial(_lora_forward, module)))
        # BertSelfOutput and BertOutput, and their namesakes in RoBERTa models.
        norm, dropout = getattr(module, "LayerNorm", None), getattr(module, "dropout", None)
        if (
            type(module).__name__.endswith("Output")
            and isinstance(norm, nn.LayerNorm)
            and isinstance(dropout, nn.Dropout)
            and not norm.weight.requires_grad
        ):
            found.append((module, "forward", partial(_output_forward, module)))
    return found


def _lora_forward(module: Any, x: Tensor) -> Tensor:
    (adapter,) = module.active_adapters
    base, dropout = module.get_base_layer(), module.lora_dropout[adapter]
    a, b = module.lora_A[adapter].weight, module.lora_B[adapter].weight
    p = getattr(dropout, "p", 0.0) if module.training else 0.0
    return lora_linear(x, base.weight, base.bias, a, b, module.scaling[adapter], p)


def _output_forward(module: Any, hidden: Tensor, residual: Tensor) -> Tensor:
    norm, p = module.LayerNorm, module.dropout.p if module.training else 0.0
    return residual_norm(module.dense(hidden), residual, norm.weight, norm.bias, norm.eps, p)


def lora_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, dropout: float
) -> Tensor:
    """``x W' + bias + scale * dropout(x) A' B'``; ``weight`` and ``bias`` are frozen.

    Args:
        x: (..., k) bf16. weight: (n, k) bf16. bias: (n,) bf16 or None. a: (r, k). b: (n, r); both fp32.
    """
    y: Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, a, b, scale, dropout, _seed(dropout, x.device)
    )
    return y


def residual_norm(y: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float, dropout: float) -> Tensor:
    """``LayerNorm(dropout(y) + residual)`` over the last dimension, with frozen ``weight`` and ``bias``; all bf16."""
    z: Tensor = _ResidualNorm.apply(  # type: ignore[no-untyped-call]
        y, residual, weight, bias, eps, dropout, _seed(dropout, y.device)
    )
    return z


def _seed(dropout: float, device: torch.device) -> Tensor | None:
    # On the GPU, from torch's generator: a forward pass repeated under the same manual_seed drops the same elements,
    # and a captured one draws anew each time.
    return torch.randint(2**31 - 1, (1,), device=device, dtype=torch.int32) if dropout else None


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        p: float,
        seed: Tensor | None,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        y = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
        ctx.factor, ctx.dropout, ctx.shape = scale / (1 - p), (p, seed), x.shape
        h = kernels.project(rows, a, ctx.factor, p, seed)
        kernels.expand(y, h, b.T, 0.0, None)
        ctx.save_for_backward(rows, h, weight, a, b)
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, h, weight, a, b = ctx.saved_tensors
        dy = grads[0].reshape(-1, weight.shape[0]).contiguous()
        dh = kernels.project(dy, b.T, ctx.factor, 0.0, None)
        da = kernels.outer(dh, rows, a, *ctx.dropout)
        db = kernels.outer(h, dy, b.T, 0.0, None).T
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy @ weight
            kernels.expand(dx, dh, a, *ctx.dropout)
            dx = dx.view(ctx.shape)
        return dx, None, None, da, db, None, None, None


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
