"""Padded batches, and who needs them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from patent_embed.encoder import packing
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import pack
from patent_embed.encoder.padding import calls_of
from tests.unit.encoder.architectures import random_transformer
from tests.unit.encoder.models import LENGTHS, make_encoder, make_tokens, random_model


@given(st.lists(st.integers(1, 500), max_size=30).map(sorted), st.floats(1, 3))
def test_every_text_is_in_one_call_and_little_is_padding(lengths: list[int], padded: float) -> None:
    calls = list(calls_of(lengths, padded))
    assert [i for call in calls for i in range(call.start, call.stop)] == list(range(len(lengths)))
    for call in calls:
        some = lengths[call]
        assert some
        assert max(some) * len(some) <= padded * sum(some) + 1e-6


def test_calls_by_hand() -> None:
    assert list(calls_of([4, 4, 5, 10, 11], 1.25)) == [slice(0, 3), slice(3, 5)]
    assert list(calls_of([])) == []


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_padded_is_packed(pooling: str) -> None:
    """A model that can do both gives the same either way, in the order asked for."""
    tokens, model = make_tokens(LENGTHS), random_model("bert")
    packed = make_encoder(model, pooling)
    padded = Encoder(
        model, None, pooling=pooling, prompts={"query": "", "passage": ""}, max_seq_length=32, source=None, packs=False
    )
    asked = np.array([5, 0, 0, 3, 4])
    expected = packed.forward(pack(tokens, asked))
    torch.testing.assert_close(padded.forward(pack(tokens, asked)), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(
        padded.encode(tokens, precision="fp32", max_tokens=40), packed.encode(tokens, precision="fp32"), atol=1e-5
    )


class _WithoutPositions(nn.Module):
    """A model that counts positions over the whole row, whatever it is told."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model

    def forward(self, position_ids: torch.Tensor, **others: object) -> object:
        return self.inner(position_ids=torch.arange(position_ids.shape[1])[None], **others)


class _OfForeignCode(nn.Module):
    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> None:
        raise AssertionError("it takes no bounds")


def test_who_reads_a_row_of_several_texts() -> None:
    assert packing.keeps_texts_apart(make_encoder(random_model("bert"), "mean").model)
    for name in ("mpnet", "deberta-v2", "gemma2"):
        assert not packing.keeps_texts_apart(make_encoder(random_transformer(name, 100), "mean").model)
    assert not packing.keeps_texts_apart(_WithoutPositions(make_encoder(random_model("bert"), "mean").model))
    assert not packing.keeps_texts_apart(_OfForeignCode())
