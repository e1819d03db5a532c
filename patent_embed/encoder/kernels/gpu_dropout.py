"""Dropout on a GPU, drawn inside the kernels from a hash of (seed, row, column), so that no mask is ever stored."""

# Triton comes with torch's CUDA builds only, and its language is not typed.
# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _hash(h):
    """An integer hash (Wellons, "lowbias32")."""
    h = (h ^ (h >> 16)) * 0x7FEB352D
    h = (h ^ (h >> 15)) * 0x846CA68B
    return h ^ (h >> 16)


@triton.jit
def row_hash(seed, m):
    """Of the rows ``m``, uint32."""
    return _hash(m.to(tl.uint32) ^ seed)


@triton.jit
def column_hash(seed, k, plane):
    """Of the columns ``k`` of a plane (a head of attention)."""
    return _hash((k.to(tl.uint32) + 0x9E3779B9 + plane * 0x05EBCA6B) ^ seed)


@triton.jit
def survives(h, threshold: tl.constexpr):
    """Dropout's decision, against p * 2**32, on elements whose row's and column's hash are joined by xor in ``h``.

    One multiplication (by 2**32 over the golden ratio) an element: the kernels would wait for more, and its bits are as
    good as those of a longer hash here, since both halves of ``h`` are hashes already.
    """
    return h * 0x9E3779B1 >= threshold


@triton.jit
def keep(seed, m, k, threshold: tl.constexpr):
    """Dropout's decision on the elements of rows ``m`` and columns ``k``, from the seed that lies at ``seed``."""
    start = tl.load(seed).to(tl.uint32)
    return survives(row_hash(start, m)[:, None] ^ column_hash(start, k, 0)[None, :], threshold)


def threshold(dropout: float) -> int:
    """What a hash must reach to survive."""
    return int(dropout * 2**32)


_drawn: list[Tensor] = []


@contextlib.contextmanager
def seeds_drawn_at_once(device: torch.device) -> Iterator[None]:
    """``dropout_seed`` gives numbers that are drawn together here, instead of a launch for each."""
    # Four apart: Triton compiles a kernel anew for an address that is no multiple of 16.
    _drawn.extend(torch.randint(2**31 - 1, (1024, 4), device=device, dtype=torch.int32).unbind())
    try:
        yield
    finally:
        _drawn.clear()


def dropout_seed(dropout: float, device: torch.device) -> Tensor | None:
    """A seed on the GPU, from torch's generator; None without dropout.

    A forward pass repeated under the same manual_seed drops the same elements, and a captured one draws anew each time.
    """
    if not dropout:
        return None
    return _drawn.pop() if _drawn else torch.randint(2**31 - 1, (1,), device=device, dtype=torch.int32)
