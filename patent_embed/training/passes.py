"""How many tokens a forward pass of training takes."""

from __future__ import annotations

import torch

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.kernels.cpu_fused import CpuFused
from patent_embed.encoder.kernels.fused import Fused

_CPU_BYTES = 17 * 2**26  # what a forward pass on a CPU may keep for the backward pass
_GPU_TOKENS = 65_536  # of a forward pass on a GPU, at most
_GPU_SHARE = 0.9  # of a GPU's memory; the rest is for what passes
_SPLIT_TOKENS = 4096  # of a model that outgrows a GPU, whose layers are as wide as that


def most_tokens(encoder: Encoder, device: torch.device, forward: Fused | CpuFused | None) -> int:
    """Tokens of one forward pass, unless they are set."""
    if encoder.sharded:
        return _SPLIT_TOKENS
    kept = None if forward is None else forward.bytes_per_token
    if device.type != "cuda":
        return 8192 if kept is None else _CPU_BYTES // kept
    if kept is None:
        return _GPU_TOKENS
    # Of the GPU's whole memory, not of what is free now: a run that goes on must cut its batches as before.
    total = torch.cuda.get_device_properties(device).total_memory
    weights = sum(parameter.nbytes for parameter in encoder.model.parameters()) * 3 // 2  # and their copies in bf16
    return tokens_that_fit(int(_GPU_SHARE * total) - weights, kept)


def tokens_that_fit(memory: int, kept: int) -> int:
    """Tokens of a forward pass on a GPU that keeps ``kept`` bytes of each, of ``memory`` bytes beside the weights.

    All is there twice while a graph is captured: of the passes before it, and of the graph.
    """
    return max(512, min(_GPU_TOKENS, memory // (2 * kept)))
