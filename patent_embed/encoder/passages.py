"""Texts that are longer than a model reads, cut into passages that it does read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from patent_embed.arrays import Rows
from patent_embed.encoder.encoder import Encoder
from patent_embed.errors import UserError
from patent_embed.text import SENTENCE_END

_END = re.compile(rf"{SENTENCE_END}|\n")
_LEAST_ROOM = 8  # tokens of a passage
# A piece alone can be a token or two more than it was inside of its text.
_SPARE = 2
_MOST_OF_A_CHARACTER = 4  # tokens: bytes of UTF-8


@dataclass(frozen=True)
class Passages:
    """Passages of texts.

    Attributes:
        texts: (p,) passages, those of a text behind one another, in the order of the texts.
        owner: (p,) rows of the texts that they are of, ascending; every text has one passage at least.
    """

    texts: list[str]
    owner: Rows


def cut_into_passages(encoder: Encoder, texts: Sequence[str], most: int) -> Passages:
    """``texts`` in passages of as many tokens as the encoder reads, ``most`` of a text, which ends with the last one's:
    what does not fit into it is not read.

    A passage ends with a sentence where one ends in its second half, else with a token. A text that fits is itself.

    Raises:
        UserError: the model's tokenizer does not say where a token stands, or its prompt leaves no room.
    """
    room = _room(encoder)
    pieces, owner = list[str](), list[int]()
    for row, text in enumerate(texts):
        mine = [text] if len(text) * _MOST_OF_A_CHARACTER <= room else _cut(text, _tokens(encoder, text), room, most)
        pieces += mine
        owner += [row] * len(mine)
    return Passages(pieces, np.array(owner, np.int64))


def tokens_not_read(encoder: Encoder, passages: Passages) -> Rows:
    """(texts,) tokens of each text that are in no passage as the encoder reads it."""
    over = np.maximum(encoder.whole_lengths(passages.texts, "passage") - encoder.max_seq_length, 0)
    return np.bincount(passages.owner, weights=over).astype(np.int64)


def _room(encoder: Encoder) -> int:
    """Tokens of a text, beside its prompt and special tokens."""
    room = encoder.max_seq_length - int(encoder.whole_lengths([""], "passage")[0]) - _SPARE
    if room < _LEAST_ROOM:
        raise UserError(
            f"model.max_seq_length {encoder.max_seq_length} less the passages' prompt leaves {max(room, 0)} tokens of "
            "a passage, too few to cut texts into; raise it, or set model.passages_per_patent=1"
        )
    return room


def _tokens(encoder: Encoder, text: str) -> list[int]:
    """Where the text's tokens begin, in characters, in order."""
    if not getattr(encoder.tokenizer, "is_fast", False):
        raise UserError(
            f"the tokenizer of {str(encoder.source)!r} does not say where a token stands in a text, so texts cannot be "
            "cut into passages; set model.passages_per_patent=1, or choose a model with a fast tokenizer"
        )
    encoded = encoder.tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )
    return [begin for begin, _ in encoded["offset_mapping"]]


def _cut(text: str, begins: list[int], room: int, most: int) -> list[str]:
    pieces, start, first = list[str](), 0, 0  # of what is left: its first character, its first token
    while len(pieces) < most - 1 and len(begins) - first > room:
        middle, end = begins[first + room // 2], begins[first + room]
        ends = [match.end() for match in _END.finditer(text, middle, end)]
        stop = max(ends[-1] if ends else end, start + 1)
        pieces.append(text[start:stop].strip())
        start = stop
        while first < len(begins) and begins[first] < stop:
            first += 1
    rest = text[start:].strip()
    return [piece for piece in [*pieces, rest] if piece] or [text]
