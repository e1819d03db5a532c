"""Write a trained encoder: a folder that sentence-transformers alone can load, graphs, and its adapter by itself."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
import yaml

from patent_embed.config.commands import Format
from patent_embed.config.model import Kind
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.model_folder import write_sentence_transformer_files
from patent_embed.encoder.runtimes import (
    ONNX_FILE,
    OPENVINO_FILE,
    GraphEncoder,
    onnx_runtime,
    openvino_runtime,
    write_onnx,
    write_openvino,
)
from patent_embed.errors import UserError

Dtype = Literal["fp32", "bf16", "fp16"]
Encode = Callable[[list[str], Kind], np.ndarray]
_TORCH: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# By the first word of a format: the extra that brings what it needs, and that, as it is imported.
_NEEDS = {
    "onnx": ("export", ("onnx", "onnxscript", "onnxruntime")),
    "openvino": ("openvino", ("onnx", "onnxscript", "openvino", "nncf")),
}


def export_model(encoder: Encoder, out_dir: Path, dtype: Dtype = "fp32") -> Path:
    """Write ``encoder`` as an ordinary SentenceTransformer folder with its prompts; returns ``out_dir``.

    Adapters are merged into a copy of the weights; ``encoder`` stays as it is. ``SentenceTransformer(out_dir)``
    then gives the vectors of ``Encoder.encode`` (to 1e-5 in fp32) with nothing of this package installed.
    """
    model: Any = copy.deepcopy(encoder.model).cpu()
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model = model.to(_TORCH[dtype])
    out_dir.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out_dir)
    encoder.tokenizer.save_pretrained(out_dir)
    _write_files(encoder, out_dir, _TORCH[dtype])
    return out_dir


def _write_files(encoder: Encoder, out_dir: Path, dtype: torch.dtype = torch.float32) -> None:
    """What sentence-transformers reads beside the transformer; ``dtype``: of the Dense layers."""
    head = copy.deepcopy(encoder.head).cpu().to(dtype)
    write_sentence_transformer_files(
        out_dir,
        encoder.width,
        encoder.pooling,
        encoder.prompts,
        encoder.max_seq_length,
        dense=head.save(out_dir),
        named=encoder.named_prompts,
    )


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
    # PEFT's own card is a form to fill in, its tags in another order in every process.
    header = {"base_model": adapter.base_model_name_or_path, "library_name": "peft", "tags": ["lora"]}
    (out_dir / "README.md").write_text(
        f"---\n{yaml.safe_dump(header)}---\n\n# LoRA adapter\n\nThe same model with the adapter merged, its prompts "
        "and its measurements are in `../model`.\n",
        encoding="utf-8",
    )
    return out_dir


def export_format(model_dir: Path, out_dir: Path, format: Format) -> Path:
    """Write the SentenceTransformer folder ``model_dir`` in another format into ``out_dir``, which is returned.

    Raises:
        UserError: the format needs packages that are not installed.
    """
    if format in get_args(Dtype):
        return export_model(Encoder.load(model_dir), out_dir, cast(Dtype, format))
    require_packages(format)
    encoder = Encoder.load(model_dir)
    write, file = (write_onnx, ONNX_FILE) if format.startswith("onnx") else (write_openvino, OPENVINO_FILE)
    write(encoder, out_dir / file, int8=format.endswith("int8"))
    cast(Any, encoder.model).config.save_pretrained(out_dir)
    encoder.tokenizer.save_pretrained(out_dir)
    _write_files(encoder, out_dir)
    return out_dir


def load_format(folder: Path, format: Format) -> Encode:
    """What a user of an exported folder gets: texts and their kind to (n, dim) float32 of length 1.

    Folders of weights go through ``SentenceTransformer`` on a GPU where there is one, in the type of the weights;
    graphs through their runtimes on the CPU.
    """
    if format not in get_args(Dtype):
        runtime = onnx_runtime if format.startswith("onnx") else openvino_runtime
        return GraphEncoder(folder, runtime(folder)).encode
    from sentence_transformers import SentenceTransformer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = SentenceTransformer(str(folder), device=device)

    def encode(texts: list[str], kind: Kind) -> np.ndarray:
        vectors = model.encode(texts, prompt_name=kind, convert_to_tensor=True, show_progress_bar=False)
        return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()

    return encode


def require_packages(format: Format) -> None:
    """Raises UserError where ``format`` needs packages that are not installed."""
    extra, needed = _NEEDS.get(format.partition("-")[0], ("", ()))
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"format {format!r} needs {', '.join(missing)}, which is not installed; install the extra: "
            f'pip install "patent-embed[{extra}]"'
        )
