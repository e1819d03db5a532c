"""The loss over whole embeddings, and over their first numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from patent_embed.encoder.packing import pack
from patent_embed.errors import UserError
from patent_embed.training.trainer import Trainer
from tests.unit.training.tiny import Silent, make_trainer


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
