"""The training loop on a tiny encoder: exact resume, the same arithmetic however a batch is cut, honest stopping."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing

from patent_embed.config.model import ModelConfig
from patent_embed.config.training import LoraConfig, TrainingConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import Tokens, pack
from patent_embed.errors import UserError
from patent_embed.progress.events import EpochEnded, TrainingStep
from patent_embed.training.data import TripletData, load_training_data, save_training_data
from patent_embed.training.query_dropout import QueryDropout
from patent_embed.training.trainer import Trainer, precision_on
from patent_embed.training.validation import RetrievalSet

WORDS = ["转轴", "壳体", "滤网", "电机", "阀门", "弹簧", "传感器", "支架", "水泵", "齿轮", "线圈", "活塞"]


class Silent:
    """Collects what the loop reports; writes checkpoints below ``folder``."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.losses: list[float] = []

    def step(self, event: TrainingStep) -> None:
        self.losses.append(event.loss)

    def epoch(self, event: EpochEnded, write: Callable[[Path], None] | None) -> None:
        if write is not None and self.folder is not None:
            path = self.folder / f"epoch-{event.epoch}"
            path.mkdir(parents=True)
            write(path)


def make_data(encoder: Encoder, anchors: int = 20, negatives: int = 3) -> TripletData:
    rng = np.random.default_rng(0)
    passages = [f"一种{a}与{b}组成的装置，编号{i}" for i, (a, b) in enumerate(rng.choice(WORDS, (40, 2)))]
    queries = [f"{passages[i][2:4]}怎样布置" for i in range(anchors)]
    tokens = Tokens.concat([encoder.tokenize(queries, "query"), encoder.tokenize(passages, "passage")])
    triplets = [
        (i, anchors + i, anchors + j)
        for i in range(anchors)
        for j in rng.choice([k for k in range(40) if k != i], negatives, replace=False)
    ]
    family = np.concatenate([np.arange(anchors), np.arange(40)])
    return TripletData(tokens, np.array(triplets), family)


def make_trainer(
    model: Path, validate: Callable[[], float] | None = None, dropout: float = 0.1, **settings: Any
) -> Trainer:
    settings = {"batch_size": 8, "learning_rate": 1e-3, "epochs": 4, **settings}
    torch.manual_seed(0)
    encoder = Encoder.load(model, ModelConfig(), device=torch.device("cpu"))
    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    encoder.model.config.attention_probs_dropout_prob = dropout
    config = TrainingConfig(**settings)
    if config.use_lora:
        encoder.add_lora(LoraConfig(dropout=dropout))
    return Trainer(encoder, make_data(encoder), config, seed=5, fingerprint="f" * 64, validate=validate)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.parameters.items()}


def test_epochs_visit_every_triplet_once_in_another_order(tiny_model: Path) -> None:
    data = make_trainer(tiny_model).data
    first, second = data.epoch_order(5, 0), data.epoch_order(5, 1)
    assert sorted(first) == sorted(second) == list(range(60))
    assert list(first) != list(second)
    queries = data.triplets[first, 0].reshape(-1, 3)
    assert (queries == queries[:, :1]).all()  # the triplets of a query stand together


def test_training_data_is_read_as_it_was_written(tiny_model: Path, tmp_path: Path) -> None:
    data = make_trainer(tiny_model).data
    tokens, family = data.tokens, data.family
    save_training_data(tmp_path / "data", data, RetrievalSet(tokens.take(np.arange(5)), tokens, family[:5], family))
    found, val = load_training_data(tmp_path / "data")
    for one, other in [(found.tokens, tokens), (val.passages, tokens), (val.queries, tokens.take(np.arange(5)))]:
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.offsets, other.offsets)
    assert np.array_equal(found.triplets, data.triplets)
    assert np.array_equal(found.family, family)
    assert np.array_equal(val.query_family, family[:5])
    assert np.array_equal(val.passage_family, family)


def test_learning_rate_warms_up_and_decays_to_zero(tiny_model: Path) -> None:
    trainer = make_trainer(tiny_model, warmup_ratio=0.25)  # 8 steps an epoch, 32 in all, 8 of them warm-up
    rates = [trainer.learning_rate_at(step) / 1e-3 for step in range(33)]
    assert rates[:8] == pytest.approx([i / 8 for i in range(1, 9)])
    assert rates[8:] == pytest.approx([(32 - i) / 24 for i in range(8, 33)])


@pytest.mark.parametrize(("device", "auto"), [("cpu", "fp32"), ("cuda", "bf16")])
def test_the_precision_follows_the_device_unless_it_is_set(device: str, auto: str) -> None:
    assert [precision_on(torch.device(device), asked) for asked in ("auto", "fp32", "bf16")] == [auto, "fp32", "bf16"]


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


