"""The training forward on a CPU is that of the plain model, with less memory."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm
from transformers import BertConfig, BertModel

from patent_embed.config.training import LoraConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.kernels import cpu_fused
from patent_embed.encoder.kernels.cpu_attention import Spans
from patent_embed.encoder.kernels.cpu_dropout import keep_mask, kept_share
from patent_embed.encoder.kernels.cpu_fused import CpuFused, supported
from patent_embed.encoder.kernels.cpu_layer import Texts
from patent_embed.encoder.packing import pack
from tests.unit.encoder.models import LENGTHS, POOLING, SIZES, make_encoder, make_tokens, random_model


def adapted(architecture: str, targets: list[str] | None = None, dropout: float = 0.0) -> Encoder:
    """An encoder in training whose adapters do something."""
    model = random_model(architecture, dropout)
    if architecture == "bert":
        model.encoder.layer[0].attention.self.value.bias = None  # beside query and key, which have one
    encoder = make_encoder(model, POOLING[architecture])
    encoder.add_lora(LoraConfig(r=4, dropout=dropout, target_modules=targets))
    with torch.no_grad():
        for _, parameter in encoder.trainable_parameters():
            parameter.normal_(std=0.1)
    encoder.model.train()
    return encoder


def gradients(encoder: Encoder, output: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(3)
    (output * torch.randn(output.shape)).sum().backward()
    return {name: p.grad for name, p in encoder.trainable_parameters() if p.grad is not None}


@pytest.mark.parametrize("targets", [None, ["query", "value"], ["dense"]])
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_embeddings_and_gradients_are_those_of_the_plain_model(
    architecture: str, targets: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blocks of one text and of several, all tokens or first ones only, linear layers with and without adapter."""
    monkeypatch.setattr(cpu_fused, "TOKENS", 16)
    plain = adapted(architecture, targets)
    quick, batch = copy.deepcopy(plain), pack(make_tokens(LENGTHS))
    expected = plain.forward(batch)
    with CpuFused(quick.model):
        actual = quick.forward(batch)
        found = gradients(quick, actual)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
    wanted = gradients(plain, expected)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-7, name
    assert torch.equal(quick.forward(batch), expected)  # left, the model is as it was


def test_bf16_is_near() -> None:
    plain = adapted("bert")
    quick, batch = copy.deepcopy(plain), pack(make_tokens(LENGTHS))
    expected = plain.forward(batch)
    with CpuFused(quick.model, torch.bfloat16):
        actual = quick.forward(batch)
        found = gradients(quick, actual)
    assert (actual - expected).norm() < 2e-2 * expected.norm()
    for name, gradient in gradients(plain, expected).items():
        assert found[name].dtype == torch.float32
        assert (found[name] - gradient).norm() < 0.1 * gradient.norm(), name


def with_masks(module: Any, s: Tensor, heads: int, texts: list[int], p: float, seed: int) -> Tensor:
    """A layer by its formulas, up to the last residual sum, with the masks of ``keep_mask``."""

    def drop(x: Tensor, number: int) -> Tensor:
        return x * keep_mask(x.shape, p, seed + number).to(x.dtype) / kept_share(p)

    def linear(layer: Any, x: Tensor, number: int) -> Tensor:
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        base, scale = layer.get_base_layer(), layer.scaling["default"]
        return nn.functional.linear(x, base.weight, base.bias) + scale * drop(x, number) @ down.t() @ up.t()

    inner = module.attention.self
    q, k, v = (linear(each, s, 0).view(len(s), heads, -1) for each in (inner.query, inner.key, inner.value))
    mask = keep_mask(torch.Size((sum(heads * n * n for n in texts),)), p, seed + 4).to(s.dtype) / kept_share(p)
    mixed, begin, place = [], 0, 0
    for length in texts:
        part = slice(begin, begin + length)
        weights = torch.einsum("qhd,khd->hqk", q[part], k[part]).mul(q.shape[-1] ** -0.5).softmax(-1)
        weights = weights * mask[place : place + weights.numel()].view(weights.shape)
        mixed.append(torch.einsum("hqk,khd->qhd", weights, v[part]).flatten(1))
        begin, place = begin + length, place + weights.numel()
    output = module.attention.output
    s1 = s + drop(linear(output.dense, torch.cat(mixed), 1), 5)
    x = layer_norm(s1, s1.shape[1:], output.LayerNorm.weight, output.LayerNorm.bias, output.LayerNorm.eps)
    wide = linear(module.intermediate.dense, x, 2)
    return x + drop(linear(module.output.dense, gelu(wide), 3), 6)


