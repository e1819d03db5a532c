"""Decoders train by ``decoder_layer`` where it computes what they do, and as they are otherwise."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
)

pytest.importorskip("triton", reason="no Triton: install the extra 'kernels'")
from patent_embed.config.training import LoraConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.kernels import decoder
from patent_embed.encoder.kernels.fused import Fused
from patent_embed.encoder.packing import PackedBatch, pack
from tests.unit.encoder.kernels.tensors import CUDA, DEVICE, error
from tests.unit.encoder.models import SIZES, errors_in_bf16, gradients, make_encoder, make_tokens

pytestmark = pytest.mark.gpu if CUDA else []
# The interpreter computes in fp32, too, and then nothing but the order of sums differs. In bf16 a gradient through a
# sharp softmax may be wrong by half of it, whoever computes it: weights are smaller there.
DTYPE, SCALE = (torch.bfloat16, 0.1) if CUDA else (torch.float32, 0.2)
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "initializer_range": SCALE}
MODELS = {
    "qwen3": lambda: Qwen3Model(Qwen3Config(**SIZES, **HEADS)),
    "qwen2": lambda: Qwen2Model(Qwen2Config(**SIZES, **{**HEADS, "num_attention_heads": 2})),  # biases, no head norms
    "llama": lambda: LlamaModel(LlamaConfig(**SIZES, **HEADS, mlp_bias=True, attention_bias=True)),
    "llama, scaled": lambda: LlamaModel(
        LlamaConfig(
            **SIZES, **HEADS, rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
            "original_max_position_embeddings": 32}, max_position_embeddings=128,
        )
    ),
    "mistral": lambda: MistralModel(MistralConfig(**SIZES, **HEADS, sliding_window=None)),
}  # fmt: skip


def make_pair(model: nn.Module, lora: LoraConfig) -> tuple[Encoder, Encoder]:
    """An encoder with adapters that do something, and a copy of it."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms that matter, and biases
                parameter.add_(torch.randn_like(parameter) * 0.3)
    plain = make_encoder(model, "lasttoken", DEVICE)
    plain.add_lora(lora)
    plain.model.to(DEVICE)
    with torch.no_grad():
        for _, parameter in plain.trainable_parameters():
            parameter.normal_(std=0.1)
    return plain, copy.deepcopy(plain)


def bounds(plain: Encoder, batch: PackedBatch, expected: Tensor, weight: Tensor) -> tuple[float, float]:
    """How far states and gradients may be from those of ``plain``: in bf16 three times what its copy in bf16 is."""
    if not CUDA:
        return 1e-5, 1e-4
    states, worst = errors_in_bf16(plain, batch, expected, weight)
    return max(3e-2, 3 * states), max(1e-1, 3 * worst)


@pytest.mark.parametrize("last_tokens", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_states_and_gradients_are_the_models(kind: str, last_tokens: bool) -> None:
    """And afterwards nothing of it is left."""
    torch.manual_seed(0)
    plain, quick = make_pair(MODELS[kind](), LoraConfig(r=4, dropout=0.0))
    batch = pack(make_tokens([3, 5, 17, 20, 1])).to(DEVICE)
    expected = plain.forward(batch)
    weight = torch.randn(expected.shape, device=DEVICE)
    (expected * weight).sum().backward()
    before = {name: value.clone() for name, value in quick.model.state_dict().items()}
    quick.model.train()
    assert decoder.supported(quick.model)
    with Fused(quick.model, DTYPE, last_tokens):
        actual = quick.forward(batch)
        (actual * weight).sum().backward()
        with torch.no_grad():
            assert torch.equal(quick.forward(batch), actual)
    close, gradients_close = bounds(plain, batch, expected, weight)
    assert error(actual, expected) < close
    reference = gradients(plain)
    assert set(gradients(quick)) == set(reference) == {name for name, _ in plain.trainable_parameters()}
    for name, gradient in gradients(quick).items():
        assert error(gradient, reference[name]) < gradients_close, name
    after = quick.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any("forward" in vars(module) for module in quick.model.modules())


def test_what_is_kept_of_a_token_is_counted() -> None:
    """Of each of two layers: two sums, queries, keys and values, attention's output, gate and up."""
    _, quick = make_pair(MODELS["qwen3"](), LoraConfig(r=4, dropout=0.0))
    numbers = 2 * (2 * 32 + (4 + 2 * 2) * 16 + 4 * 16 + 2 * 48)
    assert Fused(quick.model, DTYPE).bytes_per_token == numbers * DTYPE.itemsize


def test_a_second_backward_pass_is_refused() -> None:
    _, quick = make_pair(MODELS["qwen3"](), LoraConfig(r=4, dropout=0.0))
    with Fused(quick.model, DTYPE):
        loss = quick.forward(pack(make_tokens([3, 5])).to(DEVICE)).sum()
        loss.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


def test_dropout_is_drawn_from_the_generator() -> None:
    _, quick = make_pair(MODELS["qwen3"](), LoraConfig(r=4, dropout=0.5))
    quick.model.train()
    batch = pack(make_tokens([3, 5])).to(DEVICE)
    states = []
    with Fused(quick.model, DTYPE):
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            states.append(quick.forward(batch).detach())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        (lambda: MistralModel(MistralConfig(**SIZES, **HEADS, sliding_window=8)), None),
        (lambda: Qwen3Model(Qwen3Config(**SIZES, **{**HEADS, "head_dim": 8})), None),
        (lambda: Qwen3Model(Qwen3Config(**SIZES, **HEADS, hidden_act="gelu")), None),
        (MODELS["qwen3"], ["q_proj", "v_proj"]),
    ],
)
def test_other_decoders_train_as_before(model: Any, targets: list[str] | None) -> None:
    _, quick = make_pair(model(), LoraConfig(r=4, target_modules=targets))
    assert not decoder.supported(quick.model)
