"""Texts in passages that an encoder reads whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patent_embed.config.model import ModelConfig
from patent_embed.data.sample import generate
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.passages import cut_into_passages, tokens_not_read
from patent_embed.errors import UserError

READ = 32  # tokens


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(tiny_model, ModelConfig(max_seq_length=READ))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """A short one, long ones, and one that no sentence ends in."""
    long = [record["abstract"] * 3 for record in generate(4)]
    return ["短句。", *long, "甲" * 200, ""]


def test_nothing_is_lost_and_every_passage_is_read_whole(encoder: Encoder, texts: list[str]) -> None:
    found = cut_into_passages(encoder, texts, 64)
    assert np.unique(found.owner).tolist() == list(range(len(texts)))
    for row, text in enumerate(texts):
        mine = [piece for piece, owner in zip(found.texts, found.owner.tolist(), strict=True) if owner == row]
        assert "".join("".join(mine).split()) == "".join(text.split())
    assert encoder.whole_lengths(found.texts, "passage").max() <= READ
    assert tokens_not_read(encoder, found).sum() == 0


def test_passages_end_with_sentences_where_one_ends_in_their_second_half(encoder: Encoder) -> None:
    short = cut_into_passages(encoder, ["一二三四五六七八九。" * 9], 64).texts
    assert len(short) > 3
    assert {piece[-1] for piece in short} == {"。"}
    early = cut_into_passages(encoder, ["一。" + "二" * 60], 64).texts
    assert len(early[0]) > READ / 2  # not the one character before the sentence's end


def test_a_text_has_so_many_passages_at_most_and_the_rest_is_counted(encoder: Encoder, texts: list[str]) -> None:
    found = cut_into_passages(encoder, texts, 2)
    assert np.bincount(found.owner).max() == 2
    lost = tokens_not_read(encoder, found)
    assert lost[0] == lost[-1] == 0
    assert (lost[1:-1] > 0).all()
    whole = encoder.whole_lengths(texts, "passage")
    assert (lost < whole).all()
    assert cut_into_passages(encoder, texts, 1).texts == [text.strip() for text in texts]


def test_a_text_that_fits_is_itself(encoder: Encoder) -> None:
    assert cut_into_passages(encoder, [" 一种水泵。 "], 3).texts == [" 一种水泵。 "]


def test_a_prompt_that_leaves_no_room_is_refused(tiny_model: Path) -> None:
    long = Encoder.load(tiny_model, ModelConfig(max_seq_length=16, passage_prompt="一种水泵，包括叶轮和泵体："))
    with pytest.raises(UserError, match=r"leaves \d tokens of a passage.*model.passages_per_patent=1"):
        cut_into_passages(long, ["甲" * 90], 2)
