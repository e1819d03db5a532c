"""Words of training queries are left out: which, how many, and of queries only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from patent_embed.config.model import ModelConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import Tokens
from patent_embed.training.query_dropout import QueryDropout
from tests.unit.training.tiny import WORDS, Silent, make_trainer


def test_query_dropout_leaves_out_words_of_queries_only(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model, ModelConfig(), device=torch.device("cpu"))
    text = "".join(WORDS)
    tokens = encoder.tokenize([text] * 400 + ["阀门"], "query")
    chosen = np.arange(401) != 7
    drop = QueryDropout(encoder, 0.4)
    found = drop(tokens, chosen, np.random.default_rng(1))
    again, other = (drop(tokens, chosen, np.random.default_rng(seed)) for seed in (1, 2))
    assert np.array_equal(found.ids, again.ids)
    assert not np.array_equal(found.ids, other.ids)

    full, short = encoder.tokenize([text, "阀门"], "query"), [found.take(np.array([row])).ids for row in (7, 400)]
    assert np.array_equal(short[0], full.take(np.array([0])).ids)  # not chosen
    assert np.array_equal(short[1], full.take(np.array([1])).ids)  # too short to lose any
    kept = [part.tolist() for part in np.split(found.ids, found.offsets[1:-1])][:400]
    whole = full.take(np.array([0])).ids.tolist()
    assert all(row[:2] == whole[:2] and row[-1] == whole[-1] for row in kept)  # [CLS], the prompt, [SEP]
    lengths = [len(row) - 3 for row in kept]
    assert np.mean(lengths) / (len(whole) - 3) == pytest.approx(0.6, abs=0.02)
    assert min(lengths) >= 3
    for row in kept:
        rest = iter(whole)
        assert all(token in rest for token in row)  # what is left keeps its order


def test_query_dropout_changes_the_training(tiny_model: Path) -> None:
    plain, reporter = Silent(), Silent()
    make_trainer(tiny_model, dropout=0.0, epochs=1).fit(plain)
    trainer = make_trainer(tiny_model, dropout=0.0, epochs=1, query_dropout=0.4)
    drop, tokens = trainer._drop_words, trainer.data.tokens
    assert drop is not None
    queries = {tokens.take(np.array([row])).ids.tobytes() for row in np.unique(trainer.data.triplets[:, 0])}

    def seen(batch: Tokens, chosen: np.ndarray, rng: np.random.Generator) -> Tokens:
        ids = [batch.take(np.array([row])).ids.tobytes() for row in range(len(batch))]
        assert chosen.tolist() == [text in queries for text in ids]  # the queries, and no passage
        return drop(batch, chosen, rng)

    trainer._drop_words = seen  # type: ignore[assignment]
    trainer.fit(reporter)
    assert reporter.losses != plain.losses


def test_what_asks_and_answers_in_one_batch_stays_whole(tiny_model: Path) -> None:
    trainer = make_trainer(tiny_model, dropout=0.0, epochs=1, query_dropout=0.4)
    drop, asked = trainer._drop_words, list[list[bool]]()
    assert drop is not None

    def seen(batch: Tokens, chosen: np.ndarray, rng: np.random.Generator) -> Tokens:
        asked.append(chosen.tolist())
        return drop(batch, chosen, rng)

    trainer._drop_words = seen  # type: ignore[assignment]
    # Two halves of a text that are to find each other, and a query.
    trainer.data = replace(trainer.data, triplets=np.array([(0, 1, 3), (1, 0, 3), (2, 3, 3)]))
    trainer._train_step(np.arange(3), 1e-3)
    assert asked == [[False, False, True, False]]


def test_query_dropout_of_a_tokenizer_that_adds_nothing(tiny_model: Path) -> None:
    from tokenizers.processors import Sequence

    encoder = Encoder.load(tiny_model, ModelConfig(query_prompt=""), device=torch.device("cpu"))
    encoder.tokenizer.backend_tokenizer.post_processor = Sequence([])
    tokens = encoder.tokenize(["".join(WORDS)] * 50, "query")
    assert not len(encoder.tokenize([""], "query").ids)
    found = QueryDropout(encoder, 0.4)(tokens, np.ones(50, bool), np.random.default_rng(0))
    assert found.lengths.mean() / tokens.lengths.mean() == pytest.approx(0.6, abs=0.06)
