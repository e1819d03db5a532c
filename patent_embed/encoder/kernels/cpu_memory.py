"""Memory for the layers on a CPU, so that threads neither wait for fresh pages nor leave holes in the heap."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from patent_embed.encoder.kernels.cpu_dropout import keep_mask

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # as wide as a number; tests compute in fp64


class Scratch(threading.local):
    """Memory by name for what does not outlive a call: the same pages each time, others in each thread."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._memory: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """What it holds is anybody's."""
        count, memory = torch.Size(shape).numel(), self._memory.get(name)
        if memory is None or memory.numel() < count:
            memory = self._memory[name] = torch.empty(count, dtype=self.dtype)
        return memory[:count].view(shape)

    def mask(self, shape: torch.Size, p: float, seed: int) -> Tensor:
        """For ``drop``: the same for the same seed."""
        return as_mask(keep_mask(shape, p, seed), self("mask", *shape))


class Slab:
    """Memory for ``numbers`` that live and die together."""

    def __init__(self, numbers: int, dtype: torch.dtype) -> None:
        self._memory, self._used = torch.empty(numbers, dtype=dtype), 0

    def __call__(self, rows: int, columns: int) -> Tensor:
        """The next ones, (rows, columns)."""
        begin, self._used = self._used, self._used + rows * columns
        return self._memory[begin : self._used].view(rows, columns)


def as_mask(kept: Tensor, memory: Tensor) -> Tensor:
    """``kept`` (booleans) as ``drop`` takes it, in ``memory`` of its shape."""
    return memory.view(_BITS[memory.dtype.itemsize]).copy_(kept.view(torch.int8))


def drop(values: Tensor, mask: Tensor, out: Tensor) -> Tensor:
    """``values`` with zeros where ``mask`` has them, in ``out``.

    ``mask``: integers 0 or 1 as wide as a value. Multiplying the bits takes half as long as multiplying bf16, which is
    converted on its way.
    """
    torch.mul(values.view(mask.dtype), mask, out=out.view(mask.dtype))
    return out
