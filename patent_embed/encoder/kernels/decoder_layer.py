"""One decoder layer of Qwen3's kind with LoRA as one differentiable function, for training on a GPU.

It is grouped-query attention with rotary positions, after a norm of each head or none, and SwiGLU, each after an
RMSNorm and added to its input. Here

- queries, keys and values are one product, gate and up are another one, and adapters cost what ``lora`` says;
- a residual sum is made where its norm is, and a layer begins with the sum that ends the one before it;
- what is cheap is computed again in the backward pass: norms, rotations, SwiGLU, and dropout from a seed. Kept of a
  token are both residual sums, queries, keys and values before their norms, attention's output, gate and up.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

if TYPE_CHECKING or importlib.util.find_spec("triton") is not None:
    from patent_embed.encoder.kernels import decoder_launches, gpu_dropout, launches
    from patent_embed.encoder.kernels.attention import Asked, attend, attend_backward
    from patent_embed.encoder.kernels.decoder_launches import Rotation


class Drawn(NamedTuple):
    """The adapters of some layers as a forward pass uses them.

    ``down`` (r, k): their ``A`` under one another; ``up`` (n, r): their ``B`` on a diagonal of blocks.
    """

    down: Tensor
    up: Tensor
    factor: float
    dropout: float
    seed: Tensor | None


class Linears:
    """LoRA layers of one input as one product.

    Args:
        layers: PEFT's, with one adapter each, of one rank, scale and dropout.
        dtype: of the products; frozen weights are copied to it.
    """

    def __init__(self, layers: Sequence[Any], dtype: torch.dtype) -> None:
        (name,) = layers[0].active_adapters
        bases = [layer.get_base_layer() for layer in layers]
        self._adapters = [(layer.lora_A[name].weight, layer.lora_B[name].weight) for layer in layers]
        self._scale, self._dropout = layers[0].scaling[name], layers[0].lora_dropout[name]
        self.blocks = [tuple(up.shape) for _, up in self._adapters]
        self.weight = torch.cat([base.weight.detach().to(dtype) for base in bases])
        self.bias = None
        if any(base.bias is not None for base in bases):
            zeros = [base.weight.new_zeros(len(base.weight)) if base.bias is None else base.bias for base in bases]
            self.bias = torch.cat([bias.detach().to(dtype) for bias in zeros])

    @property
    def parameters(self) -> list[nn.Parameter]:
        """A and B of each adapter."""
        return [parameter for pair in self._adapters for parameter in pair]

    def draw(self) -> Drawn:
        """The adapters as they are now, and dropout."""
        downs, ups = zip(*self._adapters, strict=True)
        p = self._dropout.p if self._dropout.training and isinstance(self._dropout, nn.Dropout) else 0.0
        down, up = downs[0].detach(), ups[0].detach()
        if len(ups) > 1:
            down, up = torch.cat(downs), torch.block_diag(*ups)  # type: ignore[no-untyped-call]
        return Drawn(down, up, self._scale / (1 - p), p, gpu_dropout.dropout_seed(p, down.device))

    def __call__(self, x: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """The layers' outputs beside one another, (T, n), and the adapters' (T, r), of ``x`` (T, k)."""
        h = launches.project(x, drawn.down, drawn.factor, drawn.dropout, drawn.seed)
        return self.expanded(x, h, drawn), h

    def expanded(self, x: Tensor, h: Tensor, drawn: Drawn) -> Tensor:
        """The outputs where ``h`` is there already."""
        return launches.linear(x, self.weight, self.bias, h, drawn.up)

    def backward_up(self, dy: Tensor, h: Tensor, drawn: Drawn) -> tuple[Tensor, list[Tensor]]:
        """What comes through the adapters to their input, (T, r), and gradients of ``B``."""
        return launches.up_backward(dy, drawn.up, h, drawn.factor, self.blocks)

    def backward_input(self, dy: Tensor, dh: Tensor, drawn: Drawn) -> Tensor:
        """The gradient of the input."""
        return launches.expand(dh, drawn.down, None, drawn.dropout, drawn.seed).addmm_(dy, self.weight)

    def backward_down(self, dh: Tensor, x: Tensor, drawn: Drawn, norm: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """The gradient of all ``A``. ``norm``: factors of x's rows and columns, which an RMSNorm multiplies with."""
        return launches.outer(dh, x, drawn.dropout, drawn.seed, norm)

    def gradients(self, ddown: Tensor, dups: Sequence[Tensor]) -> list[Tensor]:
        """In the order of ``parameters``."""
        ddowns = torch.split(ddown, [rank for _, rank in self.blocks])
        return [gradient for pair in zip(ddowns, dups, strict=True) for gradient in pair]


