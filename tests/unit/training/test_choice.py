"""The share of the base model: where it begins, what refuses it, and what is said of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from patent_embed.encoder.packing import Tokens
from patent_embed.evaluation.forgetting import general_texts, pair_similarities
from patent_embed.training.choice import Choice, choose_share, shares
from patent_embed.training.evidence import Evidence, Measured
from patent_embed.training.validation import RetrievalSet

NOTHING = Tokens(np.empty(0, np.int32), np.zeros(1, np.int64))
GENERAL = np.random.default_rng(0).normal(size=(len(general_texts()), 8)).astype(np.float32)
GENERAL /= np.linalg.norm(GENERAL, axis=1, keepdims=True)


def evidence(queries: int = 100, unseen: int = 0, ruled: float = 0.0) -> Evidence:
    asked = RetrievalSet(NOTHING, NOTHING, np.arange(queries), np.arange(queries))
    return Evidence(asked, np.arange(queries) < unseen, ruled, NOTHING)


def measured(values: np.ndarray, sense: float = 1.0) -> Measured:
    """``sense``: how well general pairs are ordered, more or less."""
    same = GENERAL.copy()
    same[1::3] = sense * same[0::3] + (1 - sense) * same[1::3]
    return Measured(values, pair_similarities(same / np.linalg.norm(same, axis=1, keepdims=True)))


@pytest.mark.parametrize(
    ("ruled", "first", "others"),
    [(0.0, 0.2, [0.35, 0.5, 0.65, 0.8, 0.9]), (1.0, 0.65, [0.8, 0.9]), (0.4, 0.38, [0.5, 0.65, 0.8, 0.9])],
)
def test_the_share_begins_where_the_queries_of_the_training_say(ruled: float, first: float, others: list) -> None:
    assert shares(ruled) == [pytest.approx(first), *others]


def test_what_cannot_be_told_apart_is_published() -> None:
    rng = np.random.default_rng(0)
    base = measured(np.full(100, 0.8))
    tuned = measured(0.8 + rng.normal(-0.005, 0.1, 100))
    found = choose_share(lambda share: base if share == 1 else tuned, evidence(), 0)
    assert found == Choice(0.2, True, {"0.2": ""})
    assert found.line() == "0.2 of the base model in the published weights"
    assert Choice.from_json(found.as_json()) == found
    empty = measured(np.zeros(0))
    assert choose_share(lambda share: empty, evidence(0), 0).publishes


def test_more_of_the_base_model_is_taken_where_val_fell() -> None:
    def at(share: float) -> Measured:
        return measured(np.full(100, 0.8) - 0.2 * (share < 0.6) * (np.arange(100) < 50))

    found = choose_share(at, evidence(), 0)
    assert (found.share, found.publishes, list(found.tried)) == (0.65, True, ["0.2", "0.35", "0.5", "0.65"])
    assert found.tried["0.2"] == "val: nDCG@10 -0.1000, p = 0.000, 100 queries"
    assert found.line() == (
        "0.65 of the base model in the published weights, since with 0.2 it is worse on val: nDCG@10 -0.1000, "
        "p = 0.000, 100 queries"
    )


def test_the_base_stays_where_all_shares_are_worse() -> None:
    def at(share: float) -> Measured:
        return measured(np.full(100, 0.8) - 0.01 * (share < 1))

    found = choose_share(at, evidence(ruled=1.0), 0)
    assert (found.share, found.publishes, list(found.tried)) == (0.65, False, ["0.65", "0.8", "0.9"])
    assert found.line().startswith("the base model stays: with 0.9 of it in the weights, tuned is worse on val: nDCG")
    assert found.line(always=True).startswith("0.65 of the base model in the published weights as run.publish=always ")


def test_a_slice_unseen_in_training_refuses_where_it_is_large_enough() -> None:
    values = np.full(1000, 0.8)
    fallen = values - 0.3 * (np.arange(1000) < 30) + 0.05 * (np.arange(1000) >= 30)
    base, tuned = measured(values), measured(fallen)
    found = choose_share(lambda share: base if share == 1 else tuned, evidence(1000, unseen=30), 0)
    assert not found.publishes
    assert found.tried["0.9"].startswith("val, main groups unseen in training: nDCG@10 -0.3000")
    assert choose_share(lambda share: base if share == 1 else tuned, evidence(1000, unseen=29), 0).publishes


def test_general_sentences_refuse() -> None:
    values = np.full(10, 0.5)
    base, tuned = measured(values, 0.9), measured(values, 0.1)
    found = choose_share(lambda share: base if share >= 0.8 else tuned, evidence(10), 0)
    assert (found.share, found.publishes) == (0.8, True)
    assert found.tried["0.2"].startswith("general sentences: -0.")
    few = dataclasses.replace(evidence(10), ruled=1.0)
    assert list(choose_share(lambda share: base if share >= 0.8 else tuned, few, 0).tried) == ["0.65", "0.8"]
