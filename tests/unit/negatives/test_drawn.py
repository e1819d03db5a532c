"""Negatives: the hard rules on generated corpora, exact shortfall against brute force, independence of order."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patent_embed.config.negatives import NegativesConfig, RungShares
from patent_embed.data.schemas import NEGATIVES
from patent_embed.errors import UserError
from patent_embed.negatives.drawn import examples, mine_negatives
from patent_embed.negatives.ladder import RUNGS
from patent_embed.strategies.shares import largest_remainder
from tests.unit.negatives.tables import CORPUS, STRATEGIES, allowed, by_anchor, expected_rungs, plain, tables


@settings(max_examples=150, deadline=None)
@given(CORPUS, st.sampled_from(STRATEGIES), st.integers(1, 8), st.integers(0, 3))
def test_rules_and_exact_shortfall(patents: list, strategy: str, k: int, seed: int) -> None:
    corpus, splits = tables(patents)
    mined = mine_negatives(corpus, splits, NegativesConfig(strategy=strategy, per_positive=k), seed)
    truth, got = allowed(corpus, splits), by_anchor(mined)
    assert mined.table.schema == NEGATIVES
    keys = list(zip(mined.table["publication_number"].to_pylist(), mined.table["rank"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    shortfall: Counter[str] = Counter()
    for anchor, rungs in truth.items():
        rows = got.get(anchor, [])
        assert [rank for rank, _, _ in rows] == list(range(len(rows)))
        assert len({negative for _, negative, _ in rows}) == len(rows)
        for _, negative, rung in rows:
            assert negative in rungs[rung]
        usable = [r for r in RUNGS if not (strategy == "same_subclass_different_group" and r == "same_main_group")]
        assert len(rows) == min(k, sum(len(rungs[r]) for r in usable))
        if strategy != "mixed":
            top = {"same_group_priority": 0, "same_subclass_different_group": 1, "random": 2}.get(strategy)
            counts = largest_remainder([0.6, 0.3, 0.1], k) if top is None else [k * (i == top) for i in range(3)]
            wanted = expected_rungs(dict(zip(RUNGS, counts, strict=True)), {r: len(rungs[r]) for r in RUNGS}, strategy)
            assert Counter(rung for _, _, rung in rows) == Counter(wanted)
        if len(rows) < k:
            shortfall[str(k - len(rows))] += 1
    assert mined.report["shortfall"] == dict(shortfall)
    assert mined.report["anchors_without_negatives"] == sum(not got.get(anchor) for anchor in truth)
    assert mined.report["negatives"] == sum(mined.report["rungs"].values()) == mined.table.num_rows


@settings(max_examples=40, deadline=None)
@given(CORPUS, st.sampled_from(STRATEGIES), st.randoms(use_true_random=False))
def test_any_order_of_rows_gives_the_same_table(patents: list, strategy: str, shuffle: random.Random) -> None:
    corpus, splits = tables(patents)
    config = NegativesConfig(strategy=strategy, per_positive=3)
    mined = mine_negatives(corpus, splits, config, 7)
    orders = [shuffle.sample(range(len(patents)), len(patents)) for _ in range(2)]
    codes = [shuffle.sample(codes, len(codes)) for codes in corpus["codes"].to_pylist()]
    mixed_codes = corpus.set_column(1, "codes", pa.array(codes, pa.list_(pa.string())))
    first, second = (pa.array(order, pa.int64()) for order in orders)
    again = mine_negatives(mixed_codes.take(first), splits.take(second), config, 7)
    assert again.table.equals(mined.table)
    assert again.report == mined.report


@settings(max_examples=30, deadline=None)
@given(CORPUS, st.integers(0, 39), st.sampled_from(STRATEGIES))
def test_an_anchor_alone_gets_what_it_gets_among_all(patents: list, row: int, strategy: str) -> None:
    corpus, splits = tables(patents)
    config = NegativesConfig(strategy=strategy)
    everyone = by_anchor(mine_negatives(corpus, splits, config, 5))
    one = corpus["publication_number"].combine_chunks()[row : row + 1]
    alone = by_anchor(mine_negatives(corpus, splits, config, 5, anchors=one))
    assert alone == {anchor: everyone[anchor] for anchor in one.to_pylist() if anchor in everyone}


def test_patents_elsewhere_change_nothing() -> None:
    group = [[f"G06T3/{i:02d}"] for i in range(40)]
    config = NegativesConfig(strategy="same_group_priority")
    before = by_anchor(mine_negatives(*plain(group), config, 0))
    after = by_anchor(mine_negatives(*plain(group + [[f"H04L{i}/00", "G06T7/00"] for i in range(1, 40)]), config, 0))
    assert all(after[anchor] == rows for anchor, rows in before.items())


def test_seed_changes_the_choice() -> None:
    corpus, splits = plain([[f"G06T3/{i:02d}"] for i in range(50)])
    one, other = (mine_negatives(corpus, splits, NegativesConfig(), seed).table for seed in (1, 2))
    same = np.mean([a == b for a, b in zip(one["negative"].to_pylist(), other["negative"].to_pylist(), strict=True)])
    assert same < 0.3


def test_mixed_draws_each_slot() -> None:
    groups = [[f"{sub}{g}/{i:02d}"] for sub in ("A01B", "H04L") for g in range(1, 11) for i in range(20)]
    shares = RungShares(same_main_group=0.5, same_subclass=0.2, random=0.3)
    config = NegativesConfig(strategy="mixed", per_positive=10, shares=shares)
    mined = mine_negatives(*plain(groups), config, 3)
    drawn = mined.report["rungs"]
    assert sum(drawn.values()) == 4000
    assert [round(drawn[rung] / 4000, 1) for rung in RUNGS] == [0.5, 0.2, 0.3]
    of_anchor = [Counter(rung for _, _, rung in rows)["random"] for rows in by_anchor(mined).values()]
    assert min(of_anchor) < 2  # a draw for each slot, not a quota
    assert max(of_anchor) > 5


def test_patents_with_very_many_codes() -> None:
    rng = random.Random(0)
    every = [f"{sub}{g}/{i:02d}" for sub in ("A01B", "H04L", "G06T") for g in range(1, 30) for i in range(40)]
    patents = [(rng.sample(every, rng.choice([1, 2, 60])), i, "train") for i in range(150)]
    corpus, splits = tables(patents)
    truth = allowed(corpus, splits)
    for anchor, rows in by_anchor(mine_negatives(corpus, splits, NegativesConfig(per_positive=20), 0)).items():
        assert len(rows) == min(20, sum(len(found) for found in truth[anchor].values()))
        assert all(negative in truth[anchor][rung] for _, negative, rung in rows)


@pytest.mark.parametrize("rows", [0, 1])
def test_corpora_without_a_possible_negative(rows: int) -> None:
    mined = mine_negatives(*plain([["G06T3/40"]] * rows), NegativesConfig(), 0)
    assert mined.table.num_rows == 0
    assert mined.report["anchors_without_negatives"] == rows
    assert mined.report["shortfall"] == ({"3": 1} if rows else {})


def test_a_patent_without_codes_is_left_out_and_counted() -> None:
    corpus, splits = plain([[], ["G06T3/40"], ["G06T3/60"]])
    mined = mine_negatives(corpus, splits, NegativesConfig(per_positive=1), 0)
    assert corpus["publication_number"][0].as_py() not in by_anchor(mined)
    assert mined.report["shortfall"] == {"1": 1}


def test_mistakes_are_named() -> None:
    corpus, splits = plain([["G06T3/40"], ["G06T3/60"]])
    with pytest.raises(UserError, match=r"'hard'.*embeddings"):
        mine_negatives(corpus, splits, NegativesConfig(strategy="hard"), 0)
    with pytest.raises(UserError, match="1 of 2 patents have no split, the first is 'CN00001A'"):
        mine_negatives(corpus, splits.slice(0, 1), NegativesConfig(), 0)
    with pytest.raises(UserError, match="the corpus has 2 repeated publication numbers, the first is 'CN00000'"):
        mine_negatives(pa.concat_tables([corpus, corpus]), splits, NegativesConfig(), 0)
    with pytest.raises(UserError, match="1 anchors are not in the corpus, the first is 'X'"):
        mine_negatives(corpus, splits, NegativesConfig(), 0, anchors=pa.array(["X"]))


def test_examples_show_the_texts() -> None:
    corpus, splits = plain([[f"G06T3/{i:02d}"] for i in range(30)])
    corpus = corpus.append_column("title", pa.array([f"title {i}" for i in range(30)]))
    mined = mine_negatives(corpus, splits, NegativesConfig(), 0)
    ids = corpus["publication_number"].to_pylist()
    queries = pa.table({"publication_number": [ids[0], *ids], "query": ["first", *(f"query {i}" for i in range(30))]})
    shown = examples(mined.table, corpus, queries, seed=1)
    assert len(shown) == 10
    assert shown == examples(mined.table, corpus, queries, seed=1)
    assert shown != examples(mined.table, corpus, queries, seed=2)
    found = by_anchor(mined)
    for example in shown:
        row = ids.index(example["publication_number"])
        assert (example["title"], example["query"]) == (f"title {row}", f"query {row}" if row else "first")
        names = [negative["publication_number"] for negative in example["negatives"]]
        assert names == [name for _, name, _ in found[example["publication_number"]]]
        assert all(negative["title"] == f"title {ids.index(negative['publication_number'])}"
                   for negative in example["negatives"])  # fmt: skip
    assert examples(mined.table, corpus, None, seed=1)[0]["query"] is None
