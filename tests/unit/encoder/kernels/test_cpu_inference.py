"""The server's forward pass on a CPU gives the embeddings of the plain model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from patent_embed.config.training import LoraConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.kernels import cpu_inference
from patent_embed.encoder.kernels.cpu_inference import CpuInference, keeps_halves, supported
from tests.unit.encoder.models import LENGTHS, POOLING, make_encoder, make_tokens, random_model


def encoder(architecture: str) -> Encoder:
    model = random_model(architecture)
    if architecture == "bert":
        model.encoder.layer[0].attention.self.value.bias = None  # beside query and key, which have one
    return make_encoder(model, POOLING[architecture])


@pytest.mark.parametrize("short", [128, 5])
@pytest.mark.parametrize("lengths", [LENGTHS, [6, 6, 6], [1], [9, 10, 10, 9, 8]])
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_embeddings_are_those_of_the_plain_model(
    architecture: str, lengths: list[int], short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean and first-token pooling; texts of one length, of several in one call of attention, and long ones."""
    monkeypatch.setattr(cpu_inference, "_SHORT", short)
    found, tokens = encoder(architecture), make_tokens(lengths)
    expected = {precision: found.encode(tokens, precision=precision) for precision in ("fp32", "bf16")}
    lean = CpuInference(found.model, torch.float32)
    lean.enter()
    np.testing.assert_allclose(found.encode(tokens, precision="fp32"), expected["fp32"], atol=1e-5)
    lean.leave()
    assert np.array_equal(found.encode(tokens, precision="fp32"), expected["fp32"])
    if keeps_halves():
        with_halves = CpuInference(found.model, torch.float16)
        with_halves.enter()
        halves = found.encode(tokens, precision="fp32")
        assert 1e-6 < np.abs(halves - expected["fp32"]).max() < 2e-3
        assert (halves * expected["fp32"]).sum(axis=1).min() > 1 - 1e-5
        with_halves.leave()
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        CpuInference(found.model, torch.bfloat16).enter()
        rounded = (expected["bf16"] * expected["fp32"]).sum(axis=1).min()
        assert (found.encode(tokens, precision="bf16") * expected["fp32"]).sum(axis=1).min() > rounded - 1e-3


@pytest.mark.skipif(not keeps_halves(), reason="no FBGEMM here")
def test_weights_beyond_the_range_of_fp16_stay_fp32() -> None:
    found, tokens = encoder("bert"), make_tokens(LENGTHS)
    with torch.no_grad():  # the same product by other numbers: what one layer makes large the next makes small again
        for layer in found.model.encoder.layer:
            layer.attention.self.value.weight.mul_(2.0**24)
            layer.attention.output.dense.weight.mul_(2.0**-24)
    expected = found.encode(tokens, precision="fp32")
    CpuInference(found.model, torch.float16).enter()
    assert (found.encode(tokens, precision="fp32") * expected).sum(axis=1).min() > 1 - 1e-5


def test_texts_of_about_one_length_share_a_call() -> None:
    calls = list(cpu_inference._calls([0, 8, 17, 27, 37, 67]))
    assert [(call.begin, call.end, call.texts, call.longest) for call in calls] == [(0, 37, 4, 10), (37, 67, 1, 30)]
    assert calls[0].place is not None
    assert calls[0].place.tolist()[:9] == [*range(8), 10]
    assert calls[1].place is None


def test_shapes_are_few_and_little_larger() -> None:
    rounded = [cpu_inference._few_sizes(tokens) for tokens in range(1, 1025)]
    assert sorted(set(rounded)) == [
        *range(8, 128, 8),
        *range(128, 256, 16),
        *range(256, 512, 32),
        *range(512, 1025, 64),
    ]
    assert all(tokens <= room < max(tokens + 8, 1.125 * tokens) for tokens, room in enumerate(rounded, 1))
    (call,) = cpu_inference._calls([0, 30], cpu_inference._few_sizes)
    assert (call.begin, call.end, call.longest) == (0, 30, 32)
    assert call.place is not None
    assert call.place.tolist() == list(range(30))


def test_what_is_no_plain_bert_is_left_alone() -> None:
    assert supported(random_model("bert"))
    assert not supported(random_model("qwen3"))
    adapted = encoder("bert")
    adapted.add_lora(LoraConfig(r=4))
    assert not supported(adapted.model)
    other = random_model("bert")
    other.encoder.layer[1].intermediate.intermediate_act_fn = nn.ReLU()
    assert not supported(other)
