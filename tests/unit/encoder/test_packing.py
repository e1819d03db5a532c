"""Packed batches against padded ones: embeddings, gradients, attention."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from patent_embed.config.training import LoraConfig
from patent_embed.encoder import packing, windows
from patent_embed.encoder.packing import Tokens, pack
from tests.unit.encoder.models import LENGTHS, PAD, POOLING, make_encoder, make_tokens, random_model


def padded_embeddings(model: nn.Module, tokens: Tokens, pooling: str, device: str = "cpu") -> Tensor:
    """The textbook way: a padded batch, the library's own attention, pooling over the mask."""
    longest = int(tokens.lengths.max())
    ids = torch.full((len(tokens), longest), PAD)
    for i, (begin, end) in enumerate(zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)):
        ids[i, : end - begin] = torch.from_numpy(tokens.ids[begin:end].astype(np.int64))
    mask = (torch.arange(longest)[None] < torch.from_numpy(tokens.lengths)[:, None]).long()
    ids, mask = ids.to(device), mask.to(device)
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    if pooling == "mean":
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    elif pooling == "cls":
        pooled = hidden[:, 0]
    else:
        pooled = hidden[torch.arange(len(tokens), device=device), mask.sum(1) - 1]
    return nn.functional.normalize(pooled, dim=-1)


@pytest.mark.parametrize("architecture", POOLING)
@pytest.mark.parametrize("training", [False, True])
def test_packed_is_padded(architecture: str, training: bool) -> None:
    pooling, tokens = POOLING[architecture], make_tokens(LENGTHS)
    plain = random_model(architecture).train(training)
    encoder = make_encoder(plain, pooling)
    expected = padded_embeddings(plain, tokens, pooling)
    packed = encoder.forward(pack(tokens))
    torch.testing.assert_close(packed, expected, atol=1e-5, rtol=0)
    # Texts must not look alike, or the comparison says nothing.
    assert (packed @ packed.T - torch.eye(len(tokens))).max() < 0.99

    weight = torch.randn(expected.shape)
    (expected * weight).sum().backward()
    (packed * weight).sum().backward()
    gradients = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert len(gradients) > 20
    for name, parameter in encoder.model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", POOLING)
def test_packed_is_padded_with_adapters(architecture: str) -> None:
    pooling, tokens = POOLING[architecture], make_tokens(LENGTHS)
    encoder = make_encoder(random_model(architecture), pooling)
    encoder.add_lora(LoraConfig(r=4))
    with torch.no_grad():
        for _, parameter in encoder.trainable_parameters():
            parameter.normal_(std=0.1)
    merged = copy.deepcopy(encoder.model).merge_and_unload()
    merged.set_attn_implementation("sdpa")
    expected = padded_embeddings(merged, tokens, pooling)
    encoder.model.eval()
    packed = encoder.forward(pack(tokens))
    torch.testing.assert_close(packed, expected, atol=1e-5, rtol=0)
    assert (packed - make_encoder(random_model(architecture), pooling).forward(pack(tokens))).norm() > 0.1


@pytest.mark.parametrize("architecture", POOLING)
def test_packed_is_padded_in_bf16(architecture: str) -> None:
    pooling, tokens = POOLING[architecture], make_tokens(LENGTHS)
    plain = random_model(architecture)
    encoder = make_encoder(plain, pooling)
    with torch.autocast("cpu", torch.bfloat16):
        expected = padded_embeddings(plain, tokens, pooling)
    packed = torch.from_numpy(encoder.encode(tokens, precision="bf16"))
    assert (packed - expected).norm() / expected.norm() < 1e-2
    assert (packed - encoder.forward(pack(tokens))).norm() > 1e-4  # bf16 it is


@pytest.mark.parametrize("architecture", POOLING)
def test_attention_dropout_is_honoured_in_training_only(architecture: str) -> None:
    tokens = make_tokens(LENGTHS)
    encoder = make_encoder(random_model(architecture, dropout=0.5), POOLING[architecture])
    still = encoder.forward(pack(tokens))
    torch.testing.assert_close(
        still, make_encoder(random_model(architecture), POOLING[architecture]).forward(pack(tokens))
    )
    encoder.model.train()
    torch.manual_seed(3)
    first, second = encoder.forward(pack(tokens)), encoder.forward(pack(tokens))
    torch.manual_seed(3)
    assert (first - second).norm() > 0.1
    torch.testing.assert_close(encoder.forward(pack(tokens)), first)


