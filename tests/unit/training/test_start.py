"""Every worker begins with the same weights, which follow from the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from patent_embed.config.load import load_config
from patent_embed.config.model import ModelConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.training.start import start_training
from patent_embed.training.trainer import Trainer
from patent_embed.training.validation import RetrievalSet
from tests.unit.training.tiny import make_data, weights


def started(model: Path, val_queries: int = 5, **options: Any) -> Trainer:
    data = make_data(Encoder.load(model, ModelConfig(), device=torch.device("cpu")))
    val = RetrievalSet(data.tokens.take(np.arange(val_queries)), data.tokens, data.family[:val_queries], data.family)
    config = load_config(options=options)
    return start_training(model, data, val, config, fingerprint="f", device=torch.device("cpu"))


def test_the_first_weights_follow_from_the_seed(tiny_model: Path) -> None:
    torch.manual_seed(1)
    one, same, other = (weights(started(tiny_model, **{"run.seed": seed})) for seed in (3, 3, 4))
    assert all("lora" in name for name in one)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())
    assert not any("lora" in name for name in weights(started(tiny_model, **{"training.use_lora": False})))


def test_without_queries_nothing_is_judged(tiny_model: Path) -> None:
    assert started(tiny_model).validate is not None
    assert started(tiny_model, val_queries=0).validate is None
