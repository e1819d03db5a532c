"""The fused training forward computes what PEFT and torch compute. Its kernels alone: tests/unit/encoder/kernels."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from patent_embed.config.model import ModelConfig
from patent_embed.config.training import LoraConfig, TrainingConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import pack
from patent_embed.training.trainer import Trainer
from tests.unit.encoder.kernels.tensors import error
from tests.unit.encoder.models import (
    LENGTHS,
    POOLING,
    errors_in_bf16,
    gradients,
    make_encoder,
    make_tokens,
    random_model,
)
from tests.unit.training.tiny import Silent, make_data

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture(autouse=True)
def fused_in_short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patent_embed.encoder.kernels.fused.PAYS_FROM_TRIPLETS", 0)


@pytest.mark.parametrize("architecture", POOLING)
def test_fused_model_is_the_model(architecture: str) -> None:
    """Embeddings and adapters' gradients are as near to fp32 as plain bf16, within 3 times; nothing of it is left."""
    from patent_embed.encoder.kernels.fused import Fused

    batch = pack(make_tokens(LENGTHS))
    encoder = make_encoder(random_model(architecture), POOLING[architecture], "cuda")
    encoder.add_lora(LoraConfig(r=4, dropout=0.0))
    encoder.model.cuda()
    with torch.no_grad():
        for _, parameter in encoder.trainable_parameters():
            parameter.normal_(std=0.1)
    reference = copy.deepcopy(encoder)
    reference.model.cpu()
    before = {name: p.clone() for name, p in encoder.model.state_dict().items()}
    encoder.model.train()
    expected = reference.forward(batch)
    weight = torch.randn(expected.shape)
    (expected * weight).sum().backward()
    states, worst = errors_in_bf16(reference, batch.to("cuda"), expected, weight)
    with Fused(encoder.model, last_tokens=encoder.pooling == "lasttoken"):
        actual = encoder.forward(batch.to("cuda"))
        (actual * weight.cuda()).sum().backward()
    assert error(actual.cpu(), expected) < 3 * states
    of_reference = gradients(reference)
    assert set(gradients(encoder)) == set(of_reference) == {name for name, _ in encoder.trainable_parameters()}
    for name, gradient in gradients(encoder).items():
        assert error(gradient.cpu(), of_reference[name]) < 3 * worst, name
    for name, value in encoder.model.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])
    assert not any("forward" in vars(module) for module in encoder.model.modules())


def losses_of(
    model: Path, fused: bool = True, graphs: bool = True, dropout: float = 0.1, seed: int = 5, **settings: Any
) -> np.ndarray:
    torch.manual_seed(0)
    encoder = Encoder.load(model, ModelConfig(), device="cuda")
    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    encoder.add_lora(LoraConfig(dropout=dropout))
    config = TrainingConfig(**{"batch_size": 8, "learning_rate": 5e-3, "epochs": 10, **settings})
    data = make_data(encoder)
    trainer = Trainer(encoder, data, config, seed=seed, fingerprint="f" * 64, validate=None)
    assert trainer._fused is not None
    if not fused:
        trainer._fused = None
    if not (graphs and fused):
        trainer._graphs = None
    seen = Silent()
    trainer.fit(seen)
    assert trainer._graphs is None or "max_tokens_per_forward" in settings or trainer._graphs._graphs
    return np.array(seen.losses)


def test_training_goes_the_same_way(tiny_model: Path) -> None:
    """With dropout runs scatter at their end (32 seeds: 0.130 fused and 0.125 in autocast, standard deviation 0.025):
    means over seeds are compared."""
    fast, autocast = (
        np.mean([losses_of(tiny_model, fused=fused, seed=seed) for seed in range(16)], 0) for fused in (True, False)
    )
    quarter = len(fast) // 4
    assert autocast[-quarter:].mean() < 0.7 * autocast[:quarter].mean()
    assert fast[:quarter].mean() == pytest.approx(autocast[:quarter].mean(), rel=0.05)
    assert fast[-quarter:].mean() == pytest.approx(autocast[-quarter:].mean(), rel=0.25)


@pytest.mark.parametrize("settings", [{}, {"loss": "infonce"}])
def test_without_dropout_the_losses_are_those_of_autocast(tiny_model: Path, settings: dict[str, Any]) -> None:
    settings |= {"learning_rate": 1e-3, "epochs": 4}
    autocast = losses_of(tiny_model, fused=False, dropout=0.0, **settings)
    for graphs in (False, True):
        np.testing.assert_allclose(losses_of(tiny_model, graphs=graphs, dropout=0.0, **settings), autocast, rtol=0.02)
    pieces = losses_of(tiny_model, dropout=0.0, max_tokens_per_forward=512, **settings)
    np.testing.assert_allclose(pieces, autocast, rtol=0.02)


def test_a_run_repeats(tiny_model: Path) -> None:
    """Dropout depends on the step, not on what was captured before."""
    first, second = losses_of(tiny_model, epochs=3), losses_of(tiny_model, epochs=3)
    np.testing.assert_array_equal(first, second)
