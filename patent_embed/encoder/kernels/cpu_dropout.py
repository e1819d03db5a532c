"""Dropout that is fast on a CPU.

torch draws a CPU mask one number after the other, from a generator made for quality; a profile of LoRA training of a
small BERT showed 87 % of the time there. Here a mask takes 8 bits a number from SFC64, whose seed
comes from torch's generator, so ``torch.manual_seed`` decides it as before. Threads draw pieces of a fixed size, so
their number does not matter. On other devices torch's own is used. ``benchmarks/dropout.py`` measures both.
"""

from __future__ import annotations

import functools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_PIECE = 1 << 18  # numbers of a mask that one thread draws


def dropout(values: Tensor, p: float) -> Tensor:
    """Set each value to 0 with probability ``p`` (to 1/65,536), and scale the others so that the mean stays."""
    if p <= 0:
        return values
    if values.device.type != "cpu":
        return nn.functional.dropout(values, p)
    mask = keep_mask(values.shape, p, int(torch.randint(2**63 - 1, ())))
    result: Tensor = _MaskedScale.apply(values, mask, 1 / kept_share(p))  # type: ignore[no-untyped-call]
    return result


def use_fast_dropout(model: nn.Module) -> None:
    """Make every ``nn.Dropout`` of ``model`` draw its mask here. Rates, names and weights stay."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, FastDropout(child.p))


class FastDropout(nn.Dropout):
    """Torch's module with the masks of this one."""

    def forward(self, values: Tensor) -> Tensor:
        """``values`` (any shape) dropped in training, as they are otherwise."""
        return dropout(values, self.p) if self.training else values


def _threshold(p: float) -> int:
    return min(round(p * 2**16), 2**16 - 1)


def keep_mask(shape: torch.Size, p: float, seed: int) -> Tensor:
    """Booleans, False with probability ``p`` (to 1/65,536); those of a seed are always the same."""
    count = shape.numel()
    kept = np.empty(count, np.bool_)
    work = [(seed, begin, kept[begin : begin + _PIECE], p) for begin in range(0, count, _PIECE)]
    if len(work) > 1 and torch.get_num_threads() > 1:
        deque(_threads().map(lambda piece: _draw(*piece), work), maxlen=0)
    else:
        for piece in work:
            _draw(*piece)
    return torch.from_numpy(kept).view(shape)


def _draw(seed: int, begin: int, kept: NDArray[np.bool_], p: float) -> None:
    """A byte decides to 1/256; what ``p`` has beyond that are a few places more, each as likely as the other.

    A number stays with ``(1 - high/256) (1 - rest)``, and ``rest`` is chosen so that this is ``1 - p``.
    """
    random = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, begin])))
    # The whole range of a word: what SFC64 gives, drawn without Python's lock.
    words = random.integers(0, 2**64 - 1, -(-len(kept) // 8), np.uint64, endpoint=True)
    high, low = divmod(_threshold(p), 256)
    np.greater_equal(words.view(np.uint8)[: len(kept)], high, out=kept)
    rest = low / 256 / (256 - high)
    place = -1
    while rest and place < len(kept):
        # Distances between places of equal chance are geometric.
        places = place + random.geometric(rest, int(1.1 * rest * len(kept)) + 8).cumsum()
        kept[places[: int(np.searchsorted(places, len(kept)))]] = False
        place = int(places[-1])


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(2, min(8, torch.get_num_threads())))


def kept_share(p: float) -> float:
    """The probability with which ``keep_mask`` is True."""
    return 1 - _threshold(p) / 2**16 if p > 0 else 1.0


class _MaskedScale(torch.autograd.Function):
    """``values * mask * scale``; keeps one byte an element for the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return values.mul(mask).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0].mul(mask).mul_(ctx.scale), None, None