def test_a_text_does_not_see_its_neighbours() -> None:
    encoder, tokens = make_encoder(random_model("bert"), "mean"), make_tokens(LENGTHS)
    together = encoder.forward(pack(tokens))
    for i in range(len(tokens)):
        torch.testing.assert_close(together[i : i + 1], encoder.forward(pack(tokens, np.array([i]))), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("pooling", "rows"), [("cls", len(LENGTHS)), ("mean", sum(LENGTHS))])
def test_the_last_layer_computes_what_pooling_reads(pooling: str, rows: int) -> None:
    encoder, tokens = make_encoder(random_model("bert"), pooling), make_tokens(LENGTHS)
    seen: list[int] = []
    for layer in encoder.model.encoder.layer:
        layer.intermediate.register_forward_hook(lambda _, tensors, __: seen.append(tensors[0].shape[1]))
    encoder.forward(pack(tokens))
    assert seen == [sum(LENGTHS), rows]
    encoder.model(input_ids=torch.zeros(1, 5, dtype=torch.int64), cu_seq_lens_q=torch.tensor([0, 5]), max_length_q=5)
    assert seen[-1] == 5  # called by others the model gives every token's state


def test_rows_come_in_the_order_asked_for() -> None:
    encoder, tokens = make_encoder(random_model("bert"), "mean"), make_tokens(LENGTHS)
    asked = np.array([5, 0, 0, 3, 4])
    torch.testing.assert_close(encoder.forward(pack(tokens, asked)), encoder.forward(pack(tokens))[asked])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("length", "window"), [(1, 3), (150, 1), (150, 3), (150, 70), (129, 128), (40, 40)])
def test_a_local_window_is_attention_under_its_mask(length: int, window: int, causal: bool) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2 * length, 3, 8) for _ in range(3))
    bounds = torch.tensor([0, length, 2 * length], dtype=torch.int32)
    distance = torch.arange(length)[:, None] - torch.arange(length)
    seen = (distance.abs() < window) & ((distance >= 0) | torch.tensor(not causal))
    expected = [
        nn.functional.scaled_dot_product_attention(*(t[text].transpose(0, 1) for t in (q, k, v)), attn_mask=seen)
        for text in (slice(0, length), slice(length, 2 * length))
    ]
    for dropout in (0.0, 1e-9):  # the second keeps every weight, and goes the way of dropout
        local = packing._exact_attention(q, k, v, bounds, None, dropout, causal, window)
        torch.testing.assert_close(local, torch.cat([each.transpose(0, 1) for each in expected]))


def test_the_mask_of_a_window_grows_with_the_window_alone() -> None:
    for causal in (False, True):
        masks = [piece.mask for piece in windows.pieces(8192, 128, causal, torch.device("cpu"))]
        assert sum(len(mask) for mask in masks) == 8192
        assert max(mask.numel() for mask in masks) < 3 * 128 * 128


@pytest.mark.parametrize("changed", [{"attention_mask": torch.ones(1, 1, 4, 4)}, {"softcap": 30.0}])
def test_what_packed_attention_does_not_do_is_refused(changed: dict[str, object]) -> None:
    q, bounds = torch.randn(1, 2, 4, 8), torch.tensor([0, 4])
    arguments = {"attention_mask": None, "cu_seq_lens_q": bounds, "max_length_q": 4} | changed
    with pytest.raises(packing.UnpackableError, match=r"Linear asks for a (mask of its own|soft cap of 30\.0)"):
        packing.packed_attention(nn.Linear(1, 1), q, q, q, **arguments)


@given(st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=6), st.data())
def test_tokens_take_and_concat(texts: list[list[int]], data: st.DataObject) -> None:
    def listed(tokens: Tokens) -> list[list[int]]:
        return [part.tolist() for part in np.split(tokens.ids, tokens.offsets[1:-1])]

    indices = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=8))
    tokens = Tokens.from_lists(texts)
    assert listed(tokens) == texts
    assert len(tokens) == len(texts)
    assert listed(tokens.take(np.array(indices))) == [texts[i] for i in indices]
    assert listed(Tokens.concat([tokens, tokens])) == texts + texts


