"""Walks along rings: whom they reach, how often, and what they cost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patent_embed.config.negatives import NegativesConfig
from patent_embed.negatives import rings
from patent_embed.negatives.drawn import mine_negatives
from tests.unit.negatives.tables import CORPUS, STRATEGIES, allowed, by_anchor, plain, tables


@settings(max_examples=60, deadline=None)
@given(CORPUS, st.sampled_from(STRATEGIES), st.integers(1, 4))
def test_cut_containers_keep_every_rule(patents: list, strategy: str, cap: int) -> None:
    corpus, splits = tables(patents)
    config = NegativesConfig(strategy=strategy, per_positive=4)
    truth = allowed(corpus, splits)
    for anchor, rows in by_anchor(mine_negatives(corpus, splits, config, 1, group_cap=cap)).items():
        assert len({negative for _, negative, _ in rows}) == len(rows) <= 4
        assert all(negative in truth[anchor][rung] for _, negative, rung in rows)


def test_every_member_of_a_group_is_as_likely() -> None:
    # 60 patents under three subgroups of unequal size: each anchor of "00" may get any of the other 50.
    codes = [["A01B1/00"]] * 10 + [["A01B1/01"]] * 10 + [["A01B1/02"]] * 40
    corpus, splits = plain(codes)
    config = NegativesConfig(strategy="same_group_priority", per_positive=5)
    used: Counter[str] = Counter()
    for seed in range(40):
        rows = by_anchor(mine_negatives(corpus, splits, config, seed))
        for anchor in corpus["publication_number"].to_pylist()[:10]:
            used.update(negative for _, negative, _ in rows[anchor])
    assert len(used) == 50
    assert sum(used.values()) == 40 * 10 * 5  # 40 each; a uniform draw has a standard deviation of about 6
    assert min(used.values()) > 15
    assert max(used.values()) < 70


def test_groups_take_turns() -> None:
    # The anchor sits in a group of 4 and in one of 200; the small one gives as many negatives as the large one.
    codes = [["A01B1/00", "H04L9/00"]] + [[f"A01B1/{i:02d}"] for i in range(1, 4)]
    codes += [[f"H04L9/{i:02d}"] for i in range(1, 200)]
    corpus, splits = plain(codes)
    config = NegativesConfig(strategy="same_group_priority", per_positive=6)
    small = set(corpus["publication_number"].to_pylist()[1:4])
    anchor = corpus["publication_number"][0].as_py()
    for seed in range(5):
        assert len(small & {n for _, n, _ in by_anchor(mine_negatives(corpus, splits, config, seed))[anchor]}) == 3


def test_a_key_that_everyone_carries_costs_no_search() -> None:
    # Everyone is under G06T, half under a second subclass too: the random rung is empty, and nobody is looked at.
    codes = [[f"G06T3/{i:03d}"] + [f"{'ABCDEFGH'[i // 50]}{i % 50:02d}B1/00"] * (i % 2) for i in range(400)]
    mined = mine_negatives(*plain(codes), NegativesConfig(strategy="random"), 0)
    assert mined.report["rungs"] == {"same_main_group": 1200, "same_subclass": 0, "random": 0}
    assert mined.report["filtered"]["shared_code"] == 0


def test_cut_walks_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, splits = plain([[f"G06T3/{i:02d}"] for i in range(20)])
    monkeypatch.setattr(rings, "MAX_PROBES", 2)
    config = NegativesConfig(strategy="same_group_priority", per_positive=4)
    mined = mine_negatives(corpus, splits, config, 0)
    assert mined.report["walks_cut"] == 20
    assert mined.report["shortfall"] == {"2": 20}
