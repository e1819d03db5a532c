"""Dense layers behind pooling."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
from torch import nn

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_format, export_model, load_format
from patent_embed.encoder.head import Head, load_head
from patent_embed.encoder.model_folder import read_sentence_transformer_files
from patent_embed.errors import UserError
from tests.unit.encoder.models import TEXTS


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with two layers of every kind that the library has: an activation, a bias, a residual."""
    torch.manual_seed(3)
    layers = [Dense(32, 40, activation_function=nn.Tanh()), Dense(40, 40, bias=False, use_residual=True)]
    modules = [Transformer(str(tiny_model)), Pooling(32, "mean"), *layers, Normalize()]
    out = tmp_path_factory.mktemp("dense") / "model"
    SentenceTransformer(modules=modules, prompts={"query": "问"}, device="cpu").save(str(out))
    return out


def test_vectors_and_every_exported_format(folder: Path, tmp_path: Path) -> None:
    encoder, stock = Encoder.load(folder), SentenceTransformer(str(folder), device="cpu")
    expected = stock.encode_query(TEXTS)
    assert (encoder.width, encoder.dim) == (32, 40)
    np.testing.assert_allclose(encoder.encode(TEXTS, "query", precision="fp32"), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS, "query", precision="bf16"), expected, atol=2e-2)
    for format, off in (("fp32", 1e-5), ("bf16", 2e-2), ("fp16", 2e-3)):
        out = export_format(folder, tmp_path / format, format)
        np.testing.assert_allclose(load_format(out, format)(TEXTS, "query"), expected, atol=off)
        assert read_sentence_transformer_files(out).dim == 40


def test_onnx_has_the_layers_behind_it(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra [export]")
    pytest.importorskip("onnxruntime", reason="needs the extra [export]")
    expected = Encoder.load(folder).encode(TEXTS, "query", precision="fp32")
    encode = load_format(export_format(folder, tmp_path, "onnx"), "onnx")
    np.testing.assert_allclose(encode(TEXTS, "query"), expected, atol=1e-5)


def test_the_digest_knows_the_layers(folder: Path) -> None:
    encoder = Encoder.load(folder)
    digest = encoder.weights_digest()
    with torch.no_grad():
        next(encoder.head.parameters()).add_(1)
    assert encoder.weights_digest() != digest


def test_layers_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    out = export_model(Encoder.load(folder), tmp_path / "model")
    config = out / "2_Dense" / "config.json"
    content = json.loads(config.read_text())
    found = read_sentence_transformer_files(out)

    def refused(match: str, **changes: object) -> None:
        config.write_text(json.dumps(content | changes))
        with pytest.raises(UserError, match=match):
            load_head(out, read_sentence_transformer_files(out).dense)

    refused("takes 33 numbers and gives 40, what comes before it gives 32", in_features=33)
    refused("takes 40 numbers and gives 40, what comes before it gives 41", out_features=41)
    refused(r"asks for the activation 'mine\.Act', which is code", activation_function="mine.Act")
    refused("is no Dense layer that can be loaded", activation_function="torch.nn.NoSuchThing")
    refused("reads 'token_embeddings'", module_input_name="token_embeddings")
    config.write_text(json.dumps(content))
    (out / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(UserError, match="2_Dense' is no Dense layer that can be loaded"):
        load_head(out, found.dense)


def test_without_layers_it_is_the_identity() -> None:
    vectors = torch.randn(2, 3)
    assert Head()(vectors) is vectors
    assert Head().dim is None
    assert not Head().state_dict()
