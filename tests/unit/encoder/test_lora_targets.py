"""LoRA targets that are found from the modules themselves."""

from __future__ import annotations

import pytest
from torch import nn

from patent_embed.config.training import LoraConfig
from patent_embed.encoder import lora_targets
from patent_embed.errors import UserError
from tests.unit.encoder.architectures import NAMES, random_transformer
from tests.unit.encoder.models import make_encoder, random_model

BERT = {"query", "key", "value", "dense"}
LLAMA = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
NAMED_LIKE_BERT = ("bert", "roberta", "xlm-roberta", "electra", "ernie", "albert")
FOUND = {
    "distilbert": {"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"},
    "mpnet": {"q", "k", "v", "o", "dense"},
    "deberta-v2": {"query_proj", "key_proj", "value_proj", "dense"},
    "modernbert": {"Wqkv", "Wi", "Wo"},
    "jina-v3": {"q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"},
}


@pytest.mark.parametrize("name", NAMES)
def test_attention_and_feed_forward_of_every_layer_and_nothing_else(name: str) -> None:
    encoder = make_encoder(random_transformer(name, 100), "mean")
    targets = set(lora_targets.target_names(encoder.model))
    assert targets == FOUND.get(name, BERT if name in NAMED_LIKE_BERT else LLAMA)
    layers = lora_targets.layer_names(encoder.model)
    encoder.add_lora(LoraConfig(r=2))
    adapted = {name.partition(".lora_A")[0] for name, _ in encoder.trainable_parameters() if ".lora_A." in name}
    assert adapted
    assert all(any(f".{layer}." in f".{each}." for layer in layers) for each in adapted)
    # The layers are alike: each has as many adapters.
    counts = {layer: sum(f".{layer}." in f".{each}." for each in adapted) for layer in layers}
    assert len(set(counts.values())) == 1


class _Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv_proj, self.out = nn.Linear(4, 12), nn.Linear(4, 4)


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.up = _Fused(), nn.Linear(4, 4)


class _Model(nn.Module):
    """Layers of names that nobody knows, between linear layers that are none of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.blocks, self.pooler = nn.Linear(4, 4), nn.ModuleList([_Layer(), _Layer()]), nn.Linear(4, 4)


def test_layers_are_found_by_their_attention() -> None:
    model = _Model()
    assert lora_targets.layer_names(model) == {"blocks.0", "blocks.1"}
    assert lora_targets.target_names(model) == ["out", "qkv_proj", "up"]
    # What is called like a projection and stands elsewhere is left out, unless somebody names it.
    assert lora_targets.outside_layers(model, ["up", "out"], poolers_only=False) == ["up"]
    assert lora_targets.outside_layers(model, ["up", "pooler"], poolers_only=True) == ["pooler"]


def test_without_an_attention_the_candidates_and_the_setting_are_named() -> None:
    model = random_model("bert")
    for layer in model.encoder.layer:
        layer.attention.self.mixing = layer.attention.self.query
        del layer.attention.self.query
    with pytest.raises(UserError, match=r"training\.lora\.target_modules to some of dense, key, mixing, value"):
        make_encoder(model, "mean").add_lora(LoraConfig())
