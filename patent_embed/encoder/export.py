"""Write a trained encoder: a folder that sentence-transformers alone can load, ONNX, and its adapter by itself."""

from __future__ import annotations

import copy
import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
import yaml

from patent_embed.config.commands import Format
from patent_embed.config.model import Kind
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.head import load_head
from patent_embed.encoder.model_folder import read_sentence_transformer_files, write_sentence_transformer_files
from patent_embed.errors import UserError

Dtype = Literal["fp32", "bf16", "fp16"]
Encode = Callable[[list[str], Kind], np.ndarray]
ONNX_FILE = "onnx/model.onnx"  # where sentence-transformers looks for it
_TORCH: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


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
    return _export_onnx(model_dir, out_dir, quantize=format == "onnx-int8")


def load_format(folder: Path, format: Format) -> Encode:
    """What a user of an exported folder gets: texts and their kind to (n, dim) float32 of length 1.

    Folders of weights go through ``SentenceTransformer`` on a GPU where there is one, in the type of the weights;
    ONNX through onnxruntime on the CPU.
    """
    if format not in get_args(Dtype):
        return OnnxEncoder(folder).encode
    from sentence_transformers import SentenceTransformer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = SentenceTransformer(str(folder), device=device)

    def encode(texts: list[str], kind: Kind) -> np.ndarray:
        vectors = model.encode(texts, prompt_name=kind, convert_to_tensor=True, show_progress_bar=False)
        return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()

    return encode


def require_packages(format: Format) -> None:
    """Raises UserError where ``format`` needs packages that are not installed."""
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing and format not in get_args(Dtype):
        raise UserError(
            f"format {format!r} needs {', '.join(missing)}, which is not installed; install the extra: "
            'pip install "patent-embed[export]"'
        )


class _LastHiddenState(torch.nn.Module):
    """The one output that pooling reads."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)


def _export_onnx(model_dir: Path, out_dir: Path, *, quantize: bool) -> Path:
    """Write ``onnx/model.onnx``, the tokenizer, and the files by which sentence-transformers pools.

    The model takes ``input_ids`` and ``attention_mask``, (batch, tokens) int64, and gives ``last_hidden_state``. It is
    made by torch's exporter: that of optimum, which sentence-transformers would call, needs a transformers below 4.58
    (optimum-onnx 0.1), and sentence-transformers 6 one of 5. int8: weights per channel, activations when they are
    known (onnxruntime's dynamic quantisation).
    """
    require_packages("onnx")
    encoder = Encoder.load(model_dir)
    model, tokenizer = cast(Any, encoder.model), encoder.tokenizer
    if encoder.packs:
        model.set_attn_implementation("sdpa")
    # Two texts of several tokens: a size of 1 would be taken for a constant.
    example = tokenizer(["一种装置", "包括底座"], padding=True, return_tensors="pt")
    names = ("input_ids", "attention_mask")
    dynamic = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in names}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which text does not need
        program = torch.onnx.export(
            _LastHiddenState(model).eval(),
            kwargs={name: example[name] for name in names},
            input_names=list(names),
            output_names=["last_hidden_state"],
            dynamic_shapes=dynamic,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is given no file to write to
    target = out_dir / ONNX_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    if quantize:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as scratch:
            program.save(str(Path(scratch) / "model.onnx"))
            logging.getLogger().addFilter(_no_advice)
            try:
                quantize_dynamic(Path(scratch) / "model.onnx", target, weight_type=QuantType.QInt8, per_channel=True)
            finally:
                logging.getLogger().removeFilter(_no_advice)
    else:
        program.save(str(target))
    model.config.save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    _write_files(encoder, out_dir)
    return out_dir


def _no_advice(record: logging.LogRecord) -> bool:
    """Drops what onnxruntime advises, on the root logger: a preparation that is for convolutions."""
    return "pre-processing before quantization" not in record.getMessage()


class OnnxEncoder:
    """An exported ONNX folder on onnxruntime's CPU provider.

    It gives what ``SentenceTransformer(folder, backend="onnx")`` computes where optimum is installed.
    """

    def __init__(self, folder: Path, batch_size: int = 32) -> None:
        import onnxruntime
        from transformers import AutoTokenizer

        files = read_sentence_transformer_files(folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
        self._session = onnxruntime.InferenceSession(folder / ONNX_FILE, providers=["CPUExecutionProvider"])
        self._prompts, self._pooling, self._length = files.prompts, files.pooling, files.max_seq_length
        self._head = load_head(folder, files.dense)
        self._batch_size = batch_size

    def encode(self, texts: list[str], kind: Kind = "passage") -> np.ndarray:
        """(n, dim) float32 of length 1, in the order of ``texts``; batches are of texts of like length."""
        prompt = self._prompts.get(kind, "")
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        parts = []
        for begin in range(0, len(order), self._batch_size):
            batch = [prompt + texts[row] for row in order[begin : begin + self._batch_size]]
            tokens = self._tokenizer(batch, padding=True, truncation=True, max_length=self._length, return_tensors="np")
            feed = {name: tokens[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
            hidden = self._session.run(["last_hidden_state"], feed)[0]
            mask = feed["attention_mask"]
            if self._pooling == "mean":
                pooled = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
            else:
                last = 0 if self._pooling == "cls" else mask.sum(axis=1) - 1
                pooled = hidden[np.arange(len(hidden)), last]
            if self._head.dim is not None:
                with torch.inference_mode():
                    pooled = self._head(torch.from_numpy(pooled.astype(np.float32))).numpy()
            parts.append(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
        vectors = np.concatenate(parts).astype(np.float32)
        result = np.empty_like(vectors)
        result[order] = vectors
        return result
