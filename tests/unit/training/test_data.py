"""Triplets and validation set: which queries are trained on, in which order, and how they lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from patent_embed.config.model import ModelConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import Tokens
from patent_embed.errors import UserError
from patent_embed.training import data
from patent_embed.training.data import TripletData, build_triplets, load_training_data, save_training_data
from patent_embed.training.token_file import join_pieces, write_piece
from patent_embed.training.validation import RetrievalSet
from tests.unit.training.tiny import Silent, make_trainer

SOURCES = ["rules", "llm", "llm", "rules", "llm"]


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(tiny_model, ModelConfig(), device=torch.device("cpu"))


def built(encoder: Encoder, sources: Sequence[str] | None, *, mined: bool = True) -> TripletData:
    """Triplets of five queries of four training patents; the last patent is in val."""
    ids = [f"CN{i}" for i in range(5)]
    corpus = pa.table({"publication_number": ids, "abstract": [f"一种装置{i}" for i in range(5)]})
    splits = pa.table({"publication_number": ids, "family": ids, "split": ["train"] * 4 + ["val"]})
    asked = ["CN0", "CN1", "CN1", "CN2", "CN4"]
    queries = pa.table({"publication_number": asked, "query": ["装置"] * 5, "source": SOURCES})
    negatives = pa.table({"publication_number": ["CN0", "CN1", "CN2"], "negative": ["CN3", "CN3", "CN3"]})
    return build_triplets(encoder, corpus, splits, queries, negatives, sources, mined=mined)


def test_queries_of_rules_are_left_out_where_a_model_wrote_enough(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(built(encoder, None).triplets) == 4
    monkeypatch.setattr(data, "ENOUGH_TO_TRAIN", 2)  # those of val do not count
    assert len(built(encoder, None).triplets) == 2
    monkeypatch.setattr(data, "ENOUGH_TO_TRAIN", 3)
    assert len(built(encoder, None).triplets) == 4
    assert len(built(encoder, ["rules"]).triplets) == 2


def test_without_mined_negatives_a_query_brings_its_own_passage_alone(encoder: Encoder) -> None:
    with_them, without = built(encoder, None), built(encoder, None, mined=False)
    assert without.triplets[:, 0].tolist() == [0, 1, 2, 3]  # CN0, twice CN1, CN2
    assert without.triplets[:, 1].tolist() == without.triplets[:, 2].tolist() == [4, 5, 5, 6]
    assert len(without.tokens) == len(without.family) == len(with_them.tokens) - 1  # CN3 is only a negative


def test_sources_that_nothing_has_are_an_error_that_names_the_setting_of_the_training(encoder: Encoder) -> None:
    with pytest.raises(UserError, match=r"^training\.query_sources \['api'\] matches none .*llm 2, rules 2.*train on"):
        built(encoder, ["api"])


def test_epochs_visit_every_triplet_once_in_another_order(tiny_model: Path) -> None:
    data = make_trainer(tiny_model).data
    first, second = data.epoch_order(5, 0), data.epoch_order(5, 1)
    assert sorted(first) == sorted(second) == list(range(60))
    assert list(first) != list(second)
    queries = data.triplets[first, 0].reshape(-1, 3)
    assert (queries == queries[:, :1]).all()  # the triplets of a query stand together


def test_an_epoch_with_a_limit_has_so_many_triplets_and_the_next_one_others(tiny_model: Path) -> None:
    data = make_trainer(tiny_model).data  # 60 triplets
    first, second = (np.concatenate(data.batches(5, epoch, 8, 20)) for epoch in (0, 1))
    assert len(set(first.tolist())) == len(set(second.tolist())) == 20
    assert set(first.tolist()) != set(second.tolist())
    assert (data.batch_count(8, 20), data.epoch_size(20)) == (3, 20)
    assert (data.batch_count(8, 100), data.epoch_size(100)) == (data.batch_count(8), data.epoch_size()) == (8, 60)
    trainer = make_trainer(tiny_model, max_triplets_per_epoch=20, epochs=2)
    reporter = Silent()
    trainer.fit(reporter)
    assert len(reporter.losses) == trainer.total_steps == 6


def test_training_data_is_read_as_it_was_written(tiny_model: Path, tmp_path: Path) -> None:
    data = make_trainer(tiny_model).data
    tokens, family = data.tokens, data.family
    save_training_data(tmp_path / "data", data, RetrievalSet(tokens.take(np.arange(5)), tokens, family[:5], family))
    found, val = load_training_data(tmp_path / "data")
    for one, other in [(found.tokens, tokens), (val.passages, tokens), (val.queries, tokens.take(np.arange(5)))]:
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.offsets, other.offsets)
    assert np.array_equal(found.triplets, data.triplets)
    assert np.array_equal(found.family, family)
    assert np.array_equal(val.query_family, family[:5])
    assert np.array_equal(val.passage_family, family)


def test_tokens_of_pieces_are_the_store_that_one_process_writes(encoder: Encoder, tmp_path: Path) -> None:
    """And what is mapped from its place is not written again."""
    parts = [encoder.tokenize([f"一种装置{i}" for i in range(begin, begin + 3)], "passage") for begin in (0, 3)]
    whole = Tokens.concat(parts)
    data = TripletData(whole, np.zeros((1, 3), np.int64), np.arange(6))
    val = RetrievalSet(whole.take(np.arange(1)), whole, np.arange(1), np.arange(6))
    save_training_data(tmp_path / "one", data, val)
    pieces = [tmp_path / str(number) for number in range(2)]
    for piece, part in zip(pieces, parts, strict=True):
        write_piece(piece, part.ids)
    (tmp_path / "several").mkdir()
    lengths = np.concatenate([part.lengths for part in parts]).astype(np.int32)
    mapped = join_pieces(pieces, lengths, tmp_path / "several" / "train-tokens")
    assert not any(piece.exists() for piece in pieces)
    save_training_data(tmp_path / "several", TripletData(mapped, data.triplets, data.family), val)
    one, several = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "several")
    )
    assert one == several
    write_piece(pieces[0], parts[0].ids)
    with pytest.raises(RuntimeError, match=r"1 pieces of .* ids of 6 texts"):
        join_pieces(pieces[:1], lengths, tmp_path / "several" / "train-tokens")