def test_dropout_is_that_of_the_formulas_with_the_same_masks() -> None:
    p, texts = 0.3, [2, 5, 9]
    encoder = adapted("bert", dropout=p)
    for module in encoder.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p
    encoder.model.double()  # so that nothing but a wrong formula makes a difference
    layers, module = CpuFused(encoder.model, torch.float64)._layers, encoder.model.get_base_model().encoder.layer[0]
    layer = layers[0]
    for linears in layer.linears:
        linears.refresh()
    bounds, found = [0, 2, 7, 16], []
    block = cpu_fused.Block(slice(0, 16), slice(0, 16), [Texts(Spans(bounds, bounds), None)], [77])
    parameters = [parameter for linears in layer.linears for parameter in linears.parameters]
    for forward in (
        lambda s: cpu_fused._Stack.apply(s, [layer], [block], True, *parameters),
        lambda s: with_masks(module, s, 4, texts, p, 77),
    ):
        torch.manual_seed(1)
        s = torch.randn(16, SIZES["hidden_size"], dtype=torch.float64, requires_grad=True)
        encoder.model.zero_grad()
        output = forward(s)
        found.append((output, gradients(encoder, output), s))
    (output, grads, s), (expected, wanted, t) = found
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(s.grad, t.grad, atol=1e-12, rtol=1e-10)
    for name, gradient in wanted.items():  # which are fp32 on their way out
        torch.testing.assert_close(grads[name], gradient, atol=1e-5, rtol=1e-6, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_seed_decides_all_dropout_with_and_without_gradient(dtype: torch.dtype) -> None:
    """As the two passes of a step that is cut into pieces need it."""
    encoder, batch = adapted("xlm-roberta", dropout=0.2), pack(make_tokens(LENGTHS))

    def embed(seed: int, grad: bool) -> Tensor:
        torch.manual_seed(seed)
        with torch.set_grad_enabled(grad):
            return encoder.forward(batch)

    with CpuFused(encoder.model, dtype):
        assert torch.equal(embed(1, grad=False), embed(1, grad=True))
        assert not torch.equal(embed(1, grad=False), embed(2, grad=False))


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_number_of_threads_changes_no_bit(pooling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_fused, "TOKENS", 16)
    encoder, batch = adapted("bert" if pooling == "mean" else "xlm-roberta", dropout=0.2), pack(make_tokens(LENGTHS))
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(1)
            encoder.model.zero_grad()
            with CpuFused(encoder.model):
                output = encoder.forward(batch)
                found.append((output, gradients(encoder, output)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    (output, grads), (other, others) = found
    assert torch.equal(output, other)
    assert all(torch.equal(gradient, others[name]) for name, gradient in grads.items())


def test_a_graph_is_used_once() -> None:
    encoder = adapted("bert")
    with CpuFused(encoder.model):
        output = encoder.forward(pack(make_tokens(LENGTHS))).sum()
        output.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="second time"):
            output.backward()


def test_what_it_cannot_train_is_left_alone() -> None:
    assert supported(adapted("bert").model)
    assert not supported(make_encoder(random_model("bert"), "mean").model)  # all weights
    assert not supported(adapted("qwen3").model)
    other = BertModel(BertConfig(**SIZES, num_attention_heads=4, hidden_act="gelu_new"))
    encoder = make_encoder(other, "mean")
    encoder.add_lora(LoraConfig())
    assert not supported(encoder.model)
    with pytest.raises(LookupError):
        CpuFused(encoder.model)


MEMORY = """
import resource
from patent_embed.config.training import LoraConfig
from patent_embed.encoder.kernels.cpu_fused import CpuFused
from patent_embed.encoder.packing import pack
from tests.unit.encoder.models import make_encoder, make_tokens
from transformers import BertConfig, BertModel

sizes = dict(hidden_size=256, num_hidden_layers=4, intermediate_size=1024, num_attention_heads=4)
encoder = make_encoder(BertModel(BertConfig(vocab_size=100, **sizes)), "mean")
encoder.add_lora(LoraConfig(r=4))
encoder.model.train()
peaks = []
with CpuFused(encoder.model) as forward:
    for texts in (20, 160):
        encoder.forward(pack(make_tokens([100] * texts))).sum().backward()
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print((peaks[1] - peaks[0]) / (100 * 140), forward.bytes_per_token)
"""


def test_memory_of_a_token_is_what_it_says() -> None:
    """The peak of a process grows by what is kept, 189 kB at multilingual-e5-small's shape, and by what goes into the
    layers and comes out of them."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    grown, kept = map(float, done.stdout.split())
    assert kept == 4 * 4 * (10 * 256 + 4 * 6)
    assert grown < kept + 16 * 4 * 256
