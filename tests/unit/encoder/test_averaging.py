"""The mean of trainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from patent_embed.encoder.averaging import average_adapters, average_models
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_model, save_adapter
from tests.unit.encoder.models import TEXTS, trained


@pytest.mark.parametrize("lora", [True, False])
def test_the_mean_of_trainings(tiny_model: Path, tmp_path: Path, lora: bool) -> None:
    import peft

    members = [trained(tiny_model, lora=lora, seed=seed) for seed in (1, 2, 3)]
    folders = [export_model(member, tmp_path / f"model-{n}") for n, member in enumerate(members)]
    soup = Encoder.load(average_models(folders, tmp_path / "soup"))
    states = [Encoder.load(folder).model.state_dict() for folder in folders]
    for name, value in soup.model.state_dict().items():
        torch.testing.assert_close(value, sum(state[name] for state in states) / 3, atol=1e-6, rtol=1e-5)
    assert (soup.prompts, soup.pooling) == (members[0].prompts, members[0].pooling)
    if lora:
        adapters = [save_adapter(member, tmp_path / f"adapter-{n}") for n, member in enumerate(members)]
        average_adapters(adapters, tmp_path / "adapter")
        base = Encoder.load(tiny_model)
        base.model = peft.PeftModel.from_pretrained(base.model, tmp_path / "adapter")
        vectors = soup.encode(TEXTS, precision="fp32")
        np.testing.assert_allclose(base.encode(TEXTS, precision="fp32"), vectors, atol=1e-5)
        assert np.abs(vectors - members[0].encode(TEXTS, precision="fp32")).max() > 1e-3
