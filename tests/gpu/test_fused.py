"""The fused training forward computes what PEFT and torch compute."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from patent_embed.config import LoraConfig, ModelConfig, TrainingConfig
from patent_embed.encoder import Encoder
from patent_embed.packing import pack
from patent_embed.training import Trainer
from tests.unit.test_packing import LENGTHS, POOLING, make_encoder, make_tokens, tiny_model
from tests.unit.test_training import Silent, make_data

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture(autouse=True)
def fused_in_short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patent_embed.fused.PAYS_FROM_TRIPLETS", 0)


def error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.float() - expected.float()).norm() / expected.float().norm()).item()


def random(*shape: int, scale: float = 1.0, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return (torch.randn(*shape, device="cuda") * scale).to(dtype)


def dropped(rows: int, width: int, p: float) -> Tensor:
    """The elements that a layer drops: 1 kept, 0 dropped, under the present state of torch's generator."""
    from patent_embed import fused_kernels

    h, a = random(rows, 16, scale=0) + 1, random(16, width, scale=0, dtype=torch.float32) + 1
    state = torch.cuda.get_rng_state()
    y = fused_kernels.expand(h, a, None, p, fused_kernels.dropout_seed(p, h.device))
    torch.cuda.set_rng_state(state)
    return (y > 0).float()


@pytest.mark.parametrize(
    ("layers", "with_bias", "gelu"), [(1, True, False), (3, True, False), (2, False, False), (1, True, True)]
)
@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize(
    ("rows", "k", "n", "r"), [(1, 768, 768, 16), (1000, 768, 3072, 16), (257, 200, 72, 6), (130, 96, 64, 20)]
)
def test_lora_linears(p: float, rows: int, k: int, n: int, r: int, layers: int, with_bias: bool, gelu: bool) -> None:
    """Layers of one input drop the same elements; the width of the last is another one."""
    from patent_embed.fused import lora_linears

    torch.manual_seed(3)
    x = random(rows, k).requires_grad_()
    weights, biases, adapters, exact_x = [], [], [], x.detach().float().requires_grad_()
    for layer in range(layers):
        width = n if layer < 2 else n // 2
        a, b = (random(*shape, scale=0.2, dtype=torch.float32).requires_grad_() for shape in ((r, k), (width, r)))
        weights.append(random(width, k, scale=k**-0.5))
        biases.append(random(width))
        adapters.append((a, b))
    keep = dropped(rows, k, p) / (1 - p) if p else 1.0
    bias = torch.cat(biases) if with_bias else None
    outputs, expected, leaves = lora_linears(x, torch.cat(weights), bias, adapters, 2.0, p, gelu), [], [(x, exact_x)]
    for weight, bias, (a, b) in zip(weights, biases, adapters, strict=True):
        down, up = a.detach().clone().requires_grad_(), b.detach().clone().requires_grad_()
        leaves += [(a, down), (b, up)]
        read = torch.nn.functional.gelu(exact_x) if gelu else exact_x
        plain = read @ weight.float().T + 2.0 * (read * keep) @ down.T @ up.T
        expected.append(plain + bias.float() if with_bias else plain)
    grads = [random(*output.shape) for output in outputs]
    for output, reference in zip(outputs, expected, strict=True):
        assert error(output, reference) < 1e-2
    torch.autograd.backward(outputs, grads)
    torch.autograd.backward(expected, [grad.float() for grad in grads])
    for leaf, reference in leaves:
        assert leaf.grad is not None
        assert leaf.grad.stride() == leaf.stride()
        assert error(leaf.grad, reference.grad) < 2e-2


