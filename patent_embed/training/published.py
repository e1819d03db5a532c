"""The weights that a training publishes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]  # by the name of their parameter


def toward_base(trained: Weights, base: Weights, share: float) -> Weights:
    """``trained`` weights, ``share`` of the way back to the base model's (Xiao et al., LM-Cocktail, arXiv 2311.13534).

    Args:
        base: the weights before training; empty where only adapters are trained, which add nothing at the start.
    """
    if not share:
        return trained
    if base:
        return {name: torch.lerp(value, base[name], share) for name, value in trained.items()}
    # A layer's change is B A: one factor is shortened.
    return {name: value * (1 - share) if ".lora_B." in name else value for name, value in trained.items()}
