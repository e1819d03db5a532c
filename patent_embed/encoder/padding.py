"""Padded batches, for models that cannot read a packed row: their attention is their own, such as MPNet's and DeBERTa's
relative positions.

Texts of about one length share a call, so that little of it is padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from patent_embed.encoder.packing import PackedBatch

_PADDED = 1.25  # places of a call are at most so many times its tokens


def padded_forward(model: Any, batch: PackedBatch) -> Tensor:
    """Last hidden states, (T, hidden), of the tokens as they stand in ``batch``: what ``packed_forward`` gives."""
    bounds = batch.cu_seq_lens.tolist()
    lengths = [end - begin for begin, end in pairwise(bounds)]
    row = batch.input_ids[0]
    states = [
        _states(model, row[bounds[call.start] : bounds[call.stop]], lengths[call.start : call.stop])
        for call in calls_of(lengths)
    ]
    return torch.cat(states)


def calls_of(lengths: Sequence[int], padded: float = _PADDED) -> Iterator[slice]:
    """Cut texts, the shortest first, so that a call pads them to ``padded`` times their tokens at most."""
    first, tokens = 0, 0
    for last, length in enumerate(lengths):
        if length * (last + 1 - first) > padded * (tokens + length):
            yield slice(first, last)
            first, tokens = last, 0
        tokens += length
    if lengths:
        yield slice(first, len(lengths))


def _states(model: Any, ids: Tensor, lengths: Sequence[int]) -> Tensor:
    """The tokens' states, (tokens, hidden). Padding is on the right, and has the id that the model pads with: some
    count positions by it."""
    real = torch.arange(max(lengths), device=ids.device) < torch.tensor(lengths, device=ids.device)[:, None]
    padded = ids.new_full(real.shape, model.config.pad_token_id or 0)
    padded[real] = ids
    settings = {"use_cache": False} if getattr(model.config, "use_cache", False) else {}
    hidden: Tensor = model(input_ids=padded, attention_mask=real.long(), **settings).last_hidden_state[real]
    return hidden