@pytest.mark.parametrize("p", [0.0, 0.1])
@pytest.mark.parametrize("width", [768, 200])
def test_residual_norm(p: float, width: int) -> None:
    from patent_embed.fused import residual_norm

    torch.manual_seed(3)
    y, residual = random(333, width).requires_grad_(), random(333, width).requires_grad_()
    weight, bias = random(width), random(width)
    exact = [t.detach().float().requires_grad_() for t in (y, residual)]
    keep = dropped(333, width, p) / (1 - p) if p else 1.0
    out = residual_norm(y, residual, weight, bias, 1e-12, p)
    expected = layer_norm(exact[0] * keep + exact[1], (width,), weight.float(), bias.float(), 1e-12)
    assert error(out, expected) < 1e-2
    grad = random(333, width)
    out.backward(grad)
    expected.backward(grad.float())
    assert error(y.grad, exact[0].grad) < 1e-2
    assert error(residual.grad, exact[1].grad) < 1e-2


def test_dropout_drops_its_share() -> None:
    torch.manual_seed(0)
    first, second = dropped(4000, 768, 0.1), None
    torch.manual_seed(1)
    second = dropped(4000, 768, 0.1)
    assert first.mean().item() == pytest.approx(0.9, abs=1e-3)
    assert first.mean(0).min() > 0.87  # no column and no row is favoured
    assert first.mean(1).min() > 0.8
    assert (first * second).mean().item() == pytest.approx(0.81, abs=2e-3)
    assert (first[:, 1:] * first[:, :-1]).mean().item() == pytest.approx(0.81, abs=2e-3)
    assert (first[1:] * first[:-1]).mean().item() == pytest.approx(0.81, abs=2e-3)
    # The corners of rectangles, whose hashes come from two rows and two columns only.
    corners = first[1:, 1:] * first[1:, :-1] * first[:-1, 1:] * first[:-1, :-1]
    assert corners.mean().item() == pytest.approx(0.9**4, abs=3e-3)


@pytest.mark.parametrize("architecture", POOLING)
def test_fused_model_is_the_model(architecture: str) -> None:
    """Embeddings and adapters' gradients within bf16 of fp32; afterwards nothing of it is left."""
    from patent_embed.fused import Fused

    tokens = make_tokens(LENGTHS)
    encoder = make_encoder(tiny_model(architecture), POOLING[architecture], "cuda")
    encoder.add_lora(LoraConfig(r=4, dropout=0.0))
    encoder.model.cuda()
    with torch.no_grad():
        for _, parameter in encoder.trainable_parameters():
            parameter.normal_(std=0.1)
    reference = copy.deepcopy(encoder)
    reference.model.cpu()
    before = {name: p.clone() for name, p in encoder.model.state_dict().items()}
    encoder.model.train()
    expected = reference.forward(pack(tokens))
    weight = torch.randn(expected.shape)
    (expected * weight).sum().backward()
    with torch.autocast("cuda", torch.bfloat16), torch.no_grad():
        autocast = encoder.forward(pack(tokens).to("cuda"))
    with Fused(encoder.model):
        actual = encoder.forward(pack(tokens).to("cuda"))
        (actual * weight.cuda()).sum().backward()
    assert error(actual.cpu(), expected) < 2 * max(1e-2, error(autocast.cpu(), expected))
    assert error(actual, autocast) < 2e-2
    for (name, p), (_, q) in zip(encoder.trainable_parameters(), reference.trainable_parameters(), strict=True):
        assert p.grad is not None
        assert (p.grad.cpu() - q.grad).norm() < 0.1 * q.grad.norm() + 1e-3, name
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
    trainer = Trainer(encoder, data, config, seed=seed, fingerprint="f" * 64, validate=None, precision="bf16")
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
        np.mean([losses_of(tiny_model, fused=fused, seed=seed) for seed in range(6)], 0) for fused in (True, False)
    )
    quarter = len(fast) // 4
    assert autocast[-quarter:].mean() < 0.7 * autocast[:quarter].mean()
    assert fast[:quarter].mean() == pytest.approx(autocast[:quarter].mean(), rel=0.05)
    assert fast[-quarter:].mean() == pytest.approx(autocast[-quarter:].mean(), rel=0.5)


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
