"""The training loop on a tiny encoder: exact resume, the same arithmetic however a batch is cut, honest stopping."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from patent_embed.config.model import ModelConfig
from patent_embed.config.training import TrainingConfig
from patent_embed.encoder.encoder import Encoder, native_bf16
from patent_embed.errors import UserError
from patent_embed.training.data import TripletData
from patent_embed.training.passes import tokens_that_fit
from patent_embed.training.trainer import Trainer, precision_on
from tests.unit.training.tiny import Silent, make_trainer, weights


def test_learning_rate_warms_up_and_decays_to_zero(tiny_model: Path) -> None:
    trainer = make_trainer(tiny_model, warmup_ratio=0.25)  # 8 steps an epoch, 32 in all, 8 of them warm-up
    rates = [trainer.learning_rate_at(step) / 1e-3 for step in range(33)]
    assert rates[:8] == pytest.approx([i / 8 for i in range(1, 9)])
    assert rates[8:] == pytest.approx([(32 - i) / 24 for i in range(8, 33)])


@pytest.mark.parametrize(
    ("device", "layers", "auto"),
    [
        ("cpu", False, "fp32"),
        ("cpu", True, "bf16" if native_bf16(torch.device("cpu")) else "fp32"),
        ("cuda", False, "bf16"),
    ],
)
def test_the_precision_follows_the_device_unless_it_is_set(device: str, layers: bool, auto: str) -> None:
    found = [precision_on(torch.device(device), asked, layers) for asked in ("auto", "fp32", "bf16")]
    assert found == [auto, "fp32", "bf16"]


def test_training_reduces_the_loss_and_changes_only_adapters(tiny_model: Path) -> None:
    trainer = make_trainer(tiny_model, epochs=8, learning_rate=5e-3)
    frozen = {n: p.detach().clone() for n, p in trainer.encoder.model.named_parameters() if not p.requires_grad}
    before, reporter = weights(trainer), Silent()
    trainer.fit(reporter)
    assert all("lora" in name for name in before)
    assert np.mean(reporter.losses[-8:]) < 0.7 * np.mean(reporter.losses[:8])
    assert all(torch.equal(frozen[n], p) for n, p in trainer.encoder.model.named_parameters() if n in frozen)
    assert all(not torch.equal(before[n], p) for n, p in weights(trainer).items())


def test_full_fine_tuning_changes_the_model_itself(tiny_model: Path) -> None:
    trainer = make_trainer(tiny_model, use_lora=False, epochs=1)
    before = weights(trainer)
    trainer.fit(Silent())
    assert sum(not torch.equal(before[n], p) for n, p in weights(trainer).items()) > 20


def test_early_stopping_keeps_the_best_epoch(tiny_model: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_model, [0.1, 0.4, 0.6, 0.5, 0.6, 0.9], epochs=5, early_stopping_patience=2)
    trainer.fit(Silent(tmp_path))
    # Epoch 4 is no worse than epoch 2, so training goes on, though it was the second one that was no better.
    assert (trainer.state.stopped, trainer.state.epoch, trainer.state.kept_epoch) == (False, 5, 5)
    values = [0.1, 0.4, 0.6, 0.5, 0.5, 0.9]
    trainer = make_trainer(tiny_model, values, epochs=5, early_stopping_patience=2)
    trainer.fit(Silent(tmp_path / "again"))
    assert (trainer.state.stopped, trainer.state.epoch, trainer.state.kept_epoch) == (True, 4, 2)
    expected = make_trainer(tiny_model)
    expected.load(tmp_path / "again/epoch-2")
    trainer.load_kept()
    assert all(torch.equal(a, b) for a, b in zip(weights(trainer).values(), weights(expected).values(), strict=True))


def test_what_few_val_queries_cannot_tell_changes_nothing(tiny_model: Path) -> None:
    """Five queries that all agree are chance in one of sixteen trials: the last epoch is published, and it says so."""
    trainer = make_trainer(tiny_model, [0.1, 0.6, 0.5, 0.4, 0.3], queries=5, early_stopping_patience=1)
    trainer.fit(Silent())
    assert (trainer.state.stopped, trainer.state.epoch, trainer.state.kept_epoch) == (False, 4, 4)
    assert trainer.state.best_epoch == 1
    assert trainer.state.doubt is not None
    assert trainer.state.doubt["difference"] == pytest.approx(0.3)
    assert trainer.state.doubt["queries"] == 5


def test_the_last_epoch_is_published_where_that_is_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    """Also after a checkpoint; early stopping still counts from the best one."""
    values = [0.1, 0.4, 0.6, 0.5, 0.5, 0.9]
    settings = {"epochs": 5, "early_stopping_patience": 2, "publish": "last"}
    trainer = make_trainer(tiny_model, values, **settings)
    trainer.fit(Silent(tmp_path))
    assert (trainer.state.stopped, trainer.state.epoch, trainer.state.kept_epoch) == (True, 4, 4)
    assert trainer.state.best_value == pytest.approx(0.6)
    last = weights(trainer)
    trainer.load_kept()
    assert all(torch.equal(a, b) for a, b in zip(weights(trainer).values(), last.values(), strict=True))
    resumed = make_trainer(tiny_model, values[4:], **settings)
    resumed.load(tmp_path / "epoch-3")
    resumed.fit(Silent())
    resumed.load_kept()
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed).values(), last.values(), strict=True))


def test_a_lost_kept_epoch_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(RuntimeError, match="kept epoch"):
        make_trainer(tiny_model).load_kept()


@pytest.mark.parametrize("loss", ["triplet", "infonce"])
def test_cutting_a_step_into_forward_passes_does_not_change_it(tiny_model: Path, loss: str) -> None:
    runs = []
    for budget in (None, 512):
        trainer = make_trainer(
            tiny_model, dropout=0.0, loss=loss, batch_size=60, epochs=2, max_tokens_per_forward=budget
        )
        reporter = Silent()
        trainer.fit(reporter)
        runs.append((reporter.losses, weights(trainer)))
    chunks = list(trainer._chunks(trainer.data.tokens, np.arange(60)))
    assert len(chunks) > 1
    assert np.array_equal(np.concatenate(chunks), np.arange(60))
    assert runs[0][0] == pytest.approx(runs[1][0], abs=1e-6)
    for name, value in runs[0][1].items():
        torch.testing.assert_close(value, runs[1][1][name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_passes_of_a_piece_drop_the_same(tiny_model: Path, precision: str) -> None:
    trainer = make_trainer(tiny_model, dropout=0.3, precision=precision)
    trainer.encoder.model.train()
    texts = np.arange(20)
    with trainer._fused or contextlib.nullcontext():
        first, again, other = (
            trainer._embed(trainer.data.tokens, texts, n, grad=g) for n, g in ((1, False), (1, True), (2, False))
        )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_on_a_cpu_a_forward_pass_is_bounded_by_what_it_keeps(tiny_model: Path) -> None:
    """The bundled encoder's 12 layers of 384 numbers keep 189 kB a token, and half of that in bf16."""
    fused, plain = make_trainer(tiny_model), make_trainer(tiny_model, use_lora=False)
    half = make_trainer(tiny_model, precision="bf16")
    kept = 2 * 4 * (6 * 32 + 64 + 6 * 16)  # two layers of 32 numbers, 64 in the feed-forward network, rank 16
    assert fused._most_tokens == 17 * 2**26 // kept
    assert half._most_tokens == 17 * 2**26 // (kept // 2)
    assert plain._most_tokens == 8192
    assert make_trainer(tiny_model, max_tokens_per_forward=700)._most_tokens == 700