def test_positions_and_bounds_of_a_batch() -> None:
    batch = pack(Tokens.from_lists([[10, 11, 12], [20], [30, 31]]))
    assert batch.input_ids.tolist() == [[20, 30, 31, 10, 11, 12]]
    assert batch.position_ids.tolist() == [[0, 0, 1, 0, 1, 2]]
    assert batch.cu_seq_lens.tolist() == [0, 1, 3, 6]
    assert batch.max_length == 3
    assert batch.inverse.tolist() == [2, 0, 1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("architecture", POOLING)
def test_flash_attention_is_exact_attention(architecture: str) -> None:
    pooling, tokens = POOLING[architecture], make_tokens(LENGTHS)
    plain = random_model(architecture)
    encoder = make_encoder(plain, pooling, "cuda")
    expected = padded_embeddings(plain, tokens, pooling)
    exact, flash = (torch.from_numpy(encoder.encode(tokens, precision=p)) for p in ("fp32", "bf16"))
    torch.testing.assert_close(exact, expected, atol=1e-3, rtol=0)  # TF32 may be on
    with torch.no_grad():
        padded = padded_embeddings(copy.deepcopy(plain).cuda().bfloat16(), tokens, pooling, "cuda").cpu()
    assert (flash - padded).norm() / padded.norm() < 1e-2  # one arithmetic
    assert (flash - expected).norm() / expected.norm() < 1.5e-2  # autocast's distance is 0.8e-2 for these weights

    weight = torch.randn(expected.shape)
    (expected * weight).sum().backward()
    with torch.autocast("cuda", torch.bfloat16):
        (encoder.forward(pack(tokens).to("cuda")) * weight.cuda()).sum().backward()
    gradients = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None and p.ndim > 1}
    for name, parameter in encoder.model.named_parameters():
        if name in gradients and parameter.grad is not None:
            assert (parameter.grad.cpu() - gradients[name]).norm() < 0.1 * gradients[name].norm() + 1e-3, name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 5, 40])
def test_flash_attention_of_a_window_is_exact_attention(causal: bool, window: int) -> None:
    torch.manual_seed(0)
    bounds = torch.tensor([0, 5, 69, 200], dtype=torch.int32, device="cuda")
    q, k, v = (torch.randn(200, 4, 32, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    weight = torch.randn(200, 4, 32, device="cuda")

    def run(output: Tensor) -> list[Tensor]:
        return [output, *torch.autograd.grad((output.float() * weight).sum(), (q, k, v))]

    expected = run(packing._exact_attention(q, k, v, bounds, None, 0.0, causal, window))
    for dropout in (0.0, 1e-9):
        got = run(packing._flash_attention(q, k, v, bounds, 131, None, dropout, causal, window))
        for one, other in zip(got, expected, strict=True):
            assert (one.float() - other.float()).norm() <= 2e-2 * other.float().norm() + 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("causal", [False, True])
def test_flash_dropout_has_the_right_mean_and_gradient(causal: bool) -> None:
    torch.manual_seed(0)
    bounds = torch.tensor([0, 5, 69, 100], dtype=torch.int32, device="cuda")
    q, k, v = (torch.randn(100, 4, 32, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))

    def run(dropout: float) -> tuple[Tensor, Tensor]:
        out = packing._flash_attention(q, k, v, bounds, 64, None, dropout, causal)
        return out.detach().float(), torch.autograd.grad(out.float().square().sum(), v)[0].float()

    exact = packing._exact_attention(q.float(), k.float(), v.float(), bounds, None, 0.0, causal)
    assert (run(0.0)[0] - exact).norm() / exact.norm() < 1e-2
    runs = [run(0.2) for _ in range(400)]
    mean = torch.stack([out for out, _ in runs]).mean(0)
    assert (runs[0][0] - exact).norm() / exact.norm() > 0.1
    assert (mean - exact).norm() / exact.norm() < 0.05
    # For a given dropout mask the output is linear in v, so <v, d sum(out²)/dv> = 2 sum(out²).
    for out, grad in runs[:5]:
        assert (v.detach().float() * grad).sum().item() == pytest.approx(2 * out.square().sum().item(), rel=2e-2)
