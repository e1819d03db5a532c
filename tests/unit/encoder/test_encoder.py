"""The encoder: embeddings, prompts, adapters, weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from patent_embed.config.model import ModelConfig
from patent_embed.config.training import LoraConfig
from patent_embed.encoder.encoder import BGE_ZH_QUERY_PROMPT, Encoder, batches_by_length
from patent_embed.encoder.packing import pack
from patent_embed.errors import UserError
from tests.unit.encoder.models import make_encoder, make_tokens, random_model

TEXTS = ["一种装置，包括壳体。", "弹簧与导轨滑动连接，用于减振；阀门控制流体压力。", "电池", "图像特征提取方法" * 40]


def plain_copy(folder: Path, target: Path) -> Path:
    """The transformers part of a SentenceTransformer folder by itself."""
    wanted = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
    target.mkdir(parents=True)
    for name in wanted:
        if (folder / name).exists():
            shutil.copy(folder / name, target / name)
    return target


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_encode_is_what_sentence_transformers_gives(tiny_model: Path) -> None:
    encoder, stock = Encoder.load(tiny_model), SentenceTransformer(str(tiny_model), device="cpu")
    for kind in ("query", "passage"):
        expected = stock.encode(TEXTS, prompt_name=kind, normalize_embeddings=True)
        got = encoder.encode(TEXTS, kind, precision="fp32", max_tokens=64)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert (encoder.max_seq_length, encoder.dim, encoder.pooling) == (128, 32, "mean")
    assert encoder.tokenize(TEXTS, "query").lengths.max() == 128


def test_encode_counts_progress_and_leaves_the_mode(tiny_model: Path) -> None:
    encoder, seen = Encoder.load(tiny_model), []
    encoder.model.train()
    first = encoder.encode(TEXTS * 3, max_tokens=100, progress=seen.append)
    assert sum(seen) == 12
    assert len(seen) > 1
    assert encoder.model.training
    np.testing.assert_array_equal(first, encoder.encode(TEXTS * 3, max_tokens=100))  # no dropout
    assert encoder.encode([]).shape == (0, 32)


def test_batches_hold_the_budget_and_every_row() -> None:
    lengths = np.array([5, 90, 3, 40, 40, 200, 1])
    batches = list(batches_by_length(lengths, 100))
    assert sorted(np.concatenate(batches)) == list(range(7))
    assert all(lengths[rows].sum() <= 100 or len(rows) == 1 for rows in batches)


def test_lower_casing_as_sentence_transformers_does_it(tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for path in (folder / "tokenizer.json", folder / "tokenizer_config.json"):
        path.write_text(path.read_text().replace('"lowercase": true', '"lowercase": false'))
    edit(folder / "sentence_bert_config.json", do_lower_case=True)
    encoder = Encoder.load(folder)
    np.testing.assert_array_equal(encoder.tokenize(["LED"], "passage").ids, encoder.tokenize(["led"], "passage").ids)


def test_prompts_of_the_folder_the_family_and_the_user(tiny_model: Path, tmp_path: Path) -> None:
    assert Encoder.load(tiny_model).prompts == {"query": "问", "passage": ""}
    override = Encoder.load(tiny_model, ModelConfig(query_prompt="", passage_prompt="文：", max_seq_length=20))
    assert (override.prompts, override.max_seq_length) == ({"query": "", "passage": "文："}, 20)
    bge = {"query": BGE_ZH_QUERY_PROMPT, "passage": ""}
    e5 = {"query": "query: ", "passage": "passage: "}
    names = {
        "bge-base-zh-v1.5": bge,
        "models--BAAI--bge-small-zh-v1.5/snapshots/0123abcd": bge,
        "multilingual-e5-base": e5,
        "my-bert": {"query": "", "passage": ""},
        "bge-m3": {"query": "", "passage": ""},
    }
    for name, prompts in names.items():
        assert Encoder.load(plain_copy(tiny_model, tmp_path / name)).prompts == prompts, name


def test_plain_decoder_folder_pools_the_last_token(tiny_model: Path, tmp_path: Path) -> None:
    folder = plain_copy(tiny_model, tmp_path / "decoder")
    model = random_model("qwen3")
    model.resize_token_embeddings(len(AutoTokenizer.from_pretrained(folder)))
    model.save_pretrained(folder)
    assert Encoder.load(folder).pooling == "lasttoken"


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "qwen3"])
def test_only_adapters_train(architecture: str) -> None:
    encoder = make_encoder(random_model(architecture), "mean")
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    encoder.add_lora(LoraConfig(r=4, dropout=0.0))
    parameters = dict(encoder.trainable_parameters())
    assert all("lora_" in name and p.dtype == torch.float32 for name, p in parameters.items())
    layers = 7 if architecture == "qwen3" else 6
    assert len(parameters) == 2 * layers * 2  # two matrices for each projection of two layers
    assert not any("pooler" in name for name in parameters)
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    tokens = make_tokens([5, 9, 3])
    for _ in range(2):
        encoder.forward(pack(tokens))[:, 0].sum().backward()
        optimizer.step()
    after = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): tensor
        for name, tensor in encoder.model.state_dict().items()
        if "lora_" not in name
    }
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter.abs().sum() > 0 for parameter in parameters.values())


def test_without_lora_all_but_the_pooler_trains() -> None:
    encoder = make_encoder(random_model("bert"), "mean")
    names = {name for name, _ in encoder.trainable_parameters()}
    everything = {name for name, _ in encoder.model.named_parameters()}
    assert everything - names == {"pooler.dense.weight", "pooler.dense.bias"}


def test_target_that_matches_nothing_is_refused() -> None:
    encoder = make_encoder(random_model("bert"), "mean")
    with pytest.raises(UserError, match=r"\['q_proj'\].*dense, key, query, value"):
        encoder.add_lora(LoraConfig(target_modules=["query", "q_proj"]))


def test_adapter_state_and_digest() -> None:
    encoder = make_encoder(random_model("bert"), "mean")
    torch.manual_seed(1)
    encoder.add_lora(LoraConfig(r=2))
    state, digest = encoder.adapter_state(), encoder.weights_digest()
    name = next(iter(state))
    changed = state | {name: state[name] + 1}
    encoder.load_adapter_state(changed)
    assert encoder.weights_digest() != digest
    encoder.load_adapter_state(state)
    assert encoder.weights_digest() == digest
    with pytest.raises(ValueError, match="1 names"):
        encoder.load_adapter_state({key: value for key, value in state.items() if key != name})