def test_on_a_gpu_a_forward_pass_is_bounded_by_memory() -> None:
    """A token of Qwen3-Embedding keeps 0.8 MB in the 0.6B model and 2.5 MB in the 4B one, whose weights take 22 GB."""
    assert tokens_that_fit(132_000_000_000, 802_816) == 65_536
    assert tokens_that_fit(113_000_000_000, 2_506_752) == 22_539
    assert tokens_that_fit(1_000_000, 802_816) == 512


def test_training_is_that_of_sentence_transformers(tiny_model: Path) -> None:
    """Packed, each text encoded once: the losses and weights of padded batches under its own TripletLoss."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import TripletDistanceMetric, TripletLoss
    from sentence_transformers.models import Normalize

    trainer, reporter = make_trainer(tiny_model, dropout=0.0, use_lora=False, epochs=2), Silent()
    start = weights(trainer)
    trainer.fit(reporter)

    modules = list(SentenceTransformer(str(tiny_model), device="cpu"))
    model = SentenceTransformer(modules=[*modules[:2], Normalize()], device="cpu")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    modules[0].auto_model.config.attention_probs_dropout_prob = 0.0
    model.train()
    parameters = {name: p for name, p in modules[0].auto_model.named_parameters() if name in start}
    assert all(torch.equal(parameters[name], value) for name, value in start.items())
    decayed = [p for p in parameters.values() if p.ndim > 1]
    others = [p for p in parameters.values() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0}])
    loss = TripletLoss(model, distance_metric=TripletDistanceMetric.EUCLIDEAN, triplet_margin=0.3)

    def padded(rows: np.ndarray) -> dict[str, torch.Tensor]:
        texts = trainer.data.tokens.take(rows)
        ids = [torch.from_numpy(part.astype(np.int64)) for part in np.split(texts.ids, texts.offsets[1:-1])]
        mask = [torch.ones_like(part) for part in ids]
        fill = torch.nn.utils.rnn.pad_sequence
        return {"input_ids": fill(ids, batch_first=True), "attention_mask": fill(mask, batch_first=True)}

    step, losses = 0, []
    for epoch in range(2):
        order = trainer.data.epoch_order(5, epoch)
        for begin in range(0, len(order), 8):
            triplets = trainer.data.triplets[order[begin : begin + 8]]
            value = loss([padded(triplets[:, part]) for part in range(3)], torch.empty(0))
            value.backward()
            torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = trainer.learning_rate_at(step)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(value.item())
            step += 1
    assert reporter.losses == pytest.approx(losses, abs=1e-5)
    moved = max((value - start[name]).abs().max().item() for name, value in weights(trainer).items())
    apart = max((value - parameters[name]).abs().max().item() for name, value in weights(trainer).items())
    assert apart < 0.02 * moved


def test_a_lost_training_says_so(tiny_model: Path) -> None:
    trainer = make_trainer(tiny_model)
    with torch.no_grad():
        next(iter(trainer.parameters.values())).fill_(math.nan)
    with pytest.raises(UserError, match="loss is nan at step 1"):
        trainer.fit(Silent())


def test_no_triplets_is_an_error(tiny_model: Path) -> None:
    data = make_trainer(tiny_model).data
    empty = TripletData(data.tokens, np.empty((0, 3), np.int64), data.family)
    encoder = Encoder.load(tiny_model, ModelConfig(), device=torch.device("cpu"))
    with pytest.raises(UserError, match="no training triplets"):
        Trainer(encoder, empty, TrainingConfig(), seed=0, fingerprint="", validate=None)
