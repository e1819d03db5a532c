"""Forward and backward passes as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from patent_embed.devices import to_device
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import PackedBatch, fill_up


class Graphs:
    """``encoder.forward`` and its backward pass as CUDA graphs, one for each size of a batch.

    A small batch is otherwise bound by the time Python takes to launch some 2,000 kernels. Batches are filled up to few
    sizes, since every graph keeps memory; a size's first batch costs some forward and backward passes. For use inside
    one ``Fused`` only: the graphs remember where the weights lie. Collectives stay outside, so ranks may capture beside
    NCCL; that all fill up to one size makes them capture at the same time.

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
