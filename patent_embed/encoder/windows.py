"""Which keys the queries of a local window read, piece by piece, so that no mask is of a text's length squared.

A window of ``w`` lets a token see those less than ``w`` places away, itself included: on both sides, or, where
attention is causal, on the left. This is what transformers means by the ``sliding_window`` that it hands to an
attention function.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_QUERIES = 64  # of a piece, where the window is smaller


class Piece(NamedTuple):
    """Some queries of a text, and what they may read.

    Attributes:
        queries, keys: places in the text.
        mask: (queries, keys) booleans, True where a query reads a key.
    """

    queries: slice
    keys: slice
    mask: Tensor


def pieces(length: int, window: int, causal: bool, device: torch.device) -> Iterator[Piece]:
    """The queries of a text of ``length`` tokens, each once and in order.

    A piece has ``window`` queries, so its mask is of at most three windows squared.
    """
    step = max(window, _QUERIES)
    for begin in range(0, length, step):
        end = min(begin + step, length)
        first, last = max(0, begin - window + 1), end if causal else min(length, end + window - 1)
        behind = torch.arange(begin, end, device=device)[:, None] - torch.arange(first, last, device=device)[None]
        mask = (behind < window) & (behind >= 0 if causal else behind > -window)
        yield Piece(slice(begin, end), slice(first, last), mask)
