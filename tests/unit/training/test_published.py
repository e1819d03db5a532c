"""The published weights, some of the way back to the base model's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.unit.training.tiny import Silent, make_trainer


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
