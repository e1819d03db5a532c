"""Small models with random weights, and texts of given lengths."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, Qwen3Config, Qwen3Model, XLMRobertaConfig, XLMRobertaModel

from patent_embed.config.training import LoraConfig
from patent_embed.data import sample
from patent_embed.encoder import packing
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import PackedBatch, Tokens
from tests.unit.encoder.kernels.tensors import error

PAD = 1
POOLING = {"bert": "mean", "xlm-roberta": "cls", "qwen3": "lasttoken"}
SIZES = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "pad_token_id": PAD}


def random_model(architecture: str, dropout: float = 0.0, heads: int = 4) -> nn.Module:
    torch.manual_seed(0)
    if architecture == "qwen3":
        return Qwen3Model(
            Qwen3Config(
                **SIZES,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=16,
                attention_dropout=dropout,
                initializer_range=0.1,
            )
        ).eval()
    config, model = {
        "bert": (BertConfig, BertModel),
        "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    }[architecture]
    # Larger than usual first weights: attention and positions must matter for the comparison to say anything.
    return model(
        config(
            **SIZES,
            num_attention_heads=heads,
            max_position_embeddings=40,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=dropout,
            initializer_range=0.3,
        )
    ).eval()


def make_encoder(model: nn.Module, pooling: str, device: str = "cpu") -> Encoder:
    packing.register()
    model = copy.deepcopy(model).to(device)
    model.set_attn_implementation(packing.ATTENTION)
    return Encoder(model, None, pooling=pooling, prompts={"query": "", "passage": ""}, max_seq_length=32, source=None)


def make_tokens(lengths: list[int]) -> Tokens:
    rng = np.random.default_rng(0)
    return Tokens.from_lists([rng.integers(2, 100, length).tolist() for length in lengths])


LENGTHS = [7, 3, 19, 7, 1, 30, 7]
TEXTS = [sample.record(5, i)["abstract"] for i in range(8)] + ["短"]


def gradients(encoder: Encoder) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in encoder.trainable_parameters()}
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def errors_in_bf16(exact: Encoder, batch: PackedBatch, expected: Tensor, weight: Tensor) -> tuple[float, float]:
    """What bf16 costs without kernels of ours, where ``batch`` lies: errors of states, and of the worst gradient.

    Args:
        exact: fp32, with the gradients of ``(expected * weight).sum()``.
    """
    low, device = copy.deepcopy(exact), expected.device
    low.model.to(batch.input_ids.device).zero_grad()
    for parameter in low.model.parameters():  # not positions' frequencies
        parameter.data = parameter.data.to(torch.bfloat16)
    states = low.forward(batch)
    (states * weight.to(states.device)).sum().backward()
    of_exact = gradients(exact)
    off = max(error(gradient.to(device), of_exact[name]) for name, gradient in gradients(low).items())
    return error(states.to(device), expected), off


def trained(folder: Path, *, lora: bool, seed: int = 0) -> Encoder:
    """An encoder whose weights have moved."""
    encoder = Encoder.load(folder)
    torch.manual_seed(seed)
    if lora:
        encoder.add_lora(LoraConfig(r=4))
    with torch.no_grad():
        for _, parameter in encoder.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return encoder
