"""The two collectives that training needs. Outside a process group they are the identity."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Of this process; 0 where there is only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def missing(counts: Sequence[int]) -> int:
    """How many this rank has less than the one with most; ``counts``: of every rank."""
    return max(counts) - counts[rank()]


def sum_over_ranks(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all ranks, in place, with one message."""
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    torch._foreach_copy_(list(tensors), [part.view_as(t) for part, t in zip(parts, tensors, strict=True)])


def gather_rows(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """The rows of all ranks in rank order. ``rows``: (sizes[rank], dim) → (sum(sizes), dim), without gradient."""
    if world_size() == 1:
        return rows.detach()
    widest = max(sizes)
    padded = rows.new_zeros((widest, rows.shape[1]))
    padded[: rows.shape[0]] = rows.detach()
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])


def split_by_weight(weights: np.ndarray, parts: int) -> list[slice]:
    """Cut a list into ``parts`` runs of about the same total weight, one for each rank; a run may be empty."""
    filled = np.cumsum(weights)
    total = int(filled[-1]) if len(filled) else 0
    bounds = [0, *(int(np.searchsorted(filled, total * i / parts)) for i in range(1, parts)), len(weights)]
    return [slice(begin, end) for begin, end in pairwise(bounds)]
