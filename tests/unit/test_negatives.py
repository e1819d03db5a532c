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
from patent_embed.config import NegativesConfig, RungShares
from patent_embed.errors import UserError
from patent_embed.negatives import RUNGS, SCHEMA, Mined, hash_strings, largest_remainder, mine_negatives

STRATEGIES = ("optimized_mixed", "same_group_priority", "same_subclass_different_group", "mixed", "random")
CODES = [f"{sub}{group}/{leaf:02d}" for sub in ("A01B", "G06T", "H04L") for group in (1, 7, 12) for leaf in range(3)]
PATENT = st.tuples(
    st.lists(st.sampled_from(CODES), min_size=1, max_size=4, unique=True),
    st.integers(0, 12),  # family
    st.sampled_from(["train", "train", "val", "test"]),
)
CORPUS = st.lists(PATENT, max_size=40)


def tables(patents: list[tuple[list[str], int, str]]) -> tuple[pa.Table, pa.Table]:
    ids = [f"CN{i:05d}" + "AB"[i % 2] * (i % 12) for i in range(len(patents))]
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
    assert mined.table.schema == SCHEMA
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
    again = mine_negatives(mixed_codes.take(pa.array(orders[0], pa.int64())), splits.take(pa.array(orders[1], pa.int64())), config, 7)
    assert again.table.equals(mined.table)
    assert again.report == mined.report
