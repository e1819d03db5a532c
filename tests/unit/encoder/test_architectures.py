"""Every architecture: embeddings as sentence-transformers gives them, LoRA, resume, merge, export, mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from patent_embed.encoder.averaging import average_adapters, average_models
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_model, save_adapter
from patent_embed.encoder.packing import pack
from tests.unit.encoder.architectures import ARCHITECTURES, NAMES, write_architecture
from tests.unit.encoder.models import TEXTS, trained
from tests.unit.training.tiny import Silent, make_trainer, weights

KINDS = {"query": "query", "passage": "document"}  # ours, and the prompt's name


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(name: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_architecture(name, tiny_model, tmp_path_factory.mktemp(name))


def test_embeddings_are_those_of_sentence_transformers(name: str, folder: Path) -> None:
    encoder, stock = Encoder.load(folder), SentenceTransformer(str(folder), device="cpu")
    row = ARCHITECTURES[name]
    assert (encoder.packs, encoder.pooling, encoder.dim) == (row.packs, row.pooling, (32, *row.dense)[-1])
    for kind, prompt in KINDS.items():
        expected = stock.encode(TEXTS, prompt_name=prompt, batch_size=len(TEXTS))
        np.testing.assert_allclose(encoder.encode(TEXTS, kind, precision="fp32", max_tokens=300), expected, atol=1e-5)
        tokens = encoder.tokenize(TEXTS, kind)
        padded = stock.tokenize([stock.prompts[prompt] + text for text in TEXTS])
        assert [len(ids) for ids in padded["input_ids"]] == [tokens.lengths.max()] * len(TEXTS)
        assert padded["attention_mask"].sum(1).tolist() == tokens.lengths.tolist()
        assert padded["input_ids"][padded["attention_mask"].bool()].tolist() == tokens.ids.tolist()
    # Texts must not look alike, or the comparison says nothing.
    assert (expected @ expected.T - np.eye(len(TEXTS))).max() < 0.999


def test_gradients_are_those_of_padded_batches(name: str, folder: Path) -> None:
    encoder, stock = Encoder.load(folder), SentenceTransformer(str(folder), device="cpu").eval()
    tokens = encoder.tokenize(TEXTS, "query")
    weight = torch.randn(len(TEXTS), encoder.dim, generator=torch.Generator().manual_seed(1))
    (encoder.forward(pack(tokens)) * weight).sum().backward()
    features = stock.tokenize([stock.prompts["query"] + text for text in TEXTS])
    (stock(features)["sentence_embedding"] * weight).sum().backward()
    expected = {name: p.grad for name, p in stock[0].auto_model.named_parameters() if p.grad is not None}
    got = {name: p.grad for name, p in encoder.model.named_parameters() if p.grad is not None}
    assert len(got) > 15
    assert set(got) == {name for name in expected if "pooler" not in name}
    largest = max(grad.abs().max() for grad in got.values())
    for each, grad in got.items():
        torch.testing.assert_close(grad, expected[each], atol=float(1e-5 * largest), rtol=1e-3, msg=each)


def test_adapters_train_and_a_resumed_training_ends_bit_equal(name: str, folder: Path, tmp_path: Path) -> None:
    epochs = ARCHITECTURES[name].epochs
    settings = {"epochs": epochs, "batch_size": 20, "learning_rate": 1e-2, "loss": "infonce"}
    whole, reporter = make_trainer(folder, **settings), Silent(tmp_path)
    before = weights(whole)
    frozen = {name: value.clone() for name, value in whole.encoder.state_dict().items() if name not in before}
    assert len(before) >= 8
    assert all("lora_" in name for name in before)
    whole.fit(reporter)
    assert np.mean(reporter.losses[-3:]) < 0.98 * np.mean(reporter.losses[:3])
    after = whole.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    assert not any(torch.equal(after[name], value) for name, value in before.items())
    resumed = make_trainer(folder, **settings)
    resumed.load(tmp_path / f"epoch-{epochs - 1}")
    resumed.fit(Silent())
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


def test_merged_exported_and_averaged(folder: Path, tmp_path: Path) -> None:
    import peft

    members = [trained(folder, lora=True, seed=seed) for seed in (1, 2)]
    folders = [export_model(member, tmp_path / f"model-{n}") for n, member in enumerate(members)]
    for member, out in zip(members, folders, strict=True):
        stock, again = SentenceTransformer(str(out), device="cpu"), Encoder.load(out)
        for kind, prompt in KINDS.items():
            expected = member.encode(TEXTS, kind, precision="fp32")
            np.testing.assert_allclose(stock.encode(TEXTS, prompt_name=prompt), expected, atol=2e-5)
            np.testing.assert_allclose(again.encode(TEXTS, kind, precision="fp32"), expected, atol=2e-5)
        assert stock.prompts == SentenceTransformer(str(folder), device="cpu").prompts | {
            "passage": stock.prompts["document"]
        }
    soup = Encoder.load(average_models(folders, tmp_path / "soup"))
    vectors = soup.encode(TEXTS, precision="fp32")
    adapters = [save_adapter(member, tmp_path / f"adapter-{n}") for n, member in enumerate(members)]
    average_adapters(adapters, tmp_path / "adapter")
    base = Encoder.load(folder)
    base.model = peft.PeftModel.from_pretrained(base.model, tmp_path / "adapter")
    np.testing.assert_allclose(base.encode(TEXTS, precision="fp32"), vectors, atol=2e-5)
    assert np.abs(vectors - members[0].encode(TEXTS, precision="fp32")).max() > 1e-3


def test_all_weights_train_the_dense_layers_too(tiny_model: Path, tmp_path: Path) -> None:
    folder = write_architecture("embeddinggemma", tiny_model, tmp_path)
    settings = {"epochs": 2, "batch_size": 20, "use_lora": False}
    whole = make_trainer(folder, matryoshka_dims=[8], **settings)
    dense = {name: value for name, value in weights(whole).items() if name.startswith("dense_head.")}
    assert [tuple(value.shape) for value in dense.values()] == [(48, 32), (24, 48)]
    whole.fit(Silent(tmp_path / "checkpoints"))
    after = weights(whole)
    assert not any(torch.equal(after[name], value) for name, value in dense.items())
    resumed = make_trainer(folder, matryoshka_dims=[8], **settings)
    resumed.load(tmp_path / "checkpoints" / "epoch-1")
    resumed.fit(Silent())
    assert all(torch.equal(value, after[name]) for name, value in weights(resumed).items())
    out = export_model(whole.encoder, tmp_path / "out")
    expected = whole.encoder.encode(TEXTS, precision="fp32")
    np.testing.assert_allclose(SentenceTransformer(str(out), device="cpu").encode_document(TEXTS), expected, atol=1e-5)
    other = make_trainer(folder, matryoshka_dims=[8], **settings)
    other.load(tmp_path / "checkpoints" / "epoch-1")
    folders = [out, export_model(other.encoder, tmp_path / "other")]
    mean = Encoder.load(average_models(folders, tmp_path / "mean")).state_dict()
    for name in dense:
        torch.testing.assert_close(mean[name], (after[name] + weights(other)[name]) / 2)
        assert not torch.equal(mean[name], after[name])
    # With its old Dense layers in place of the trained ones it would give other vectors.
    again = Encoder.load(out)
    again.load_state_dict(again.state_dict() | dense)
    assert np.abs(again.encode(TEXTS, precision="fp32") - expected).max() > 1e-3
