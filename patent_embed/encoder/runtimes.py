"""The encoder as a graph, ONNX's or OpenVINO's, and the runtimes that compute it on a CPU."""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from patent_embed.config.model import Kind
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.head import load_head
from patent_embed.encoder.model_folder import read_sentence_transformer_files

# Where sentence-transformers looks for them.
ONNX_FILE, OPENVINO_FILE = "onnx/model.onnx", "openvino/openvino_model.xml"
_INPUTS = ("input_ids", "attention_mask")

TokenStates = Callable[[NDArray[np.int64], NDArray[np.int64]], np.ndarray]
"""Token ids and attention mask, each (batch, tokens), to the last hidden state (batch, tokens, width) float32."""


class _LastHiddenState(torch.nn.Module):
    """The one output that pooling reads."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)


def write_onnx(encoder: Encoder, path: Path, *, int8: bool) -> None:
    """Write the transformer of ``encoder`` as the ONNX file ``path``.

    It takes ``input_ids`` and ``attention_mask``, (batch, tokens) int64, and gives ``last_hidden_state``. It is made by
    torch's exporter: that of optimum, which sentence-transformers would call, needs a transformers below 4.58
    (optimum-onnx 0.1), and sentence-transformers 6 one of 5. int8: weights per channel, activations when they are
    known (onnxruntime's dynamic quantisation).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    program = _onnx_program(encoder)
    if not int8:
        program.save(str(path))
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        program.save(str(Path(scratch) / "model.onnx"))
        logging.getLogger().addFilter(_no_advice)
        try:
            quantize_dynamic(Path(scratch) / "model.onnx", path, weight_type=QuantType.QInt8, per_channel=True)
        finally:
            logging.getLogger().removeFilter(_no_advice)


def write_openvino(encoder: Encoder, path: Path, *, int8: bool) -> None:
    """Write the transformer of ``encoder`` as OpenVINO's files ``path`` (.xml) and its weights beside it (.bin).

    OpenVINO's own converter makes them from the ONNX graph: optimum-intel 2.2, by which sentence-transformers would,
    needs a transformers below 5.6. int8: weights per channel by NNCF; activations stay what they are.
    """
    openvino = _openvino()
    with tempfile.TemporaryDirectory() as scratch:
        onnx = Path(scratch) / "model.onnx"
        _onnx_program(encoder).save(str(onnx))
        graph = openvino.convert_model(onnx)
        if int8:
            import nncf

            nncf.set_log_level(logging.ERROR)
            graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(graph, path, compress_to_fp16=False)


def onnx_runtime(folder: Path) -> TokenStates:
    """The graph in an exported folder on onnxruntime's CPU provider."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / ONNX_FILE, providers=["CPUExecutionProvider"])

    def states(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> np.ndarray:
        hidden: np.ndarray = session.run(["last_hidden_state"], dict(zip(_INPUTS, (ids, mask), strict=True)))[0]
        return hidden

    return states


def openvino_runtime(folder: Path) -> TokenStates:
    """The graph in an exported folder on OpenVINO's CPU plugin, computed in fp32: left alone it takes bf16 where the
    CPU has that."""
    model = _openvino().Core().compile_model(folder / OPENVINO_FILE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def states(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> np.ndarray:
        hidden: np.ndarray = model(dict(zip(_INPUTS, (ids, mask), strict=True)))[0]
        return hidden

    return states


class GraphEncoder:
    """An exported folder: its tokenizer, its graph in a runtime, and pooling by its files.

    It gives what ``SentenceTransformer(folder, backend=…)`` computes where optimum is installed.
    """

    def __init__(self, folder: Path, states: TokenStates, batch_size: int = 32) -> None:
        from transformers import AutoTokenizer

        files = read_sentence_transformer_files(folder)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
        self._states, self._batch_size = states, batch_size
        self._prompts, self._pooling, self._length = files.prompts, files.pooling, files.max_seq_length
        self._head = load_head(folder, files.dense)

    def encode(self, texts: list[str], kind: Kind = "passage") -> np.ndarray:
        """(n, dim) float32 of length 1, in the order of ``texts``; batches are of texts of like length."""
        prompt = self._prompts.get(kind, "")
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        parts = []
        for begin in range(0, len(order), self._batch_size):
            batch = [prompt + texts[row] for row in order[begin : begin + self._batch_size]]
            tokens = self._tokenizer(batch, padding=True, truncation=True, max_length=self._length, return_tensors="np")
            ids, mask = (tokens[name].astype(np.int64) for name in _INPUTS)
            pooled = self._pooled(self._states(ids, mask), mask)
            parts.append(pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
        vectors = np.concatenate(parts).astype(np.float32)
        result = np.empty_like(vectors)
        result[order] = vectors
        return result

    def _pooled(self, hidden: np.ndarray, mask: NDArray[np.int64]) -> np.ndarray:
        if self._pooling == "mean":
            pooled: np.ndarray = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        else:
            last = 0 if self._pooling == "cls" else mask.sum(axis=1) - 1
            pooled = hidden[np.arange(len(hidden)), last]
        if self._head.dim is None:
            return pooled
        with torch.inference_mode():
            embeddings: np.ndarray = self._head(torch.from_numpy(pooled.astype(np.float32))).numpy()
        return embeddings


def _onnx_program(encoder: Encoder) -> Any:
    model, tokenizer = cast(Any, encoder.model), encoder.tokenizer
    if encoder.packs:
        model.set_attn_implementation("sdpa")
    # Two texts of several tokens: a size of 1 would be taken for a constant.
    example = tokenizer(["一种装置", "包括底座"], padding=True, return_tensors="pt")
    dynamic = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in _INPUTS}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which text does not need
        program = torch.onnx.export(
            _LastHiddenState(model).eval(),
            kwargs={name: example[name] for name in _INPUTS},
            input_names=list(_INPUTS),
            output_names=["last_hidden_state"],
            dynamic_shapes=dynamic,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is given no file to write to
    return program


def _openvino() -> Any:
    """OpenVINO without its telemetry: imported as it is, it sends what is done with it to an analytics service."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # then it is not found, which is foreseen
    import openvino

    return openvino


def _no_advice(record: logging.LogRecord) -> bool:
    """Drops what onnxruntime advises, on the root logger: a preparation that is for convolutions."""
    return "pre-processing before quantization" not in record.getMessage()