@pytest.mark.parametrize("settings", [{}, {"loss": "infonce"}, {"use_lora": False}, {"query_dropout": 0.4}])
def test_a_resumed_training_ends_bit_equal(tiny_model: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    values = iter([0.1, 0.2, 0.5, 0.3, 0.4])
    whole = make_trainer(tiny_model, validate=lambda: next(values), **settings)
    whole.fit(Silent(tmp_path))
    values = iter([0.3, 0.4])  # what is left after epoch 2
    resumed = make_trainer(tiny_model, validate=lambda: next(values), **settings)
    resumed.load(tmp_path / "epoch-2")
    resumed.fit(Silent())
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True))
    clean = [[{k: v for k, v in r.items() if k != "train_seconds"} for r in t.state.history] for t in (whole, resumed)]
    assert clean[0] == clean[1]
    whole.load_kept()
    resumed.load_kept()
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True))
    assert whole.state.kept_epoch == resumed.state.kept_epoch == 2


def test_early_stopping_keeps_the_best_epoch(tiny_model: Path, tmp_path: Path) -> None:
    values = iter([0.1, 0.4, 0.6, 0.5, 0.6, 0.9])
    trainer = make_trainer(tiny_model, validate=lambda: next(values), epochs=5, early_stopping_patience=2)
    trainer.fit(Silent(tmp_path))
    assert (trainer.state.stopped, trainer.state.epoch, trainer.state.kept_epoch) == (True, 4, 2)
    expected = make_trainer(tiny_model)
    expected.load(tmp_path / "epoch-2")
    trainer.load_kept()
    assert all(torch.equal(a, b) for a, b in zip(weights(trainer).values(), weights(expected).values(), strict=True))


def test_the_last_epoch_is_published_where_that_is_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    """Also after a checkpoint; early stopping still counts from the best one."""
    values = [0.1, 0.4, 0.6, 0.5, 0.5, 0.9]
    settings = {"epochs": 5, "early_stopping_patience": 2, "publish": "last"}
    trainer = make_trainer(tiny_model, validate=iter(values).__next__, **settings)
    trainer.fit(Silent(tmp_path))
    assert (trainer.state.stopped, trainer.state.epoch, trainer.state.kept_epoch) == (True, 4, 4)
    assert trainer.state.best_value == 0.6
    last = weights(trainer)
    trainer.load_kept()
    assert all(torch.equal(a, b) for a, b in zip(weights(trainer).values(), last.values(), strict=True))
    resumed = make_trainer(tiny_model, validate=iter(values[4:]).__next__, **settings)
    resumed.load(tmp_path / "epoch-3")
    resumed.fit(Silent())
    resumed.load_kept()
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed).values(), last.values(), strict=True))


def test_checkpoints_are_refused_by_name(tiny_model: Path, tmp_path: Path) -> None:
    make_trainer(tiny_model, epochs=1).fit(Silent(tmp_path))
    folder = tmp_path / "epoch-1"
    other = make_trainer(tiny_model)
    other.state.fingerprint = "0" * 64
    with pytest.raises(UserError, match=r"belongs to training f{14}, this is 0{14}:"):
        other.load(folder)
    (folder / "state.json").write_text((folder / "state.json").read_text()[:50])
    with pytest.raises(UserError, match="is not a whole checkpoint"):
        make_trainer(tiny_model).load(folder)


def test_a_lost_kept_epoch_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(RuntimeError, match="kept epoch"):
        make_trainer(tiny_model).load_kept()


@pytest.mark.parametrize("use_lora", [True, False])
def test_a_share_of_the_base_model_stays_in_the_published_weights(tiny_model: Path, use_lora: bool) -> None:
    merged = []
    for share in (0.0, 0.25):
        trainer = make_trainer(tiny_model, dropout=0.0, use_lora=use_lora, epochs=1, base_share=share)
        before = {name: p.clone() for name, p in trainer.encoder.model.state_dict().items() if "lora" not in name}
        trainer.fit(Silent())
        trainer.load_kept()
        model = trainer.encoder.model.merge_and_unload() if use_lora else trainer.encoder.model
        merged.append(model.state_dict())
    plain = {name.replace("base_model.model.", "").replace(".base_layer", ""): p for name, p in before.items()}
    moved = 0
    for name, tuned in merged[0].items():
        torch.testing.assert_close(merged[1][name], tuned + 0.25 * (plain[name] - tuned), atol=1e-6, rtol=1e-5)
        moved += not torch.equal(tuned, plain[name])
    assert moved > 5


def test_query_dropout_leaves_out_words_of_queries_only(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model, ModelConfig(), device=torch.device("cpu"))
    text = "".join(WORDS)
    tokens = encoder.tokenize([text] * 400 + ["阀门"], "query")
    chosen = np.arange(401) != 7
    drop = QueryDropout(encoder, 0.4)
    found = drop(tokens, chosen, np.random.default_rng(1))
    again, other = (drop(tokens, chosen, np.random.default_rng(seed)) for seed in (1, 2))
    assert np.array_equal(found.ids, again.ids)
    assert not np.array_equal(found.ids, other.ids)

    full, short = encoder.tokenize([text, "阀门"], "query"), [found.take(np.array([row])).ids for row in (7, 400)]
    assert np.array_equal(short[0], full.take(np.array([0])).ids)  # not chosen
    assert np.array_equal(short[1], full.take(np.array([1])).ids)  # too short to lose any
    kept = [part.tolist() for part in np.split(found.ids, found.offsets[1:-1])][:400]
    whole = full.take(np.array([0])).ids.tolist()
    assert all(row[:2] == whole[:2] and row[-1] == whole[-1] for row in kept)  # [CLS], the prompt, [SEP]
    lengths = [len(row) - 3 for row in kept]
    assert np.mean(lengths) / (len(whole) - 3) == pytest.approx(0.6, abs=0.02)
    assert min(lengths) >= 3
    for row in kept:
        rest = iter(whole)
        assert all(token in rest for token in row)  # what is left keeps its order


