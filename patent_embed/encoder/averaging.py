"""The mean of several trainings as one model, and as one adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from patent_embed.config.model import ModelConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_model


def average_models(folders: Sequence[Path], out_dir: Path, config: ModelConfig | None = None) -> Path:
    """Write the SentenceTransformer folder whose weights are the mean of those of ``folders``; returns ``out_dir``.

    They must be tuned from one base model: a uniform soup (Wortsman et al., arXiv 2203.05482).
    """
    encoder, *others = (Encoder.load(folder, config) for folder in folders)
    states = [each.state_dict() for each in (encoder, *others)]
    means = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    encoder.load_state_dict(means)
    return export_model(encoder, out_dir)


def average_adapters(folders: Sequence[Path], out_dir: Path) -> Path:
    """Write the LoRA adapter that changes a model by the mean of what those of ``folders`` change; returns ``out_dir``.

    The sum of products ``B A`` is one product of the ``A`` under and the ``B`` beside one another, so its rank is the
    sum of theirs. They must be of one shape and scale.
    """
    count = len(folders)
    states = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    joined = {
        name: torch.cat([state[name] for state in states], 0)
        if ".lora_A." in name
        else torch.cat([state[name] / count for state in states], 1)
        for name in states[0]
    }
    shutil.copytree(folders[0], out_dir, dirs_exist_ok=True)
    save_file(joined, out_dir / "adapter_model.safetensors", {"format": "pt"})
    settings = json.loads((out_dir / "adapter_config.json").read_text(encoding="utf-8"))
    for key in ("r", "lora_alpha"):  # their ratio is the scale
        settings[key] *= count
    (out_dir / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
    return out_dir
