"""A model in training reaches the kernels."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="no Triton: install the extra 'kernels'")
from patent_embed.config.training import LoraConfig
from patent_embed.encoder.kernels import fused
from patent_embed.encoder.kernels.attention import attention
from patent_embed.encoder.kernels.fused import Fused
from patent_embed.encoder.packing import pack
from tests.unit.encoder.kernels.tensors import CUDA, DEVICE, DTYPE, error
from tests.unit.encoder.models import POOLING, make_encoder, make_tokens, random_model

pytestmark = pytest.mark.gpu if CUDA else []


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "qwen3"])
def test_a_model_reaches_the_kernels(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings and adapters' gradients are those of the plain model; attention's kernels serve what is not causal.
    Without LoRA nothing is replaced."""
    calls: list[bool] = []  # whether for first tokens only

    def counted(*arguments: Any) -> Tensor:
        calls.append(arguments[-1])
        return attention(*arguments)

    monkeypatch.setattr(fused.attention, "attention", counted)
    model = random_model(architecture, heads=2)  # of 16 numbers, which the kernels do
    if architecture == "bert":
        model.encoder.layer[0].attention.self.value.bias = None  # beside query and key, which have one
    plain = make_encoder(model, POOLING[architecture], DEVICE)
    assert not fused.patches(plain.model, {})
    plain.add_lora(LoraConfig(r=4, dropout=0.0))
    plain.model.to(DEVICE)
    with torch.no_grad():
        for _, parameter in plain.trainable_parameters():
            parameter.normal_(std=0.1)
    quick = copy.deepcopy(plain)
    batch = pack(make_tokens([3, 5, 17, 20])).to(DEVICE)
    expected = plain.forward(batch)
    weight = torch.randn(expected.shape, device=DEVICE)
    (expected * weight).sum().backward()
    quick.model.train()
    with Fused(quick.model, DTYPE):
        actual = quick.forward(batch)
        (actual * weight).sum().backward()
    assert calls == {"bert": [False, False], "xlm-roberta": [False, True], "qwen3": []}[architecture]
    assert error(actual, expected) < 2e-2
    for (name, p), (_, q) in zip(quick.trainable_parameters(), plain.trainable_parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert (p.grad - q.grad).norm() < 0.1 * q.grad.norm() + 1e-3, name
