"""Judgements in triplets: refused patents become negatives of their query, accepted ones of nobody."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from patent_embed.config.model import ModelConfig
from patent_embed.data.schemas import JUDGED
from patent_embed.encoder.encoder import Encoder
from patent_embed.training.data import TripletData, build_triplets

IDS = [f"CN{n}" for n in range(6)]


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(tiny_model, ModelConfig(), device=torch.device("cpu"))


def built(encoder: Encoder, *said: tuple[str, str, bool], mined: bool = True) -> TripletData:
    """Patents CN0 to CN4 are training ones, each with CN3 and CN4 as its negatives; 水泵 asks for CN0 and CN1."""
    corpus = pa.table({"publication_number": IDS, "abstract": [f"一种装置{n}" for n in range(6)]})
    splits = pa.table({"publication_number": IDS, "family": IDS, "split": ["train"] * 5 + ["test"]})
    queries = {"publication_number": ["CN0", "CN1", "CN2"], "query": ["水泵", "水泵", "阀门"], "source": ["judged"] * 3}
    pairs = [(one, other) for one in ("CN0", "CN1", "CN2") for other in ("CN3", "CN4")]
    negatives = {"publication_number": [one for one, _ in pairs], "negative": [other for _, other in pairs]}
    rows = [
        {"query": q, "publication_number": number, "relevant": relevant, "split": "train"}
        for q, number, relevant in said
    ]
    answers = pa.Table.from_pylist(rows, JUDGED)
    return build_triplets(
        encoder, corpus, splits, pa.table(queries), pa.table(negatives), None, mined=mined, judged=answers
    )


def triplets(encoder: Encoder, found: TripletData) -> list[tuple[int, str, str]]:
    """Query and the numbers of both patents, read from their texts."""

    def patent(row: int) -> str:
        text = encoder.tokenizer.decode(found.tokens.ids[found.tokens.offsets[row] : found.tokens.offsets[row + 1]])
        return "".join(character for character in text if character.isdigit())

    return [(query, patent(one), patent(other)) for query, one, other in found.triplets.tolist()]


def test_refused_patents_are_negatives_and_accepted_ones_are_not(encoder: Encoder) -> None:
    said = [("水泵", "CN0", True), ("水泵", "CN1", True), ("水泵", "CN3", True), ("水泵", "CN2", False)]
    found = built(encoder, *said, ("水泵", "CN4", False), ("水泵", "CN5", False))  # CN5 is a test patent, CN4 mined
    assert triplets(encoder, found) == [
        (0, "0", "4"),
        (0, "0", "2"),
        (1, "1", "4"),
        (1, "1", "2"),
        (2, "2", "3"),
        (2, "2", "4"),
    ]
    family = found.family
    positive = dict(zip(found.triplets[:, 0].tolist(), found.triplets[:, 1].tolist(), strict=True))
    # In a batch, too: CN0, CN1 and CN3 are kin to both queries, CN2 is not.
    assert family[0] == family[1] == family[positive[0]] == family[positive[1]] != family[positive[2]]
    kin = [row for row in range(3, len(found.tokens)) if family[row] == family[0]]
    assert len(kin) == 3


def test_without_judgements_nothing_changes(encoder: Encoder) -> None:
    found = built(encoder)
    assert triplets(encoder, found) == [(q, str(q), other) for q in range(3) for other in ("3", "4")]


def test_without_mined_negatives_the_refused_stay(encoder: Encoder) -> None:
    found = built(encoder, ("阀门", "CN2", True), ("阀门", "CN1", False), mined=False)
    assert triplets(encoder, found) == [(0, "0", "0"), (1, "1", "1"), (2, "2", "2"), (2, "2", "1")]
