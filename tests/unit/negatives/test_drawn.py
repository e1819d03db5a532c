"""Negatives: the hard rules on generated corpora, exact shortfall against brute force, independence of order."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patent_embed import ipc
from patent_embed.config.negatives import NegativesConfig, RungShares
from patent_embed.data.schemas import NEGATIVES
from patent_embed.errors import UserError
from patent_embed.hashing import hash_strings
from patent_embed.negatives import rings
from patent_embed.negatives.drawn import Mined, examples, mine_negatives
from patent_embed.negatives.ladder import RUNGS
from patent_embed.strategies.shares import largest_remainder

STRATEGIES = ("optimized_mixed", "same_group_priority", "same_subclass_different_group", "mixed", "random")
CODES = [f"{sub}{group}/{leaf:02d}" for sub in ("A01B", "G06T", "H04L") for group in (1, 7, 12) for leaf in range(3)]
PATENT = st.tuples(
    st.lists(st.sampled_from(CODES), min_size=1, max_size=4, unique=True),
    st.integers(0, 12),  # family
    st.sampled_from(["train", "train", "val", "test"]),
)
CORPUS = st.lists(PATENT, max_size=40)


def tables(patents: list[tuple[list[str], int, str]]) -> tuple[pa.Table, pa.Table]:
    ids = [f"CN{i:05d}" + "A" * (i % 12) for i in range(len(patents))]
    names = pa.array(ids, pa.string())
    corpus = pa.table({"publication_number": names, "codes": pa.array([p[0] for p in patents], pa.list_(pa.string()))})
    families = [f"F{p[1]}" for p in patents]
    split_of = {f: p[2] for f, p in zip(families, patents, strict=True)}
    return corpus, pa.table(
        {
            "publication_number": names,
            "family": pa.array(families, pa.string()),
            "split": pa.array([split_of[f] for f in families], pa.string()),
        }
    )


def relation(one: list[str], other: list[str]) -> str | None:
    """The rung two code lists are on, straight from its definition; None when they share a full code."""
    if set(one) & set(other):
        return None
    if {ipc.main_group(c) for c in one} & {ipc.main_group(c) for c in other}:
        return "same_main_group"
    if {ipc.subclass(c) for c in one} & {ipc.subclass(c) for c in other}:
        return "same_subclass"
    return "random"


def allowed(corpus: pa.Table, splits: pa.Table) -> dict[str, dict[str, set[str]]]:
    """By brute force: anchor → rung → every patent that may be its negative."""
    rows = list(zip(corpus.to_pylist(), splits.to_pylist(), strict=True))
    out: dict[str, dict[str, set[str]]] = {r[0]["publication_number"]: {rung: set() for rung in RUNGS} for r in rows}
    for (a, sa), (b, sb) in itertools.permutations(rows, 2):
        rung = relation(a["codes"], b["codes"])
        if rung and sa["split"] == sb["split"] and sa["family"] != sb["family"]:
            out[a["publication_number"]][rung].add(b["publication_number"])
    return out


def by_anchor(mined: Mined) -> dict[str, list[tuple[int, str, str]]]:
    out: dict[str, list[tuple[int, str, str]]] = {}
    for row in mined.table.to_pylist():
        out.setdefault(row["publication_number"], []).append((row["rank"], row["negative"], row["rung"]))
    return out


def expected_rungs(quota: dict[str, int], available: dict[str, int], strategy: str) -> dict[str, int]:
    """The ladder by hand: quotas, then down, then back up."""
    if strategy == "same_subclass_different_group":
        available = available | {"same_main_group": 0}
    taken = {rung: min(quota[rung], available[rung]) for rung in RUNGS}
    owed = 0
    for rung in RUNGS:
        owed += quota[rung] - taken[rung]
        more = min(owed, available[rung] - taken[rung])
        taken[rung] += more
        owed -= more
    for rung in reversed(RUNGS):
        more = min(owed, available[rung] - taken[rung])
        taken[rung] += more
        owed -= more
    return taken


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


def plain(codes: list[list[str]], split: str = "train") -> tuple[pa.Table, pa.Table]:
    return tables([(c, i, split) for i, c in enumerate(codes)])


@settings(max_examples=60, deadline=None)
@given(CORPUS, st.sampled_from(STRATEGIES), st.integers(1, 4))
def test_cut_containers_keep_every_rule(patents: list, strategy: str, cap: int) -> None:
    corpus, splits = tables(patents)
    config = NegativesConfig(strategy=strategy, per_positive=4)
    truth = allowed(corpus, splits)
    for anchor, rows in by_anchor(mine_negatives(corpus, splits, config, 1, group_cap=cap)).items():
        assert len({negative for _, negative, _ in rows}) == len(rows) <= 4
        assert all(negative in truth[anchor][rung] for _, negative, rung in rows)


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


def test_hash_is_the_same_everywhere() -> None:
    texts = ["", "a", "CN1A", "CN123456789A", "专利", "x" * 40]
    hashes = hash_strings(pa.array(texts), 7)
    assert hash_strings(pa.array(texts)[2:5], 7).tolist() == hashes[2:5].tolist()  # a slice shares its buffers
    assert hash_strings(pa.array(texts, pa.large_string()), 7).tolist() == hashes.tolist()
    assert [slow_hash(text.encode(), 7) for text in texts] == hashes.tolist()
    many = hash_strings(pa.array([f"CN{i}" for i in range(100_000)]), 7)
    assert len(np.unique(many)) == 100_000
    assert np.abs(np.unpackbits(many.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0) - 0.5).max() < 0.01


def slow_hash(text: bytes, seed: int) -> int:
    def mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    state = mix((len(text) + mix(seed)) % 2**64)
    for at in range(0, len(text), 8):
        state = mix(state ^ int.from_bytes(text[at : at + 8], "little"))
    return state


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
