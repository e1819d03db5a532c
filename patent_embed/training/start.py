"""A training as each of its workers begins it."""

from __future__ import annotations

from pathlib import Path

import torch

from patent_embed.config.settings import Config
from patent_embed.encoder.encoder import Encoder
from patent_embed.training.data import TripletData
from patent_embed.training.selection import Validation
from patent_embed.training.sharding import shard
from patent_embed.training.trainer import Trainer
from patent_embed.training.validation import RetrievalSet, validation_ndcg


def first_encoder(model: Path, config: Config, device: torch.device) -> Encoder:
    """What ``start_training`` trains."""
    torch.manual_seed(config.run.seed)  # the adapters' first weights
    encoder = Encoder.load(model, config.model, device=device)
    if config.training.use_lora:
        encoder.add_lora(config.training.lora)
    return encoder


def start_training(
    model: Path, data: TripletData, val: RetrievalSet, config: Config, *, fingerprint: str, device: torch.device
) -> Trainer:
    """The base encoder with adapters, where they are trained, before its first step. On every worker it is the same.

    Args:
        model: folder of the base encoder.
        val: judged after every epoch; without queries, there is no early stopping.
        fingerprint: names model, data and settings; a checkpoint with another one is refused.
    """
    encoder = first_encoder(model, config, torch.device("cpu") if config.training.shard else device)
    if config.training.shard:
        shard(encoder, device)
    return Trainer(
        encoder,
        data,
        config.training,
        seed=config.run.seed,
        fingerprint=fingerprint,
        validate=Validation(lambda: validation_ndcg(encoder, val), val.query_family) if len(val.queries) else None,
    )
