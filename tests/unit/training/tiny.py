"""A tiny training: a few texts, an encoder of two layers, and a listener."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patent_embed.config.model import ModelConfig
from patent_embed.config.training import LoraConfig, TrainingConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import Tokens
from patent_embed.progress.events import EpochEnded, TrainingStep
from patent_embed.training.data import TripletData
from patent_embed.training.selection import Validation
from patent_embed.training.sharding import shard
from patent_embed.training.trainer import Trainer

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
    model: Path, val: Sequence[float] | None = None, dropout: float = 0.1, queries: int = 20, **settings: Any
) -> Trainer:
    """``val``: what each evaluation finds on every one of so many ``queries``; None: there is no validation."""
    settings = {"batch_size": 8, "learning_rate": 1e-3, "epochs": 4, "precision": "fp32", **settings}
    torch.manual_seed(0)
    encoder = Encoder.load(model, ModelConfig(), device=torch.device("cpu"))
    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    encoder.model.config.attention_probs_dropout_prob = dropout
    config = TrainingConfig(**settings)
    if config.use_lora:
        encoder.add_lora(LoraConfig(dropout=dropout))
    if config.shard:
        shard(encoder, torch.device("cpu"))
    values = iter(val or ())
    validate = Validation(lambda: np.full(queries, next(values)), np.arange(queries)) if val is not None else None
    return Trainer(encoder, make_data(encoder), config, seed=5, fingerprint="f" * 64, validate=validate)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.parameters.items()}
