"""Which linear layers of a model get LoRA adapters where the settings name none."""

from __future__ import annotations

import re

from torch import nn

# Projections of attention and feed-forward by their names in encoders (BERT, RoBERTa) and decoders (Llama, Qwen).
_NAMED = (
    ("query", "key", "value", "dense"),
    ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
)
# Projections to queries, keys and values as models call them: apart, or as one layer.
_APART = re.compile(r"w?(q|k|v|query|key|value)(_proj|_lin|_linear)?", re.IGNORECASE)
_AT_ONCE = re.compile(r"w?(qkv|query_key_value)(_proj|_lin|_linear)?|c_attn|in_proj", re.IGNORECASE)


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """All of ``model``, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def target_names(model: nn.Module) -> list[str]:
    """Last parts of the names of the attention and feed-forward projections; empty where no attention is found.

    Where they are not called as in BERT or Llama, they are found by how the model is built: all linear layers of those
    elements of a ``ModuleList`` that hold an attention, which is a module with projections to queries, keys and values.
    """
    linear = linear_layers(model)
    endings = {_ending(name) for name in linear}
    for names in _NAMED:
        if set(names) <= endings:
            return list(names)
    layers = layer_names(model)
    return sorted({_ending(name) for name in linear if _inside(name, layers)})


def outside_layers(model: nn.Module, targets: list[str], *, poolers_only: bool) -> list[str]:
    """Names of linear layers that are called like ``targets`` and are no part of a layer with attention.

    ``poolers_only``: those of poolers, which no pooling here reads.
    """
    layers = set[str]() if poolers_only else layer_names(model)
    return [
        name
        for name in linear_layers(model)
        if _ending(name) in targets and ("pooler" in name.split(".") or (bool(layers) and not _inside(name, layers)))
    ]


def layer_names(model: nn.Module) -> set[str]:
    """Names of the elements of a ``ModuleList`` that hold an attention, the innermost of each."""
    lists = {name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    found = set[str]()
    for name, module in model.named_modules():
        if _is_attention(module):
            element = name
            while element and element.rpartition(".")[0] not in lists:
                element = element.rpartition(".")[0]
            found |= {element} - {""}
    return found


def _is_attention(module: nn.Module) -> bool:
    # PEFT's layers hold the linear layer that they adapt.
    children = ((name, getattr(child, "base_layer", child)) for name, child in module.named_children())
    own = [name for name, child in children if isinstance(child, nn.Linear)]
    kinds = {match[1][0].lower() for name in own if (match := _APART.fullmatch(name))}
    return kinds == {"q", "k", "v"} or any(_AT_ONCE.fullmatch(name) for name in own)


def _inside(name: str, layers: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:n]) in layers for n in range(1, len(parts)))


def _ending(name: str) -> str:
    return name.rpartition(".")[2]