def test_query_dropout_changes_the_training(tiny_model: Path) -> None:
    plain, reporter = Silent(), Silent()
    make_trainer(tiny_model, dropout=0.0, epochs=1).fit(plain)
    trainer = make_trainer(tiny_model, dropout=0.0, epochs=1, query_dropout=0.4)
    drop, tokens = trainer._drop_words, trainer.data.tokens
    assert drop is not None
    queries = {tokens.take(np.array([row])).ids.tobytes() for row in np.unique(trainer.data.triplets[:, 0])}

    def seen(batch: Tokens, chosen: np.ndarray, rng: np.random.Generator) -> Tokens:
        ids = [batch.take(np.array([row])).ids.tobytes() for row in range(len(batch))]
        assert chosen.tolist() == [text in queries for text in ids]  # the queries, and no passage
        return drop(batch, chosen, rng)

    trainer._drop_words = seen  # type: ignore[assignment]
    trainer.fit(reporter)
    assert reporter.losses != plain.losses


def test_query_dropout_of_a_tokenizer_that_adds_nothing(tiny_model: Path) -> None:
    from tokenizers.processors import Sequence

    encoder = Encoder.load(tiny_model, ModelConfig(query_prompt=""), device=torch.device("cpu"))
    encoder.tokenizer.backend_tokenizer.post_processor = Sequence([])
    tokens = encoder.tokenize(["".join(WORDS)] * 50, "query")
    assert not len(encoder.tokenize([""], "query").ids)
    found = QueryDropout(encoder, 0.4)(tokens, np.ones(50, bool), np.random.default_rng(0))
    assert found.lengths.mean() / tokens.lengths.mean() == pytest.approx(0.6, abs=0.06)


@pytest.mark.parametrize("loss", ["triplet", "infonce"])
def test_cutting_a_step_into_forward_passes_does_not_change_it(tiny_model: Path, loss: str) -> None:
    runs = []
    for budget in (65_536, 512):
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


def test_matryoshka_trains_the_first_numbers(tiny_model: Path) -> None:
    """The loss is the mean of those of the cut and again normalised embeddings; every size gets better."""
    trainer = make_trainer(tiny_model, dropout=0.0, matryoshka_dims=[8], epochs=8, learning_rate=5e-3)
    full = trainer.encoder.dim
    embeddings = torch.nn.functional.normalize(torch.randn(30, full), dim=-1)
    triplets, family = np.arange(30).reshape(10, 3), np.arange(30)
    small = torch.nn.functional.normalize(embeddings[:, :8], dim=-1)
    parts = [trainer.objective.of_whole(each, triplets, family) for each in (embeddings, small)]
    assert trainer.objective(embeddings, triplets, family).item() == pytest.approx(sum(parts).item() / 2)

    def small_loss(state: Trainer) -> float:
        state.encoder.model.eval()
        with torch.no_grad():
            texts = state.encoder.forward(pack(state.data.tokens))
        cut = torch.nn.functional.normalize(texts[:, :8], dim=-1)
        return state.objective.of_whole(cut, state.data.triplets, state.data.family).item()

    before = small_loss(trainer)
    trainer.fit(Silent())
    assert small_loss(trainer) < 0.7 * before
    with pytest.raises(UserError, match=r"matryoshka_dims has \[9999\]"):
        make_trainer(tiny_model, matryoshka_dims=[9999])


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


LOSSES = ("triplet", "infonce")


def _curve(model: Path, loss: str) -> dict[str, Any]:
    left_out = 0.4 if loss == "infonce" else 0.0  # drawn alike on every rank
    trainer = make_trainer(model, dropout=0.0, loss=loss, epochs=2, query_dropout=left_out)
    reporter = Silent()
    trainer.fit(reporter)
    total = sum(float(p.detach().double().sum()) for p in trainer.parameters.values())
    return {"losses": reporter.losses, "sum": total}


def _run_rank(rank: int, model: str, port: int, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    curves = {loss: _curve(Path(model), loss) for loss in LOSSES}
    Path(out, f"{rank}.json").write_text(json.dumps(curves))
    torch.distributed.destroy_process_group()


def test_two_workers_follow_the_loss_curve_of_one(tiny_model: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_run_rank, (str(tiny_model), port, str(tmp_path)), nprocs=2)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for loss in LOSSES:
        one, two, other = (curves[loss] for curves in ({loss: _curve(tiny_model, loss)}, *ranks))
        assert two["losses"] == other["losses"]
        assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
        assert two["sum"] == other["sum"]
        assert two["sum"] == pytest.approx(one["sum"], abs=1e-3)
