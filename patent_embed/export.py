"""Write a trained encoder: as a folder that sentence-transformers alone can load, and its adapter by itself."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Literal, cast

import torch

from patent_embed.encoder import Encoder
from patent_embed.model_folder import write_sentence_transformer_files


def export_model(encoder: Encoder, out_dir: Path, dtype: Literal["fp32", "bf16", "fp16"] = "fp32") -> Path:
    """Write ``encoder`` as an ordinary SentenceTransformer folder with its prompts; returns ``out_dir``.

    Adapters are merged into a copy of the weights; ``encoder`` stays as it is. ``SentenceTransformer(out_dir)``
    then gives the vectors of ``Encoder.encode`` (to 1e-5 in fp32) with nothing of this package installed.
    """
    model: Any = copy.deepcopy(encoder.model).cpu()
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model = model.to({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype])
    out_dir.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out_dir)
    encoder.tokenizer.save_pretrained(out_dir)
    write_sentence_transformer_files(out_dir, encoder.dim, encoder.pooling, encoder.prompts, encoder.max_seq_length)
    return out_dir


def save_adapter(encoder: Encoder, out_dir: Path, base_model: str | None = None) -> Path:
    """Write the LoRA adapters in PEFT's format (safetensors); returns ``out_dir``. Raises ValueError without any.

    ``base_model`` is what the adapter calls the model below it; None: the folder that it was loaded from.
    """
    if not hasattr(encoder.model, "peft_config"):
        raise ValueError("the encoder has no adapter: it was trained without LoRA")
    model = cast(Any, encoder.model)
    for adapter in model.peft_config.values():
        adapter.base_model_name_or_path = base_model or adapter.base_model_name_or_path
        adapter.target_modules = sorted(adapter.target_modules)  # a set is written in another order by every process
    model.save_pretrained(out_dir)
    return out_dir
