"""Tensors for the kernels: in bf16 on a GPU, elsewhere in fp16 for the interpreter that ``conftest`` turns on."""

from __future__ import annotations

import torch
from torch import Tensor

CUDA = torch.cuda.is_available()
DEVICE, DTYPE = ("cuda", torch.bfloat16) if CUDA else ("cpu", torch.float16)


def random(*shape: int, scale: float = 1.0, dtype: torch.dtype = DTYPE) -> Tensor:
    return (torch.randn(*shape, device=DEVICE) * scale).to(dtype)


def error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.float() - expected.float()).norm() / expected.float().norm()).item()


def kept(seed: Tensor, rows: int, columns: int, p: float, planes: int = 1) -> Tensor:
    """What the kernels' hash keeps: (planes, rows, columns), 1 or 0."""
    mask = 2**32 - 1

    def scramble(h: Tensor) -> Tensor:
        h = ((h ^ (h >> 16)) * 0x7FEB352D) & mask
        h = ((h ^ (h >> 15)) * 0x846CA68B) & mask
        return h ^ (h >> 16)

    row, column, plane = (torch.arange(n, device=seed.device) for n in (rows, columns, planes))
    row = scramble(row ^ seed.long())
    column = scramble((column[None] + 0x9E3779B9 + plane[:, None] * 0x05EBCA6B) & mask ^ seed.long())
    h = row[None, :, None] ^ column[:, None, :]
    return (((h * 0x9E3779B1) & mask) >= int(p * 2**32)).float()


def the_next_seed(p: float) -> Tensor | None:
    """The seed that the next call with dropout draws."""
    from patent_embed.encoder.kernels.gpu_dropout import dropout_seed  # needs Triton

    torch.manual_seed(5)
    seed = dropout_seed(p, torch.device(DEVICE))
    torch.manual_seed(5)
    return seed