class Norm(NamedTuple):
    """An RMSNorm with a frozen weight."""

    weight: Tensor
    eps: float


class Kept(NamedTuple):
    """Of a layer's forward pass; each is (T, its width), ``rstd`` (T,), ``lse`` (heads, T).

    Where ``rows`` (n,) are all that is asked for, what comes after ``lse`` has n rows, and so has ``h`` but its first.
    """

    asked: Asked
    rotation: Rotation
    rows: Tensor | None
    drawn: Sequence[Drawn]
    h: Sequence[Tensor]
    s0: Tensor
    rstd0: Tensor
    qkv: Tensor
    mixed: Tensor
    lse: Tensor
    asked_mixed: Tensor
    s1: Tensor
    rstd1: Tensor
    gate_up: Tensor


@dataclass(frozen=True)
class DecoderLayer:
    """A layer. ``heads``: of queries and of keys; ``size``: of a head; ``head_norms``: of queries and of keys."""

    before: Norm
    qkv: Linears
    out: Linears
    middle: Norm
    gate_up: Linears
    down: Linears
    heads: tuple[int, int]
    size: int
    head_norms: tuple[Norm, Norm] | None
    attention: Any  # the module, whose dropout may change

    @property
    def linears(self) -> tuple[Linears, Linears, Linears, Linears]:
        """In the order of ``parameters``."""
        return self.qkv, self.out, self.gate_up, self.down

    @property
    def kept_numbers(self) -> int:
        """Numbers that ``Kept`` has of a token, but for adapters' and fp32 ones."""
        sums = 2 * len(self.before.weight)
        return sums + len(self.qkv.weight) + self.heads[0] * self.size + len(self.gate_up.weight)

    def forward(
        self, residual: Tensor, y: Tensor | None, asked: Asked, cos: Tensor, sin: Tensor, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Kept]:
        """The two parts of the layer's output, (T or n, hidden) each, and what ``backward`` needs.

        Args:
            residual, y: the two parts of its input, (T, hidden); y None where there is one.
            asked: of attention, but for its scale and dropout.
            cos, sin: (T, size) fp32 of the tokens' positions.
            rows: (n,) the tokens whose output is asked for; None: all.
        """
        asked, rotation, drawn = self._asked(asked), self._rotation(cos, sin), [each.draw() for each in self.linears]
        s0, x, rstd0 = decoder_launches.norm(residual, y, *self.before)
        qkv, h_qkv = self.qkv(x, drawn[0])
        q, k = rotation(qkv)
        mixed, lse = attend(q, k, rotation.split(qkv)[2], asked)
        mixed = mixed.flatten(1)
        asked_mixed, residual = (each if rows is None else each[rows] for each in (mixed, s0))
        y, h_out = self.out(asked_mixed, drawn[1])
        s1, x, rstd1 = decoder_launches.norm(residual, y, *self.middle)
        gate_up, h_gate_up = self.gate_up(x, drawn[2])
        of_down = drawn[3]
        x, h_down = decoder_launches.swiglu_project(
            gate_up, of_down.down, of_down.factor, of_down.dropout, of_down.seed
        )
        y = self.down.expanded(x, h_down, of_down)
        h = (h_qkv, h_out, h_gate_up, h_down)
        kept = Kept(asked, rotation, rows, drawn, h, s0, rstd0, qkv, mixed, lse, asked_mixed, s1, rstd1, gate_up)
        return s1, y, kept

    def backward(self, ds: Tensor, kept: Kept, needs_input: bool = True) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients of the input's sum and of the ``parameters`` from that of the output's sum."""
        ds1, of_mlp = self._backward_mlp(ds, kept)
        below, of_attention = self._backward_attention(ds1, kept, needs_input)
        return below, [*of_attention, *of_mlp]

    def _backward_mlp(self, ds: Tensor, kept: Kept) -> tuple[Tensor, list[Tensor]]:
        """Gradients of ``s1`` and of the adapters of gate, up and down."""
        drawn = kept.drawn[3]
        dh, dups = self.down.backward_up(ds, kept.h[3], drawn)
        dgate_up, ddown = decoder_launches.swiglu_backward(
            ds @ self.down.weight, kept.gate_up, dh, drawn.down, drawn.dropout, drawn.seed
        )
        of_down = self.down.gradients(ddown, dups)
        drawn = kept.drawn[2]
        dh, dups = self.gate_up.backward_up(dgate_up, kept.h[2], drawn)
        ddown = self.gate_up.backward_down(dh, kept.s1, drawn, (kept.rstd1, self.middle.weight))
        dx = self.gate_up.backward_input(dgate_up, dh, drawn)
        ds1 = decoder_launches.norm_backward(dx, kept.s1, kept.rstd1, self.middle.weight, ds)
        return ds1, [*self.gate_up.gradients(ddown, dups), *of_down]

    def _backward_attention(self, ds1: Tensor, kept: Kept, needs_input: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients of ``s0`` and of the adapters of queries, keys, values and output."""
        drawn = kept.drawn[1]
        dh, dups = self.out.backward_up(ds1, kept.h[1], drawn)
        of_out = self.out.gradients(self.out.backward_down(dh, kept.asked_mixed, drawn), dups)
        dmixed = self.out.backward_input(ds1, dh, drawn)
        if kept.rows is not None:
            dmixed, ds1 = (
                each.new_zeros(len(kept.qkv), each.shape[1]).index_copy_(0, kept.rows, each) for each in (dmixed, ds1)
            )
        dqkv = self._backward_heads(dmixed, kept)
        drawn = kept.drawn[0]
        dh, dups = self.qkv.backward_up(dqkv, kept.h[0], drawn)
        ddown = self.qkv.backward_down(dh, kept.s0, drawn, (kept.rstd0, self.before.weight))
        below = None
        if needs_input:
            dx = self.qkv.backward_input(dqkv, dh, drawn)
            below = decoder_launches.norm_backward(dx, kept.s0, kept.rstd0, self.before.weight, ds1)
        return below, [*self.qkv.gradients(ddown, dups), *of_out]

    def _backward_heads(self, dmixed: Tensor, kept: Kept) -> Tensor:
        """The gradient of queries, keys and values beside one another, before norms and rotation."""
        q, k = kept.rotation(kept.qkv)
        v = kept.rotation.split(kept.qkv)[2]
        dq, _, _ = attend_backward(dmixed.view(q.shape), q, k, v, kept.mixed.view(q.shape), kept.lse, kept.asked)
        dqkv = dq.as_strided(kept.qkv.shape, kept.qkv.stride())
        kept.rotation.backward(dqkv, kept.qkv)
        return dqkv

    def _asked(self, asked: Asked) -> Asked:
        p = self.attention.attention_dropout if self.attention.training else 0.0
        seed = gpu_dropout.dropout_seed(p, asked.bounds.device)
        return asked._replace(scale=self.attention.scaling, dropout=p, seed=seed)

    def _rotation(self, cos: Tensor, sin: Tensor) -> Rotation:
        norms = None if self.head_norms is None else (self.head_norms[0].weight, self.head_norms[1].weight)
        eps = 0.0 if self.head_norms is None else self.head_norms[0].eps
        return Rotation(cos, sin, *self.heads, self.size, norms, eps)
