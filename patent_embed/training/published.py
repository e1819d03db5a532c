"""The weights that a training publishes: its own, or a mean of them with those of the base model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from patent_embed.encoder.encoder import Encoder

Weights = Mapping[str, Tensor]  # by the name of their parameter
_ADAPTER_FILE = "adapter_model.safetensors"


def toward_base(trained: Weights, base: Weights, share: float) -> Weights:
    """``trained`` weights, ``share`` of the way back to the base model's (Xiao et al., LM-Cocktail, arXiv 2311.13534).

    Args:
        base: the weights before training; empty where only adapters are trained, which add nothing at the start.
    """
    if not share:
        return trained
    if base:
        return {
            name: torch.lerp(value, base[name], share) if value.is_floating_point() else value
            for name, value in trained.items()
        }
    # A layer's change is B A: one factor is shortened.
    return {name: value * (1 - share) if ".lora_B." in name else value for name, value in trained.items()}


class Mixed:
    """A trained encoder with any share of its base model's weights, on the trained one's device."""

    def __init__(self, base: Encoder, trained: Encoder) -> None:
        self.encoder = trained
        self._base, self._trained = (
            {name: value.detach().clone() for name, value in each.state_dict().items()} for each in (base, trained)
        )

    def at(self, share: float) -> Encoder:
        """The encoder, until the next call, with ``share`` of the base model in it: 0 the trained one, 1 the base."""
        self.encoder.load_state_dict(toward_base(self._trained, self._base, share))
        return self.encoder


def mix_adapter(folder: Path, out_dir: Path, share: float) -> Path:
    """Write the LoRA adapter of ``folder`` with ``share`` of the base model in it; returns ``out_dir``."""
    shutil.copytree(folder, out_dir)
    weights = toward_base(load_file(folder / _ADAPTER_FILE), {}, share)
    save_file(dict(weights), out_dir / _ADAPTER_FILE, {"format": "pt"})
    return out_dir
