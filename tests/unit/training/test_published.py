"""The published weights, some of the way back to the base model's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_model, save_adapter
from patent_embed.training.published import Mixed, mix_adapter
from tests.unit.training.tiny import Silent, make_trainer, weights


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


def test_a_share_is_the_same_in_a_merged_model_and_in_an_adapter(tiny_model: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_model, dropout=0.0, epochs=1)
    trainer.fit(Silent())
    factors = weights(trainer)
    save_adapter(trainer.encoder, tmp_path / "adapter", str(tiny_model))
    export_model(trainer.encoder, tmp_path / "tuned")
    mixed = Mixed(Encoder.load(tiny_model), Encoder.load(tmp_path / "tuned"))
    base, tuned = (Encoder.load(each).model.state_dict() for each in (tiny_model, tmp_path / "tuned"))
    for share in (1.0, 0.25, 0.0):
        for name, value in mixed.at(share).model.state_dict().items():
            expected = tuned[name] + share * (base[name] - tuned[name])
            torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)
    state = load_file(mix_adapter(tmp_path / "adapter", tmp_path / "mixed", 0.25) / "adapter_model.safetensors")
    assert len(state) == len(factors)
    before = load_file(tmp_path / "adapter/adapter_model.safetensors")
    for name, value in state.items():
        torch.testing.assert_close(value, before[name] * (0.75 if ".lora_B." in name else 1.0))
